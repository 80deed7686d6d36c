"""The whole check: its child process, hostile input, honest records, random edits, upstream."""

from __future__ import annotations

import ast
import os
import random
import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rule_cases import ENABLED, ENTRY, REPOSITORY, TARGET_LOSS, record, write
from speedrun import rules
from speedrun.rules import RULES, Finding, check, launch
from speedrun.rules.compare import findings

UPSTREAM = os.environ.get("SPEEDRUN_UPSTREAM", "")
STEPS = [(f"micro/r0{one}", f"micro/r0{one + 1}") for one in range(1, 8)]
STEPS += [("nano/r01", "nano/r02"), ("nano/r02", "nano/r03")]
MICRO = (record("micro/r02") / ENTRY).read_text(encoding="utf-8")
EVERY = list(RULES)


@pytest.mark.parametrize(("start", "target"), STEPS)
def test_human_records_raise_no_flag_that_their_track_would_hold(start: str, target: str) -> None:
    enabled = ENABLED[start.split("/")[0]]
    assert findings(record(target), record(start), ENTRY, enabled, None, TARGET_LOSS) == []


def test_r03_of_nano_counts() -> None:
    found = check(record("nano/r03"), record("nano/r02"), ENTRY, ["counting"])
    assert [(one.rule, one.severity, one.key) for one in found] == [
        ("counting", "review", "numpy.bincount")
    ]
    assert "np.bincount" in (record("nano/r03") / ENTRY).read_text().splitlines()[found[0].line - 1]


def test_what_the_target_does_too_is_dropped() -> None:
    start, target = record("nano/r02"), record("nano/r03")
    assert check(target, start, ENTRY, EVERY, target) == []


def test_only_enabled_rules_speak() -> None:
    assert check(record("nano/r03"), record("nano/r02"), ENTRY, ["timers"]) == []


