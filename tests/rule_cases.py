"""What the tests of the rules share: a candidate made from a start by edits, and its findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speedrun.rules import RULES, Finding
from speedrun.rules.compare import findings

REPOSITORY = Path(__file__).resolve().parents[1]
ENTRY = "train.py"
TARGET_LOSS = 3.42
ENABLED = {  # what config/track switches on, and besides what finds nothing in our own records
    "micro": set(RULES) - {"compile_flags", "packages", "stream"},
    "nano": set(RULES) - {"compile_flags", "packages", "counting"},
    "nanogpt": set(RULES) - {"counting", "seed"},
}
START = """
import os
import time

import numpy as np
import torch
import torch.nn.functional as F


def load(path):
    return np.fromfile(path, dtype=np.uint16)


def main():
    model = torch.compile(torch.nn.Linear(2, 2), dynamic=False)
    print(load("data/train_000000.bin"), os.getcwd(), time.time(), F.relu, model)


main()
"""


def record(name: str) -> Path:
    """Return the folder of a record, such as ``micro/r02``."""
    track, number = name.split("/")
    return REPOSITORY / "tracks" / track / "records" / number


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write a solution."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def compare(
    folder: Path, candidate: dict[str, str], start: dict[str, str], enabled: Sequence[str] = ()
) -> list[Finding]:
    """Return the findings of a candidate, in this process: parsing runs nothing."""
    before, after = write(folder / "start", start), write(folder / "after", candidate)
    rules = set(enabled or RULES)
    return findings(after, before, ENTRY, rules, None, TARGET_LOSS)


def added(folder: Path, lines: str) -> list[Finding]:
    """Return the findings of the small start with ``lines`` at its top."""
    return compare(folder, {ENTRY: lines + "\n" + START}, {ENTRY: START})


def edited(folder: Path, name: str, *edits: tuple[str, str]) -> list[Finding]:
    """Return the findings of a record with parts of its text replaced, its track's rules on."""
    text = (record(name) / ENTRY).read_text(encoding="utf-8")
    changed = text
    for old, new in edits:
        assert old in changed, f"{old!r} is not in {name}: correct the test"
        changed = changed.replace(old, new)
    return compare(folder, {ENTRY: changed}, {ENTRY: text}, sorted(ENABLED[name.split("/")[0]]))


def spoken(found: list[Finding]) -> set[str]:
    """Return the rules that speak."""
    return {one.rule for one in found}
