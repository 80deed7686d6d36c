"""One row of statistics a record: loss and time of its own runs, beside the published time."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy import stats as distributions

from speedrun.registry import Record, Registry
from speedrun.stages.records.statistics.choice import TARGET_LOSS, choose
from speedrun.stages.records.statistics.runs import TIMED_ON, Corpus, Group, Run, groups

DIFFERENCE_NOTED = 2.0  # percent


@dataclass(frozen=True)
class Row:
    """A record's statistics. None is what its logs do not tell; times in s, losses in nats/token.

    The logs of a record's folder are its ``n`` own runs and three kinds that are counted apart.
    """

    record: str
    readme_time_s: float
    logs: int = 0  # in its folder
    chosen_by: str = ""  # "source", "linked" or "fastest": see choice.py
    gpus: str = ""  # of its runs; "" where the logs do not say
    n: int = 0
    loss_mean: float | None = None
    loss_sd: float | None = None
    p_loss: float | None = None  # one-sided t-test: as low a mean, were the true one 3.28
    time_mean_s: float | None = None
    time_sd_s: float | None = None
    difference_percent: float | None = None  # of time_mean_s against the README's; 8 H100 only
    other_code: int = 0  # complete runs of baselines and variants
    other_gpus: int = 0  # complete runs on other GPUs
    incomplete: int = 0
    source_n: int = 0  # runs, in all folders, of exactly the source that the registry gives
    source_loss_mean: float | None = None
    source_time_mean_s: float | None = None
    notes: str = ""


def rows_of(registry: Registry, corpus: Corpus) -> list[Row]:
    """Return a row for every record of the registry, in its order."""
    everywhere = [run for runs in corpus.runs.values() for run in runs]
    found: list[Row] = []
    earlier: set[str] = set()
    for record in registry.records:
        runs = corpus.runs.get(record.id, [])
        if not runs:
            found.append(_without_runs(record, everywhere))
            continue
        group, how = choose(groups(runs), record, earlier)
        found.append(_row(record, runs, group, how, everywhere))
        earlier.add(group.code)
    return found


def _without_runs(record: Record, everywhere: list[Run]) -> Row:
    reason = "no log of its folder could be read" if record.log_folder else "upstream links no log"
    return Row(record.id, _readme_s(record), notes=reason, **_source(record, everywhere))


def _row(record: Record, runs: list[Run], group: Group, how: str, everywhere: list[Run]) -> Row:
    loss_sd, p_loss = _spread(group.losses), p_below(group.losses)
    difference = _difference_percent(record, group)
    return Row(
        record=record.id,
        readme_time_s=_readme_s(record),
        logs=len(runs),
        chosen_by=how,
        gpus=group.gpus,
        n=len(group.runs),
        loss_mean=fmean(group.losses),
        loss_sd=loss_sd,
        p_loss=p_loss,
        time_mean_s=fmean(group.times_s) if group.times_s else None,
        time_sd_s=_spread(group.times_s),
        difference_percent=difference,
        **_apart(runs, group),
        **_source(record, everywhere),
        notes="; ".join(_notes(record, group, how, difference, p_loss)),
    )


def _readme_s(record: Record) -> float:
    return round(60 * record.time_minutes, 3)


def _spread(values: list[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def p_below(losses: list[float]) -> float | None:
    """Return the p of a one-sided t-test of mean loss < 3.28; None for fewer than two runs."""
    if len(losses) < 2 or len(set(losses)) == 1:
        return None
    return float(distributions.ttest_1samp(losses, TARGET_LOSS, alternative="less").pvalue)


def _difference_percent(record: Record, group: Group) -> float | None:
    if group.gpus != TIMED_ON or not group.times_s:
        return None
    return 100 * (fmean(group.times_s) / _readme_s(record) - 1)


def _apart(runs: list[Run], group: Group) -> dict[str, int]:
    """Count the runs that are not the group's, each once."""
    complete = [run for run in runs if run.complete]
    elsewhere = [run for run in complete if run.gpus != group.gpus]
    other = len(complete) - len(elsewhere) - len(group.runs) * group.complete
    return {
        "incomplete": len(runs) - len(complete) - len(group.runs) * (not group.complete),
        "other_gpus": len(elsewhere),
        "other_code": other,
    }


def _source(record: Record, everywhere: list[Run]) -> dict[str, Any]:
    """Return figures of all complete runs on 8 H100 of exactly the registry's source."""
    same = [
        run
        for run in everywhere
        if run.hashes and run.hashes == record.sha256 and run.complete and run.gpus == TIMED_ON
    ]
    times = [run.train_time_s for run in same if run.train_time_s is not None]
    return {
        "source_n": len(same),
        "source_loss_mean": fmean(run.val_loss for run in same) if same else None,
        "source_time_mean_s": fmean(times) if times else None,
    }


def _notes(
    record: Record, group: Group, how: str, difference: float | None, p_loss: float | None
) -> list[str]:
    notes = {
        "its runs did not come to their end": not group.complete,
        "the log names no GPU": not group.gpus,
        "the log holds no time": not group.times_s,
        f"no run on {TIMED_ON}: the time cannot be compared": group.gpus not in ("", TIMED_ON),
        "the linked log is none of these runs": record.log != record.log_folder
        and not any(run.path.startswith(record.log) for run in group.runs),
        f"time differs by more than {DIFFERENCE_NOTED:g} %": abs(difference or 0.0)
        > DIFFERENCE_NOTED,
        "p > 0.01": p_loss is not None and p_loss > 0.01,
        "mean loss above the target": fmean(group.losses) > TARGET_LOSS,
    }
    return [note for note, holds in notes.items() if holds]
