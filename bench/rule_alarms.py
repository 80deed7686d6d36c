"""How often the rules speak on honest human records: a target against its start, by rule.

`python bench/rule_alarms.py --upstream PATH` for all tasks of nanogpt, micro and nano. PATH is a
clone of upstream or its address; its code goes to a temporary folder and nowhere else. A flag on a
human record is a false alarm unless the speedrun's own rules forbid what it names.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from speedrun import registry, rules
from speedrun.adapters import upstream_git
from speedrun.stages.records import extract

REPOSITORY = Path(__file__).resolve().parents[1]
REGISTRY = REPOSITORY / "tracks" / "nanogpt" / "registry.yaml"
LOCAL = {"micro": "train.py", "nano": "train.py"}
# What tracks/nanogpt/rules.md forbids by the letter, so that the flag is right.
BREACHES = {
    ("compile_flags", "violation"): "flags of torch.compile or inductor that the start lacks",
    ("packages", "violation"): "packages that the start does not import",
    ("network", "violation"): "a kernel that is downloaded at the first run",
}


@dataclass(frozen=True)
class Pair:
    """A human step: two folders of source and the file that is run."""

    track: str
    name: str
    start: Path
    target: Path
    entry: str


Alarms = dict[tuple[str, str], dict[str, list[rules.Finding]]]


def local_pairs() -> Iterator[Pair]:
    """Yield the steps of the tracks whose records lie in this repository."""
    for track, entry in LOCAL.items():
        records = sorted((REPOSITORY / "tracks" / track / "records").iterdir())
        for start, target in itertools.pairwise(records):
            yield Pair(track, f"{track} {start.name}-{target.name}", start, target, entry)


def upstream_pairs(upstream: str, folder: Path) -> Iterator[Pair]:
    """Write all records of nanogpt to ``folder`` and yield its tasks."""
    facts = registry.load(REGISTRY)
    mirror = folder / "mirror.git"
    repository = upstream_git.open_repository(upstream, mirror, [facts.upstream.commit])
    for record in facts.records:
        extract.extract(repository, facts, record.id, folder / record.id)
    for task in facts.tasks:
        start, target = (folder / one.id / "files" for one in (task.start, task.target))
        yield Pair("nanogpt", task.task, start, target, facts.entry)


def alarms(pairs: Iterable[Pair]) -> Alarms:
    """Return {(rule, severity): {task: findings}} over human steps, all rules switched on."""
    found: Alarms = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        for one in rules.check(pair.target, pair.start, pair.entry, list(rules.RULES)):
            found[one.rule, one.severity][pair.name].append(one)
    return found


def table(found: Alarms, tasks: int) -> Iterator[str]:
    """Yield the table's lines; every rule that can speak has one, silent ones too."""
    yield f"{'rule':24}{'severity':11}{'tasks of ' + str(tasks):14}{'breaches':10}which"
    silent = {(rule.id, rule.severity): {} for rule in rules.RULES.values()}
    for (rule, severity), by_task in sorted({**silent, **found}.items()):
        right = len(by_task) if (rule, severity) in BREACHES else 0
        names = " ".join(list(by_task)[:12])
        yield f"{rule:24}{severity:11}{len(by_task):<14}{right:<10}{names}"


def main() -> None:
    """Print one table for nanogpt and one for our own records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", help="a clone of modded-nanogpt, or its address")
    parser.add_argument("--details", metavar="RULE", help="print a rule's findings too")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        groups = [list(local_pairs())]
        if words.upstream:
            groups.insert(0, list(upstream_pairs(words.upstream, Path(folder))))
        for pairs in groups:
            found = alarms(pairs)
            print("\n".join(table(found, len(pairs))), end="\n\n")
            for (rule, _), by_task in sorted(found.items()):
                for name, findings in by_task.items() if rule == words.details else ():
                    for one in findings:
                        print(f"  {name} {one.file}:{one.line} {one.what}")


if __name__ == "__main__":
    main()
