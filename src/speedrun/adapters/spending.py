"""What each model of a sweep is asked for and what that costs, at the prices of the ledger."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from speedrun import estimate, jobs, plan, specs
from speedrun.adapters import arms, coder_options
from speedrun.adapters.facts import Facts
from speedrun.estimate import Asked

DIRECT_TURNS = 2  # an unreadable reply is asked for once more
JUDGE_OUT = 3_000  # tokens of one judgement; an assumption
REVIEW_OUT = 2_000  # tokens of one opinion; an assumption


@dataclass(frozen=True)
class Most:
    """The most that one trial can take without a cap; None where nothing says."""

    usd: float | None
    tokens: float | None


@dataclass(frozen=True)
class Spend:
    """What one model is asked, and its price; None where that is not known."""

    asked: Asked
    usd: float | None
    usd_worst: float | None  # every call and reply at its longest, without a cap
    measured_nodes: int  # 0: the tokens are assumptions


def spend(facts: Facts, trials: Iterable[plan.Trial]) -> tuple[dict[str, Spend], list[Most]]:
    """Return what each model is asked, and the most that each trial of a model can take."""
    by_model: dict[str, list[plan.Trial]] = {}
    for trial in trials:
        by_model.setdefault(trial.arm["model"]["name"], []).append(trial)
    by_model.pop(arms.NO_MODEL, None)
    priced = {name: Priced(facts, own[0].arm["model"]) for name, own in by_model.items()}
    most = {name: [priced[name].most(trial) for trial in own] for name, own in by_model.items()}
    found = {name: priced[name].spend(own, most[name]) for name, own in by_model.items()}
    return found, [one for own in most.values() for one in own]


def judging(facts: Facts, trials: Iterable[plan.Trial]) -> Spend | None:
    """Return what the judge's model is asked, None where replies are recorded.

    It reads the start record and two diffs, for which the start record stands thrice.
    """
    judge = facts.config["judge"]
    return _once(facts, trials, judge["model"], 3.0, JUDGE_OUT) if "model" in judge else None


def reviewing(facts: Facts, trials: Iterable[plan.Trial]) -> Spend | None:
    """Return what the reviewer is asked, None without one; a prompt is as long as the start."""
    reviewer = facts.config["review"]["reviewer"]
    return _once(facts, trials, reviewer, 1.0, REVIEW_OUT) if reviewer else None


def _once(
    facts: Facts, trials: Iterable[plan.Trial], model: dict[str, Any], starts: float, out: int
) -> Spend:
    """Return what one question a trial costs, whose prompt is ``starts`` times the start record."""
    chars = (starts * facts.start_chars[one.task] for one in trials)
    asked = sum((Asked(1, one / estimate.CHARS_A_TOKEN, out) for one in chars), Asked())
    return Spend(asked, Priced(facts, model).usd(asked), None, 0)


class Priced:
    """One model with its prices."""

    def __init__(self, facts: Facts, model: dict[str, Any]) -> None:
        """``model``: what an arm holds of it."""
        from speedrun.adapters.models import spec

        self._facts = facts
        self._spec = spec.read(model, specs.operation(facts.config))
        self._price = functools.cache(self._price_of_call)

    def spend(self, trials: list[plan.Trial], most: list[Most]) -> Spend:
        """Return what the model is asked in its trials."""
        asked = sum((self._asked(trial) for trial in trials), Asked())
        worst = [one.usd for one in most if one.usd is not None]
        coders = {trial.arm["coder"]["name"] for trial in trials}
        measured = sum(len(self._facts.nodes.get((coder, self._spec.name), ())) for coder in coders)
        bounded = sum(worst) if len(worst) == len(most) else None
        return Spend(asked, self.usd(asked), bounded, measured)

    def _asked(self, trial: plan.Trial) -> Asked:
        """Return what a trial is expected to ask: as finished nodes did, or by assumption."""
        seen = self._facts.nodes.get((trial.arm["coder"]["name"], self._spec.name), [])
        if seen:
            nodes = sum(seen, Asked()).times(trial.n_nodes / len(seen))
        else:
            nodes = estimate.asked_of_model(trial, self._facts.shown_chars(trial))
        return nodes + estimate.asked_for_summaries(_summaries(trial))

    def most(self, trial: plan.Trial) -> Most:
        """Return the most that a trial can take: as many calls as it may make, each at its most."""
        calls, given, out = _most_calls(trial), self._spec.context_tokens, self._spec.output_bound
        if calls is None or given is None or out is None:
            return Most(None, None)
        asked = Asked(calls, calls * given, calls * out)
        return Most(self.usd(asked), asked.tokens_in + asked.tokens_out)

    def usd(self, asked: Asked) -> float | None:
        """Return the price of calls, each of the mean size: long prompts may have another price."""
        if not asked.calls:
            return 0.0
        each = asked.times(1 / asked.calls)
        price = self._price(round(each.tokens_in), round(each.tokens_out))
        return None if price is None else price * asked.calls

    def _price_of_call(self, given: int, out: int) -> float | None:
        from speedrun.adapters.models import prices

        return prices.cost_usd(self._spec, prices.Tokens(given=given, out=out))


def _summaries(trial: plan.Trial) -> int:
    return jobs.summarised(trial) if "summary" in trial.arm else 0


def _most_calls(trial: plan.Trial) -> int | None:
    """Return the most calls that a trial can make; None where only a cap stops its coder."""
    coder = trial.arm["coder"]
    most = (
        DIRECT_TURNS if coder["name"] == "direct" else coder_options.keys(coder).get("max_requests")
    )
    asks = 2 if "preflight" in trial.arm else 1
    return None if most is None else trial.n_nodes * asks * int(most) + _summaries(trial)
