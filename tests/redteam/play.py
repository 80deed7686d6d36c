"""Plays all candidates: the search, each layer alone, the audit of what survived, what is left."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedrun import rules
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
    unprobed_final: dict[str, Any] | None = None  # with it


@dataclass
class Game:
    """All that was played, and what was found changed or alive after any run or at the end."""

    played: list[Played]
    changed: list[str]
    runs: int = 0


def play(
    root: Path, candidates: Sequence[Candidate], say: Callable[[str], None], *, unprobed: bool
) -> Game:
    """Play the candidates below ``root``; finished runs there are not made again."""
    root = root.resolve()
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(root / "tmp")  # so that every process of ours names it
    watch = left.Watch(root)
    places = {name: bench.place(root, name, watch) for name in _tracks(candidates)}
    for one in candidates:
        bench.write_node(places[one.track], one)
    watch.begin()
    before = left.digests(watch)
    found = _searched(places, candidates, say)
    for name, where in places.items():
        mine = [one for one in found if one.candidate.track == name]
        say(f"{name}: audit of {sum(_due(one) for one in mine)} of {len(mine)}")
        _audit(where, mine)
        if unprobed and name == NANO:
            say(f"{name}: as a track without probes")
            _audit_unprobed(where, mine)
    alive = [f"process {pid} is alive" for pid in watch.alive()]
    changed = [*watch.found, *left.changes(before, left.digests(watch)), *alive]
    return Game(found, changed, watch.runs)


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


def _due(one: Played) -> bool:
    """Whether an audit is due: not of one that got nothing and then ran as the record does.

    On nano what only the rules stop is audited too, to see whether anything else would; on micro
    that costs ten times as much and is left.
    """
    analysis = one.searched.bare if one.candidate.track == NANO else one.searched.full
    return analysis.outcome == Outcome.OK and not contained(one)


def contained(one: Played) -> bool:
    """Whether a candidate looked for something and says that it got nothing."""
    return one.candidate.loot and one.searched.loot == bench.NOTHING


def _audit(where: Place, played: Sequence[Played]) -> None:
    """Audit what the run alone let pass, without the review and with it."""
    alive = [one for one in played if _due(one)]
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
    asked = [one for one in played if not contained(one)]
    for one in asked:
        one.open_findings = audits.findings(where, one.candidate, track)
    alive = [one for one in asked if one.searched.unprobed.outcome == Outcome.OK]
    for one in alive:
        audits.keep(where, one.candidate, one.searched.unprobed)
    candidates = [one.candidate for one in alive]
    alone = audits.verdicts(where, candidates, track, reviewed=False)
    final = audits.verdicts(where, candidates, track, reviewed=True)
    for one in alive:
        one.unprobed, one.unprobed_final = alone[one.candidate.name], final[one.candidate.name]


def broken(findings: Sequence[dict[str, Any]]) -> bool:
    """Whether the rules alone end the node."""
    return any(one["severity"] == rules.VIOLATION for one in findings)
