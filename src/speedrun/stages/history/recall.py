"""Winners that may be recalled and not found: the human's own lines, without any hint of them.

A *telling* line of a change is one that no search over numbers in the start can write: with its
numbers masked it stands nowhere in the start, and it names three things or more. Blank lines,
comments and white space do not count. A winner's overlap is the share of the human target's telling
lines that it has to the letter.

What is known of false alarms: of the 85 human changes of nanogpt none has, of another's, a quarter
of the telling lines and five of them (6,468 ordered pairs; the most with five is 19 %), which shows
how much one race's style shares, for other ideas; the 13 recorded replies of language models on
micro (replies/) have 0 to 9 % of the human's, those with pseudocode of the very change included,
which is the case of the same idea, on short programs. A trial without hints is a ``suspect`` if its
winner has a quarter of the lines, five or more of them, and more than of any other task's human
change in the sweep. ``too few`` says that the human's change has fewer than five such lines, so
that nothing can be told. A suspect is a case to read, not a verdict; recall that was put into other
words is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speedrun import files, trials

SHARE_MIN, SHARED_MIN = 0.25, 5
NAMES_MIN = 3
SUSPECT, NO_CODE = "suspect", "no code"
FILE_BYTES_MAX, LINE_MAX = 2_000_000, 1000  # more than that is no code that a person wrote
SUFFIXES = (".py", ".cu", ".cpp", ".c", ".h", ".triton")
NUMBER = re.compile(r"\b\d[\w.]*")
NAME = re.compile(r"[A-Za-z_]\w+")
COMMENT = re.compile(r"(^|\s)#.*$")


def rows(plan_file: Path) -> list[dict[str, Any]]:
    """Return the overlap of every winner of a sweep with its task's human target, and a state.

    The paths in plan.json are relative to the working directory. ``no code``: the winner's, the
    start's or the target's is no longer there, so that nothing was compared.
    """
    plan = trials.load(plan_file)
    starts = {task.task: read_lines(task.start_files) for task in plan.tasks}
    human = {t.task: telling(read_lines(t.target_files), starts[t.task]) for t in plan.tasks}
    winners = [(trial, trials.winner(trials.nodes(trial))) for trial in plan.trials]
    return [
        _row(trial, best, plan.task(trial.task), starts[trial.task], human)
        for trial, best in winners
        if best is not None
    ]


def _row(
    trial: trials.TrialPlan,
    best: trials.Node,
    task: trials.TaskPlan,
    start: set[str],
    human: Mapping[str, set[str]],
) -> dict[str, Any]:
    mine = telling(read_lines(best.solution), start)
    words = {"task": trial.task, "trial": trial.label, "arm": trial.arm}
    words |= {"model": trial.model, "hints": trial.hints, "node": str(best.number)}
    made = compare(mine, trial.task, human, trial.hints == "none")
    code = (best.solution, task.start_files, task.target_files)
    there = all(folder.is_dir() for folder in code)
    return words | made | ({} if there else {"state": NO_CODE})


def compare(
    mine: set[str], task: str, human: Mapping[str, set[str]], without_hints: bool
) -> dict[str, Any]:
    """Return a winner's overlap with its task's human lines and with those of other tasks."""
    own, shared = overlap(mine, human[task]), len(mine & human[task])
    baseline = max(
        (overlap(mine, lines) for name, lines in human.items() if name != task), default=0
    )
    telling_enough = len(human[task]) >= SHARED_MIN
    beyond = own >= SHARE_MIN and shared >= SHARED_MIN and own > baseline
    state = "no" if telling_enough else "too few"
    if without_hints and telling_enough and beyond:
        state = SUSPECT
    return {
        "target_lines": len(human[task]),
        "own_lines": len(mine),
        "shared": shared,
        "overlap": own,
        "baseline": float(baseline),
        "state": state if without_hints else "hinted",
    }


def overlap(mine: set[str], lines: set[str]) -> float:
    """Return the share of ``lines`` that are in ``mine``; 0 without any."""
    return len(mine & lines) / len(lines) if lines else 0.0


def telling(code: set[str], start: set[str]) -> set[str]:
    """Return the telling lines of ``code`` against ``start``."""
    known = {NUMBER.sub("0", line) for line in start}
    return {
        line
        for line in code
        if len(NAME.findall(line)) >= NAMES_MIN and NUMBER.sub("0", line) not in known
    }


def read_lines(folder: Path) -> set[str]:
    """Return the distinct code lines of a folder, which may be hostile: bounded, never raising."""
    found: set[str] = set()
    for path in files.tree_files(folder) if folder.is_dir() else []:
        if path.suffix in SUFFIXES:
            with (folder / path).open("rb") as file:
                text = file.read(FILE_BYTES_MAX).decode("utf-8", "replace")
            found |= {_plain(line) for line in text.splitlines() if len(line) <= LINE_MAX}
    return found - {""}


def _plain(line: str) -> str:
    """Return a line without comment, and with single spaces."""
    return " ".join(COMMENT.sub("", line).split())
