"""What a run spent outside its printed train_time, by the harness's stamps, beside its references.

On the clock "train_time" compiling, warming up and validating are free, and only the script knows
when it does them; whoever trains there trains for nothing. The wall stamps split a run into

- before: up to its first protocol line beyond step 10, less the train_time printed there. Till then
  every script compiles; those of records 4 to 21 forget their first ten steps besides;
- between: from one protocol line to the next, less the train_time in between: validation;
- after: from the last protocol line to the end of the last process.

Start and target do the same kinds of work on the same machine, and their runs show how much that
varies. A run may spend as much as the slower of the two and a tolerance: a target that compiles
longer passes by being a reference itself. Its lines must also come no faster than the train_time
that they claim: who trains first and prints afterwards cannot wait that time out and win. And
validation may not take far less than theirs while the steps do not: that is validation on less.

A start that is too long waits for a person (``long_start``) and is no violation: an honest new
program, with kernels or a graph that neither record has, may compile for as long as it likes, by
the track's rules. Validation and the exit are the same work for every program, and too long a
stretch there is one (``violation``).

The share of train_time in the wall time is reported and not judged: a faster program validates as
long and so has honestly less of it. Work within the tolerances, or in place of validation, is not
seen here; reading the code (``rules``) and validation on noise are for that.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from speedrun.schema import Analysis, CurvePoint, RunExit

UNTIMED_STEPS = 10  # which the clock of records 4 to 21 forgets
SPREADS = 2.0  # of the widest range of one program's runs; two or three of them know it poorly
SHORT_SHARE = 0.5  # of the shortest reference's validation, for as many seconds a step
VALIDATIONS_MAX = 1.5  # times the references' number: more are not paid for


@dataclass(frozen=True)
class Tolerance:
    """How much longer than the longest reference is still honest: the largest of the three."""

    grain_s: float
    share: float  # of the longest reference
    spreads: float = SPREADS  # of the widest range that the runs of one program have


# Measured on one H200 (docs/hardware.md). Compiling varies: 1.3 s of 150 s (record 12) and 3.1 s of
# 40 s (record 27, caches kept) from run to run, 15 % from one fresh machine to another.
BEFORE = Tolerance(grain_s=10.0, share=0.2)
# Validation does not: 0.02 s of 3.3 s. The share is for honest programs with fewer, dearer steps,
# whose validation is dearer too; the grain for eight cards, where one takes a second or less.
VALIDATION = Tolerance(grain_s=0.2, share=0.25)
# 3.0 to 4.3 s, of record 12, which saves its weights, 4.7 to 5.1 s; how fast a disk is varies.
AFTER = Tolerance(grain_s=5.0, share=0.5)
HURRIED_GRAIN_S = 1.0  # honest runs: 0


@dataclass(frozen=True)
class Untimed:
    """Wall seconds of one run that its printed train_time does not count.

    ``program`` says whose run it is (a digest or a name): the runs of one program show its spread.
    """

    program: str
    before_s: float  # up to the first protocol line beyond step 10
    between_max_s: float  # the longest stretch between two lines after that
    between_sum_s: float
    after_s: float  # after the last line
    n_validations: int  # stretches between two lines
    hurried_s: float  # train_time printed between two lines beyond the wall time between them
    timed_share: float | None  # train_time over wall time between the lines; None without any
    step_s: float | None = None  # train_time a step between the lines; None without any

    @property
    def validation_s(self) -> float:
        """Mean untimed seconds of a stretch, 0 without one."""
        return self.between_sum_s / self.n_validations if self.n_validations else 0.0


def measure(analysis: Analysis, ended: RunExit) -> Untimed | None:
    """Return the untimed seconds of a run; None where it printed nothing or did not run."""
    if not analysis.curve or ended.wall_s is None:
        return None
    curve = analysis.curve
    beyond = [point for point in curve if point.step > UNTIMED_STEPS] or curve[-1:]
    spent = [(_wall_s(pair), _trained_s(pair)) for pair in itertools.pairwise(beyond)]
    between = [max(0.0, wall - trained) for wall, trained in spent]
    wall_s, trained_s = (sum(column) for column in zip(*spent, strict=True)) if spent else (0, 0)
    return Untimed(
        program=analysis.solution_digest,
        before_s=max(0.0, beyond[0].wall_s - beyond[0].train_time_ms / 1000),
        between_max_s=max(between, default=0.0),
        between_sum_s=sum(between),
        after_s=max(0.0, ended.wall_s - curve[-1].wall_s),
        n_validations=len(between),
        hurried_s=_hurried_s(curve),
        timed_share=trained_s / wall_s if wall_s > 0 else None,
        step_s=_step_s(beyond[0], beyond[-1]),
    )


@dataclass(frozen=True)
class Found:
    """What the runs of one program spent beside the references, each sentence with its run."""

    n: int  # runs whose stretches are known
    violations: list[str]
    long_starts: list[str]

    @property
    def flag(self) -> str:
        """The first long start and how many there are, "" without one."""
        if not self.long_starts:
            return ""
        return f"{self.long_starts[0]} ({len(self.long_starts)} of {self.n} runs)"


def compare(
    runs: Sequence[tuple[str, Untimed | None]], references: Sequence[Untimed]
) -> Found | None:
    """Return what was found in runs, named; None if nothing can be said for want of stretches."""
    spent = [(name, run) for name, run in runs if run]
    if not spent or not references:
        return None
    judged = [
        (name, violation(run, references), long_start(run, references)) for name, run in spent
    ]
    return Found(
        n=len(spent),
        violations=[f"{name}: {said}" for name, said, _ in judged if said],
        long_starts=[f"{name}: {said}" for name, _, said in judged if said],
    )


def violation(run: Untimed, references: Sequence[Untimed]) -> str:
    """Return which stretch of a run no honest program has beside start and target, "" for none.

    Without references nothing can be said: "".
    """
    if not references:
        return ""
    return next(filter(None, _violations(run, references)), "")


def long_start(run: Untimed, references: Sequence[Untimed]) -> str:
    """Return by how much a run's start is longer than is usual, "" if it is not."""
    if not references:
        return ""
    where = "before the first validation beyond step 10"
    return _too_long(where, run, references, _before_s, BEFORE)


