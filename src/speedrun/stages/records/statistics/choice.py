"""Which of the groups in a record's folder are the runs of the record itself.

The log that upstream's table links does not always say it: number 48's is a run of the baseline,
number 88's ran on one GPU. In this order:

1. only complete runs count, on the rules' 8 H100 where there are any;
2. ``source``: the group whose code is the very source that the registry gives;
3. ``linked``: the group of the linked log's code, or of the logs in a linked folder,
   unless that is the code of an earlier record: then it is the baseline;
4. ``fastest``: of the other groups the fastest whose mean loss reaches the target.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from speedrun.registry import Record
from speedrun.stages.records.statistics.runs import TIMED_ON, Group

TARGET_LOSS = 3.28  # nats per token; the rule of the speedrun


def choose(groups: list[Group], record: Record, earlier: set[str]) -> tuple[Group, str]:
    """Return the record's group and how it was found; ``earlier`` are earlier records' codes."""
    pool = _eligible(groups)
    linked = _linked_codes(groups, record)
    rules: list[tuple[str, Callable[[Group], bool]]] = [
        ("source", lambda group: bool(group.code) and group.runs[0].hashes == record.sha256),
        ("linked", lambda group: group.code in linked and group.code not in earlier),
        ("fastest", lambda group: group.code not in linked),
        ("linked", lambda group: True),
    ]
    for how, rule in rules:
        found = [group for group in pool if rule(group)]
        if found:
            return _fastest(found), how
    raise ValueError("no groups to choose from")


def _eligible(groups: list[Group]) -> list[Group]:
    complete = [group for group in groups if group.complete] or groups
    return [group for group in complete if group.gpus == TIMED_ON] or complete


def _linked_codes(groups: list[Group], record: Record) -> set[str]:
    """Return the codes that are linked; a link to the folder of all groups names none of them."""
    if record.log == record.log_folder and len({group.code for group in groups}) > 1:
        return set()
    return {
        group.code
        for group in groups
        if any(run.path == record.log or _below(run.path, record.log) for run in group.runs)
    }


def _below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _fastest(groups: list[Group]) -> Group:
    """Return the fastest of the groups that reach the target, or of all if none does."""
    reached = [group for group in groups if fmean(group.losses) <= TARGET_LOSS]
    return min(reached or groups, key=_mean_time_s)


def _mean_time_s(group: Group) -> float:
    return fmean(group.times_s) if group.times_s else float("inf")
