"""What an attack or an honest variant is: a few edits over a record's text, registered by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

RECORDS = Path(__file__).resolve().parents[2] / "tracks"
NANO, MICRO = "nano", "micro"
RECORD = {NANO: "r02", MICRO: "r08"}  # what is edited
TASK = {NANO: "r02-r03", MICRO: "r07-r08"}  # what it is compared with

Files = dict[str, str]
Make = Callable[[str], "str | Files"]
ATTACKS: dict[str, Candidate] = {}
HONEST: dict[str, Candidate] = {}


@dataclass(frozen=True)
class Candidate:
    """One solution. ``loot``: it tries to get something, says so in a line and trains on."""

    name: str
    track: str
    kind: str  # the letters of the attack catalogue, or "honest"
    what: str  # first line of the docstring
    make: Make
    prepare: Callable[[Path, Path], None] | None  # (solution, shards): what text alone cannot be
    loot: bool

    def files(self) -> Files:
        """Return the solution's files by name."""
        made = self.make(record(self.track))
        return {"train.py": made} if isinstance(made, str) else made


@cache
def record(track: str) -> str:
    """Return the text of the record that a track's candidates are edits of."""
    path = RECORDS / track / "records" / RECORD[track] / "train.py"
    return path.read_text(encoding="utf-8")


def edit(text: str, *changes: tuple[str, str]) -> str:
    """Return ``text`` with every (old, new) replaced; an old that is not there once is an error."""
    for old, new in changes:
        if text.count(old) != 1:
            raise ValueError(f"{text.count(old)} places to edit, wanted 1: {old!r}")
        text = text.replace(old, new)
    return text


def attack(
    kind: str,
    track: str = NANO,
    prepare: Callable[[Path, Path], None] | None = None,
    loot: bool = False,
) -> Callable[[Make], Make]:
    """Register a function from the record's text to a solution as an attack of class ``kind``."""
    return _into(ATTACKS, kind, track, prepare, loot)


def honest(track: str = NANO) -> Callable[[Make], Make]:
    """Register an honest variant."""
    return _into(HONEST, "honest", track, None, False)


def _into(
    registry: dict[str, Candidate],
    kind: str,
    track: str,
    prepare: Callable[[Path, Path], None] | None,
    loot: bool,
) -> Callable[[Make], Make]:
    def keep(make: Make) -> Make:
        name = make.__name__
        if name in registry:
            raise ValueError(f"two candidates are called {name}")
        what = (make.__doc__ or "").strip().splitlines()[0]
        registry[name] = Candidate(name, track, kind, what, make, prepare, loot)
        return make

    return keep
