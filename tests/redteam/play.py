"""Plays all candidates: the search, each layer alone, the audit of what survived, what is left."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedrun.schema import Outcome

from . import audits, bench, left
from .bench import Place, Searched
from .candidate import MICRO, NANO, Candidate

WORKERS = 2


@dataclass
class Played:
    """What each layer said of one candidate, by itself; audits are of those that survived."""

    candidate: Candidate
    searched: Searched
    findings: list[dict[str, Any]]
    audit: dict[str, Any] | None = None  # without the review
    final: dict[str, Any] | None = None  # with it
    open_findings: list[dict[str, Any]] = field(default_factory=list)  # as without probes
    unprobed: dict[str, Any] | None = None  # the audit of a track without probes, no review


@dataclass
class Game:
    """All that was played, and what was found changed or alive afterwards."""

    played: list[Played]
    changed: list[str]


def play(
    root: Path, candidates: Sequence[Candidate], say: Callable[[str], None], *, unprobed: bool
) -> Game:
    """Play the candidates below ``root``; finished runs there are not made again."""
    root = root.resolve()
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(root / "tmp")  # so that every process of ours names it
    places = {name: bench.place(root, name) for name in _tracks(candidates)}
    for where in places.values():
        for one in candidates:
            if one.track == where.track.name:
                bench.write_node(where, one)
    before = left.digests(root, places.values())
    found = _searched(places, candidates, say)
    for name, where in places.items():
        mine = [one for one in found if one.candidate.track == name]
        say(f"{name}: audit of {sum(_ok(one) for one in mine)} of {len(mine)}")
        _audit(where, mine)
        if unprobed and name == NANO:
            say(f"{name}: as a track without probes")
            _audit_unprobed(where, mine)
    return Game(found, left.changes(before, left.digests(root, places.values())))


def _tracks(candidates: Sequence[Candidate]) -> list[str]:
    return [name for name in (NANO, MICRO) if any(one.track == name for one in candidates)]


def _searched(
    places: dict[str, Place], candidates: Sequence[Candidate], say: Callable[[str], None]
) -> list[Played]:
    def one(candidate: Candidate) -> Played:
        where = places[candidate.track]
        searched = bench.search(where, candidate)
        say(f"{candidate.name}: {searched.full.outcome} {searched.full.reason}")
        return Played(candidate, searched, audits.findings(where, candidate, where.track))

    with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:
        return list(pool.map(one, candidates))


def _ok(one: Played) -> bool:
    """Whether an audit is due: not of one that got nothing and then ran as the record does."""
    return one.searched.bare.outcome == Outcome.OK and not contained(one)


def contained(one: Played) -> bool:
    """Whether a candidate looked for something and says that it got nothing."""
    return one.candidate.loot and one.searched.loot == bench.NOTHING


def _audit(where: Place, played: Sequence[Played]) -> None:
    """Audit what the run alone let pass, without the review and with it."""
    alive = [one for one in played if _ok(one)]
    for one in alive:
        audits.keep(where, one.candidate, one.searched.bare)
    candidates = [one.candidate for one in alive]
    alone = audits.verdicts(where, candidates, where.track, reviewed=False)
    final = audits.verdicts(where, candidates, where.track, reviewed=True)
    for one in alive:
        one.audit, one.final = alone[one.candidate.name], final[one.candidate.name]


def _audit_unprobed(where: Place, played: Sequence[Played]) -> None:
    """Do the same as if the harness held no targets: with noise and hold-out runs."""
    track = bench.without_probes(where.track)
    bad = [one for one in played if one.candidate.kind != "honest" and not contained(one)]
    alive = [one for one in bad if one.searched.unprobed.outcome == Outcome.OK]
    for one in alive:
        audits.keep(where, one.candidate, one.searched.unprobed)
    candidates = [one.candidate for one in alive]
    alone = audits.verdicts(where, candidates, track, reviewed=False)
    for one in bad:
        one.open_findings = audits.findings(where, one.candidate, track)
        one.unprobed = alone.get(one.candidate.name)
