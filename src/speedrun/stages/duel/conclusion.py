"""What a duel concludes: the word, one sentence and the evidence. Pure.

- ``invalid``: a run of either side failed, a rule is violated or a flag rejected, B works
  after the clock or beside it, its printed losses are surely too low, or the mean loss rule does
  not hold.
- ``faster``: none of that, and the time ratio B/A is below 1 at p < ``time_p_max``.
- ``no worse``, only where it was asked for: the ratio is below 1 + so many per cent at that p.
- ``review``: one of these two, but a flag in the code waits for a person.
- ``slower``: the ratio is above 1 at that p. ``not shown``: neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from speedrun import verdict
from speedrun.stages.duel.power import rounds_needed

CANDIDATE = "candidate"  # B in the block; A is verdict.START
FASTER, NO_WORSE, SLOWER = "faster", "no worse", "slower"
NOT_SHOWN, INVALID, REVIEW = "not shown", "invalid", "review"
# Two programs on two shared cores differ by 0.05 (0.03 to 0.14) a round in log time: then 10 rounds
# show a difference of 5 % in 9 of 10 duels, and a mean loss 1.2 sd below the target in 8 of 10.
ROUNDS = 10
EXIT_CODES = {FASTER: 0, NO_WORSE: 0, NOT_SHOWN: 2, SLOWER: 2, INVALID: 3, REVIEW: 4}


@dataclass(frozen=True)
class Settings:
    """How a duel is run and judged; all of it is fixed before the first run."""

    rounds: int = ROUNDS
    lanes: int = 2
    confidence: float = 0.9  # of the ratio's two-sided interval
    loss_p_max: float = 0.01  # the speedrun's rule: mean loss <= target at this p
    time_p_max: float = 0.05
    no_worse_percent: float | None = None  # the margin of a non-inferiority test
    seed: int = 0


def held(finding: dict[str, Any]) -> bool:
    """Return whether a finding holds up a verdict: a flag that is neither covered nor decided."""
    return bool(finding["severity"] == "review" and finding["state"] == "open")


def conclude(measured: dict[str, Any], settings: Settings) -> tuple[str, str, list[str]]:
    """Return the verdict, the sentence that says why, and further evidence."""
    against = _against(measured, settings)
    if against:
        return INVALID, f"{INVALID}: {against[0]}", against
    word, why = _timed(measured["time"], settings)
    loss = measured["sides"][CANDIDATE]["loss_rule"]
    why += f"; its mean loss is below the target at p = {loss['p']:.2g}"
    flags = [f"to be looked at: {place(one)}" for one in measured["findings"] if held(one)]
    if flags and EXIT_CODES[word] == 0:
        said = f"flags in B wait for a person ({len(flags)}); otherwise {word}: {why}"
        return REVIEW, f"{REVIEW}: {said}", flags
    return word, f"{word}: {why}", flags


def place(finding: dict[str, Any]) -> str:
    """Return a finding as one line: where, which rule, what."""
    where = f"{finding['file']}:{finding['line']}" if finding["line"] else finding["file"]
    return f"{where}: {finding['rule']}: {finding['what']}"


def _against(measured: dict[str, Any], settings: Settings) -> list[str]:
    """Return all that makes a comparison, or B, invalid."""
    found = [f"A failed in {text}" for text in measured["sides"][verdict.START]["failures"]]
    found += [f"B failed in {text}" for text in measured["sides"][CANDIDATE]["failures"]]
    found += [f"B breaks a rule: {place(one)}" for one in measured["findings"] if _violation(one)]
    loss = measured["sides"][CANDIDATE]["loss_rule"]
    found += [f"B in {text}" for text in measured["untimed"] or []]
    checks = {"loss": loss, "probes": measured["probes"], "late": measured["late"]}
    return found + [f"B {text}" for text in _failed_checks(checks, settings.loss_p_max)]


def _violation(finding: dict[str, Any]) -> bool:
    return bool(finding["severity"] == "violation" or finding["state"] == "rejected")


def _failed_checks(checks: dict[str, Any], loss_p_max: float) -> list[str]:
    loss, probes, late = checks["loss"], checks["probes"], checks["late"]
    found = []
    if not late["ok"]:
        found.append(
            f"works after the clock: {late['mean_s']:.2f} CPU s after its last protocol line, A "
            f"{late['records_s']:.2f}, allowed {late['limit_s']:.2f} s more"
        )
    if not probes["ok"]:
        found.append(_probes(probes))
    if loss["p"] is None or loss["p"] >= loss_p_max:
        found.append(_loss(loss, loss_p_max))
    return found


def _probes(probes: dict[str, Any]) -> str:
    if not probes["n"]:
        return "has no probe answers to compare"
    if probes["lower_bound"] is None:
        return "has probe answers of one round, whose noise is unknown: two rounds are needed"
    return (
        f"prints losses that are surely {probes['lower_bound']:.4f} nats or more too low beside "
        f"A's, by its answers to the probes (limit {probes['limit']:g})"
    )


def _loss(loss: dict[str, Any], loss_p_max: float) -> str:
    if loss["n_diverged"]:
        return f"ended without a finite loss in {loss['n_diverged']} runs"
    if loss["fixed"]:
        return f"is not shown to reach the target: {verdict.fixed_sentence(loss)}"
    if not loss["n"]:
        return "has no run that ended with a loss"
    if loss["p"] is None:
        return f"has losses of {loss['n']} runs without a spread to test (seed ignored, or n < 2)"
    return (
        f"is not shown to reach the target: mean loss {loss['mean']:.4f} over {loss['n']} runs, "
        f"p = {loss['p']:.2g}, needed is p < {loss_p_max:g}"
    )


def _timed(time: dict[str, Any] | None, settings: Settings) -> tuple[str, str]:
    """Return the word for the times alone, and the sentence that says why."""
    if time is None:
        return NOT_SHOWN, "no round has a time of both"
    if time["p"] is None:
        return NOT_SHOWN, f"{ratio(time)}, but {time['n']} rounds have no spread to test"
    p_max = settings.time_p_max
    if time["p_slower"] < p_max and not _within(time, p_max):
        return SLOWER, f"{ratio(time)}, p(B/A > 1) = {time['p_slower']:.2g}"
    if settings.no_worse_percent is not None:
        return _no_worse(time, settings)
    if time["p"] < p_max:
        return FASTER, f"{ratio(time)}, p(B/A < 1) = {time['p']:.2g}"
    return NOT_SHOWN, f"{ratio(time)}, p(B/A < 1) = {time['p']:.2g}, needed is {p_max:g}"


def _within(time: dict[str, Any], p_max: float) -> bool:
    """Return whether B is surely within the margin, where one was given."""
    p = time.get("p_no_worse")
    return p is not None and p < p_max


def _no_worse(time: dict[str, Any], settings: Settings) -> tuple[str, str]:
    p, bound = time["p_no_worse"], time["no_worse_bound"]
    said = f"{ratio(time)}, p(B/A < {bound:g}) = {p:.2g}"
    if p < settings.time_p_max:
        return NO_WORSE, said
    return NOT_SHOWN, f"{said}, needed is {settings.time_p_max:g}"


def ratio(time: dict[str, Any]) -> str:
    """Return the ratio with its interval, for a sentence."""
    share = f"B takes {time['ratio']:.3f} of A's time"
    if time["low"] is None:
        return share
    return f"{share} ({time['low']:.3f} to {time['high']:.3f})"


def advice(time: dict[str, Any] | None, settings: Settings) -> str:
    """Return how many rounds would show a difference of 5 % in noise like this, "" if unknown."""
    if time is None or time["low"] is None or time["n"] < 2:
        return ""
    needed = rounds_needed(time, settings.time_p_max)
    return (
        f"in noise like this {needed} rounds show a difference of 5 % in 8 of 10 duels; give the "
        "number before: --rounds times all of them anew"
    )
