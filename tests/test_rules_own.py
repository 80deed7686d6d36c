"""Rules in a cumulative trial: what its own start did is a flag, and excuses nothing graver."""

from __future__ import annotations

from pathlib import Path

import pytest

from rule_cases import ENTRY, write
from speedrun.rules import RULES, check

PLAIN = "import numpy\nprint(1)\n"
NAMED = PLAIN + 'NOTE = "/etc/hostname"\n'  # a flag
OPENED = PLAIN + 'def load(path): return open(path)\nx = load("/etc/hostname")\n'  # a violation
Told = set[tuple[str, str]]


def told(
    folder: Path, solution: dict[str, str], start: str, target: str, own: dict[str, str] | None
) -> Told:
    """Return rule and severity of what is found."""
    candidate, before, after = (
        write(folder / name, files)
        for name, files in (("solution", solution), ("start", {ENTRY: start}),
                            ("target", {ENTRY: target}))
    )  # fmt: skip
    mine = write(folder / "own", own) if own is not None else None
    found = check(candidate, before, ENTRY, list(RULES), after, own=mine)
    return {(one.rule, one.severity) for one in found}


@pytest.mark.parametrize(
    ("own", "severity"),
    [(None, "violation"), (PLAIN, "violation"), (NAMED, "violation"), (OPENED, "review")],
)
def test_only_the_same_breach_of_its_own_start_lowers_one(
    tmp_path: Path, own: str | None, severity: str
) -> None:
    """A path that its start only named is none that it may open."""
    mine = {ENTRY: own} if own else None
    assert ("paths", severity) in told(tmp_path, {ENTRY: OPENED}, PLAIN, PLAIN, mine)


def test_what_is_added_to_a_breach_is_one(tmp_path: Path) -> None:
    twice = OPENED + 'y = load("/etc/hostname")\n'
    found = told(tmp_path, {ENTRY: twice}, PLAIN, PLAIN, {ENTRY: OPENED})
    assert ("paths", "violation") in found


def test_a_text_file_of_its_own_start_excuses_no_binary_of_that_name(tmp_path: Path) -> None:
    own = {ENTRY: PLAIN, "k.cu": "// kernel\n"}
    assert told(tmp_path / "a", own, PLAIN, PLAIN, own) == {("files", "review")}
    weights = own | {"k.cu": "\0" + "weights" * 9999}
    assert ("files", "violation") in told(tmp_path / "b", weights, PLAIN, PLAIN, own)


@pytest.mark.parametrize("where", ["start", "target"])
def test_a_record_that_names_a_path_excuses_nobody_who_opens_it(tmp_path: Path, where: str) -> None:
    start, target = (NAMED, PLAIN) if where == "start" else (PLAIN, NAMED)
    assert ("paths", "violation") in told(tmp_path / "a", {ENTRY: OPENED}, start, target, None)
    opened = (OPENED, PLAIN) if where == "start" else (PLAIN, OPENED)
    assert told(tmp_path / "b", {ENTRY: OPENED}, *opened, None) == set()


@pytest.mark.parametrize("order", [1, -1])
def test_the_worst_of_one_path_is_said(tmp_path: Path, order: int) -> None:
    """In whatever order a candidate names and opens it."""
    lines = ['NOTE = "/etc/hostname"\n', 'x = load("/etc/hostname")\n'][::order]
    code = PLAIN + "def load(path): return open(path)\n" + "".join(lines)
    assert ("paths", "violation") in told(tmp_path, {ENTRY: code}, PLAIN, PLAIN, None)
