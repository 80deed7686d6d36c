"""The rules: from a log, an exit and probe logits to an outcome and its reason.

The rules are applied in a fixed order, so that an outcome has one meaning: nothing to run, cap,
crash, target missed, rule violated, ok. A run that missed the target keeps that outcome whatever
else is wrong with it. The rules of conduct, which need the code, come last (conduct.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from speedrun.schema import Outcome, ProbeResult, RunExit, TrackSpec
from speedrun.stages.analyze import clocks, probes
from speedrun.stages.analyze.reading import Seen, harmless

CAPS = {
    "timeout": (Outcome.TIMEOUT, "killed at the wall-time limit"),
    "oom": (Outcome.OOM, "killed at the memory limit"),
    "output_flood": (Outcome.CANDIDATE_ERROR, "killed: it printed more than the limit"),
    "disk_flood": (Outcome.CANDIDATE_ERROR, "killed: it wrote more files than the disk limit"),
    "process_flood": (Outcome.CANDIDATE_ERROR, "killed: it started more processes than allowed"),
}


@dataclass(frozen=True)
class Verdict:
    """An outcome with its reason, and the probe check if it came that far."""

    outcome: Outcome
    reason: str
    probes: ProbeResult | None = None


def judge(
    run: Path,
    seen: Seen,
    ended: RunExit,
    track: TrackSpec,
    targets: Path | None,
    vocab_size: int | None,
) -> Verdict:
    """Return the verdict on the run folder ``run``; the first rule that speaks decides."""
    verdict = _incomplete(seen, ended) or _missed(seen, track)
    if verdict:
        return verdict
    violation = clocks.violation(seen, ended, track)
    if violation:
        return Verdict(Outcome.RULE_VIOLATION, violation)
    if targets is None or ended.trainer == "simulated":
        return Verdict(Outcome.OK, "")
    return _probed(run / probes.PROBE_ANSWER, targets, seen, track, vocab_size)


def _incomplete(seen: Seen, ended: RunExit) -> Verdict | None:
    """Return why the run did not come to its end."""
    if ended.reason in CAPS:
        return Verdict(*CAPS[ended.reason])
    if (ended.exit_code or ended.signal) and seen.crash and seen.crash.of_gpu_memory:
        return Verdict(Outcome.OOM, "died of an exception: out of GPU memory")
    faults = (
        (not ended.ran, ended.reason.removeprefix("not_run: ")),
        (bool(ended.signal), _death(ended)),
        (bool(ended.exit_code), f"exited with code {ended.exit_code}"),
        (not seen.lines, "printed no line `step:N/M val_loss:X train_time:Yms step_avg:Zms`"),
        (bool(seen.lines) and seen.last.step != seen.last.steps, _unfinished(seen)),
    )
    reason = next((text for broken, text in faults if broken), None)
    return Verdict(Outcome.CANDIDATE_ERROR, reason) if reason is not None else None


def _death(ended: RunExit) -> str:
    """Return how a signal ended the run; the sandbox only shows it as an exit code."""
    if ended.exit_code is None:
        return f"died of signal {ended.signal}"
    return f"exit code {ended.exit_code} (as by signal {ended.signal})"


def _unfinished(seen: Seen) -> str:
    return f"ended at step {seen.last.step} of {seen.last.steps}" if seen.lines else ""


def _missed(seen: Seen, track: TrackSpec) -> Verdict | None:
    loss = seen.last.val_loss
    if math.isfinite(loss) and loss <= track.target_loss:
        return None
    reason = f"the last val_loss is {loss:.6g}, the target {track.target_loss:g}"
    return Verdict(Outcome.MISSED_TARGET, reason)


def _probed(
    answer: Path, targets: Path, seen: Seen, track: TrackSpec, vocab_size: int | None
) -> Verdict:
    printed = seen.last.val_loss
    try:
        result = probes.check(answer, targets, printed, track.probe_offset, vocab_size)
    except ValueError as error:
        return Verdict(Outcome.RULE_VIOLATION, harmless(f"{probes.PROBE_ANSWER}: {error}"))
    if abs(result.difference) <= track.probe_tolerance:
        return Verdict(Outcome.OK, "", result)
    reason = (
        f"the printed loss {printed:.4f} is not that of the written logits: "
        f"{result.loss:.4f} on the probes, {result.difference:+.4f} beside the track's offset, "
        f"tolerance {track.probe_tolerance:g}"
    )
    return Verdict(Outcome.RULE_VIOLATION, reason, result)