def test_the_child_knows_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of the candidate's, or of the environment's, is not imported by the checks."""
    trap = "raise SystemExit('imported')\n"
    names = ("ast.py", "json.py", "speedrun/__init__.py", "sitecustomize.py", "resource.py")
    write(tmp_path / "after", {ENTRY: MICRO, **dict.fromkeys(names, trap)})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "after"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "after" / "json.py"))
    monkeypatch.chdir(tmp_path / "after")
    found = check(tmp_path / "after", record("micro/r02"), ENTRY, EVERY)
    assert {(one.rule, one.file) for one in found} == {("files", name) for name in names}


HOSTILE = {
    "parentheses": "x = " + "(" * 5000 + "1" + ")" * 5000,
    "minus": "x = " + "-" * 20_000 + "1",
    "sum": "x = " + "+".join(["y"] * 30_000),
    "attributes": "x" + ".a" * 20_000,
    "lists": "x = " + "[" * 90 + "]" * 90,
    "syntax error": "def (:\n",
    "newer syntax": "type X[T = int] = list[T]\nlazy import os\n",
    "indents": "".join(f"{' ' * depth}if x:\n" for depth in range(99)) + " " * 99 + "y",
    "no text": "",
    "power": "x = 9 ** 9 ** 9 ** 9\ny = 'a' * 10 ** 12\nz = '%999999999d' % 1\ngetattr(os, z)",
    "left shift": "x = getattr(torch, 1 << (1 << 40))",
    "self": "import os\na = b\nb = a\na.c = a\nx = x.x\nos = os.os\n",
    "calls": "def f(x):\n    return f(f(x))\nf(open('data/val_1.bin'))\n" * 40,
    "nested functions": "".join(f"{' ' * d}def f{d}(x):\n" for d in range(60)) + " " * 60 + "pass",
    "many names": "\n".join(f"a{i} = a{i - 1} + a{i - 1}" for i in range(1, 3000)),
    "bell": "x = '\x07\x1b[31m'\nopen('/etc/\x1b[2J')",
    "surrogates": "x = '\\ud800'\nopen('/etc/\\ud800')\n",
    "huge integer": "x = " + "9" * 4000,
    "regexp": "# " + "you are " * 20_000 + "\nx = '" + "do not " * 20_000 + "'",
    "chars": "import os\n" + "x = chr(1) + x\n" * 5000 + "getattr(os, x)",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_source_raises_nothing(name: str, tmp_path: Path) -> None:
    write(tmp_path, {ENTRY: HOSTILE[name]})
    found = check(tmp_path, record("micro/r02"), ENTRY, EVERY, record("micro/r03"), TARGET_LOSS)
    assert found, "a source without a validation must not pass unseen"
    for one in found:
        text = one.what + one.key + one.file
        assert text.isprintable() and len(one.what) <= 240 and len(one.key) <= 160


def test_what_cannot_be_parsed_is_for_review(tmp_path: Path) -> None:
    write(tmp_path, {ENTRY: MICRO, "broken.py": "x = (\n"})
    found = check(tmp_path, record("micro/r02"), ENTRY, [])
    assert [(one.rule, one.severity, one.file) for one in found] == [
        ("unreadable", "review", "broken.py")
    ]


def test_hostile_folders(tmp_path: Path) -> None:
    """A link to itself, a pipe, 50 MB, 2,000 files, an odd name, no entry: told, not followed."""
    folder = tmp_path / "after"
    folder.mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "up").symlink_to(folder)
    os.mkfifo(folder / "pipe.py")
    with (folder / "large.py").open("wb") as file:
        file.truncate(50_000_000)
    os.mkdir(os.fsencode(folder) + b"/odd\xff")
    (folder / "deep").mkdir()
    for index in range(2000):
        (folder / "deep" / f"m{index}.py").write_text("x = 1\n")
    found = check(folder, record("micro/r02"), ENTRY, EVERY)
    told = {one.file for one in found}
    assert {"loop", "up", "pipe.py", "large.py", ENTRY, "."} <= told


def test_a_missing_solution_is_unreadable(tmp_path: Path) -> None:
    found = check(tmp_path / "none", record("micro/r02"), ENTRY, EVERY)
    assert {one.rule for one in found} >= {"unreadable", "evaluation"}


def test_a_child_that_dies_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for boot in ("raise SystemExit(3)", "print('x' * 2_000_000)", "print('[[1]]')", "print(7)"):
        monkeypatch.setattr(launch, "BOOT", boot)
        (found,) = check(tmp_path, tmp_path, ENTRY, EVERY)
        assert isinstance(found, Finding) and (found.rule, found.key) == ("unreadable", "child")


def test_a_child_that_hangs_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "WALL_S", 0.3)
    monkeypatch.setattr(launch, "BOOT", "import time; time.sleep(60)")
    (found,) = check(tmp_path, tmp_path, ENTRY, EVERY)
    assert found.rule == "unreadable"


# --- random edits ---------------------------------------------------------------------------------

LINES = MICRO.splitlines()
WORDS = sorted(set(re.findall(r"\w+|[^\w\s]", MICRO)))


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.integers(0, 4), st.sampled_from(WORDS)))
)
def test_random_edits_never_raise(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, str]]
) -> None:
    lines = list(LINES)
    for place, kind, word in edits:
        old = lines[place]
        lines[place] = (old, "", f"{old} {word}", old.replace(word, ""), f"{old}\n{old}")[kind]
    folder = write(tmp_path_factory.mktemp("edit"), {ENTRY: "\n".join(lines)})
    found = findings(folder, record("micro/r02"), ENTRY, set(RULES), None, TARGET_LOSS)
    assert all(one.rule in RULES for one in found)


def renamed(text: str, seed: int) -> str:
    """Return a file with its own names changed, its comments and layout gone, its parts moved."""
    chance = random.Random(seed)
    tree = ast.parse(text)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names &= {
        node.id if isinstance(node, ast.Name) else node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    }
    new = {name: f"{name[0]}_{chance.randrange(10**6)}" for name in sorted(names)}
    for node in ast.walk(tree):
        for field in ("id", "name", "arg"):
            old = getattr(node, field, None)
            if (
                isinstance(old, str)
                and old in new
                and not isinstance(node, ast.keyword | ast.alias)
            ):
                setattr(node, field, new[old])
    plain = [one for one in tree.body if isinstance(one, ast.FunctionDef)]
    places = [index for index, one in enumerate(tree.body) if isinstance(one, ast.FunctionDef)]
    chance.shuffle(plain)
    for index, function in zip(places, plain, strict=True):
        tree.body[index] = function
    return ast.unparse(tree)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([start for start, _ in STEPS] + ["micro/r08", "nano/r03"]), st.integers())
def test_a_renamed_and_reformatted_file_raises_no_flag(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int
) -> None:
    text = renamed((record(name) / ENTRY).read_text(encoding="utf-8"), seed)
    folder = write(tmp_path_factory.mktemp("renamed"), {ENTRY: text})
    assert findings(folder, record(name), ENTRY, set(RULES), None, TARGET_LOSS) == []


# --- upstream -------------------------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.skipif(not UPSTREAM, reason="SPEEDRUN_UPSTREAM names no clone of upstream")
def test_human_tasks_break_no_rule_but_by_the_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 85 tasks: every violation is one that the speedrun's own rules name."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(REPOSITORY / "bench")])
    import rule_alarms

    pairs = list(rule_alarms.upstream_pairs(UPSTREAM, tmp_path))
    assert len(pairs) == 85
    found = rule_alarms.alarms(pairs)
    violations = {key: set(tasks) for key, tasks in found.items() if key[1] == rules.VIOLATION}
    assert violations.keys() == rule_alarms.BREACHES.keys()
    assert violations["compile_flags", "violation"] == {
        "r11-r12",
        "r18-r19",
        "r20-r21",
        "r23-r24",
        "r26-r27",
    }
    held = {task for key, tasks in found.items() for task in tasks if key[1] == rules.REVIEW}
    assert len(held) <= 26
    assert all(len(tasks) <= 14 for key, tasks in found.items() if key[1] == rules.REVIEW)


def test_a_bincount_of_a_gradient_sums_and_one_of_ones_counts(tmp_path: Path) -> None:
    start = record("nano/r02")
    for weights, expected in (("tokens * 0.5 - g", []), ("np.ones(3)", ["counting"])):
        folder = tmp_path / weights[:2]
        folder.mkdir()
        text = (start / ENTRY).read_text()
        line = f"\ndef summed(tokens, g):\n    return np.bincount(tokens, weights={weights})\n"
        (folder / ENTRY).write_text(text.replace("\n\nclass ", f"\n{line}\n\nclass ", 1))
        assert [one.rule for one in check(folder, start, ENTRY, ["counting"])] == expected