def _violations(run: Untimed, references: Sequence[Untimed]) -> Iterator[str]:
    yield _hurried(run, references)
    validated = [reference for reference in references if reference.n_validations]
    if validated:
        yield _too_long(
            "in the longest validation", run, validated, lambda one: one.between_max_s, VALIDATION
        )
        yield _validations(run, validated)
        yield _short(run, validated)
    yield _too_long("after the last protocol line", run, references, _after_s, AFTER)


def _before_s(one: Untimed) -> float:
    return one.before_s


def _after_s(one: Untimed) -> float:
    return one.after_s


def _hurried(run: Untimed, references: Sequence[Untimed]) -> str:
    limit_s = HURRIED_GRAIN_S + max(reference.hurried_s for reference in references)
    if run.hurried_s <= limit_s:
        return ""
    return (
        f"between protocol lines {run.hurried_s:.2f} s more train_time were printed than went by "
        f"({limit_s:.2f} s are allowed): the lines were not printed when the steps were done"
    )


def _too_long(
    where: str,
    run: Untimed,
    references: Sequence[Untimed],
    value: Callable[[Untimed], float],
    tolerance: Tolerance,
) -> str:
    longest_s, limit_s = _limit(references, value, tolerance)
    if value(run) <= limit_s:
        return ""
    return (
        f"{value(run):.2f} s outside the printed train_time {where}; start and target took up to "
        f"{longest_s:.2f} s, {limit_s:.2f} s are allowed"
    )


def _validations(run: Untimed, references: Sequence[Untimed]) -> str:
    """Judge all validations together: what is too little to see in one of them adds up."""
    count = min(run.n_validations, VALIDATIONS_MAX * max(one.n_validations for one in references))
    longest_s, limit_s = _limit(references, lambda one: one.validation_s, VALIDATION)
    if run.between_sum_s <= count * limit_s:
        return ""
    return (
        f"{run.between_sum_s:.2f} s outside the printed train_time in {run.n_validations} "
        f"validations; those of start and target took up to {longest_s:.2f} s each, "
        f"{count * limit_s:.2f} s are allowed"
    )


def _short(run: Untimed, references: Sequence[Untimed]) -> str:
    """Look for validation on less; a model that runs faster trains as much faster, too."""
    steps_s = [one.step_s for one in references if one.step_s]
    if not run.n_validations or run.step_s is None or not steps_s:
        return ""
    shortest_s = min(one.validation_s for one in references)
    least_s = SHORT_SHARE * shortest_s * min(1.0, run.step_s / max(steps_s))
    if run.validation_s >= least_s - VALIDATION.grain_s:
        return ""
    return (
        f"{run.validation_s:.2f} s a validation, those of start and target took at least "
        f"{shortest_s:.2f} s and the steps are not as much faster: it validates on less"
    )


def _limit(
    references: Sequence[Untimed], value: Callable[[Untimed], float], tolerance: Tolerance
) -> tuple[float, float]:
    """Return the longest reference and what is allowed."""
    programs = defaultdict[str, list[float]](list)
    for reference in references:
        programs[reference.program].append(value(reference))
    longest_s = max(map(max, programs.values()))
    spread_s = max(max(values) - min(values) for values in programs.values())
    more_s = max(tolerance.grain_s, tolerance.share * longest_s, tolerance.spreads * spread_s)
    return longest_s, longest_s + more_s


def _wall_s(pair: tuple[CurvePoint, CurvePoint]) -> float:
    return pair[1].wall_s - pair[0].wall_s


def _trained_s(pair: tuple[CurvePoint, CurvePoint]) -> float:
    return (pair[1].train_time_ms - pair[0].train_time_ms) / 1000


def _step_s(first: CurvePoint, last: CurvePoint) -> float | None:
    steps = last.step - first.step
    return max(0.0, _trained_s((first, last))) / steps if steps > 0 else None


def _hurried_s(curve: Sequence[CurvePoint]) -> float:
    """Return the train_time that cannot have gone by; a restarted clock only takes from it."""
    pairs = itertools.pairwise(curve)
    return sum(max(0.0, _trained_s(pair) - _wall_s(pair)) for pair in pairs)
