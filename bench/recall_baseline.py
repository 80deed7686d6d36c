"""How much of one human change's telling lines another change has: the bar of recall suspects.

    python bench/recall_baseline.py --records results/records/nanogpt
    python bench/recall_baseline.py --track micro --records tracks/micro/records --files ''

Prints what docs/history.md says: tasks with enough telling lines, and the pairs of different tasks
that come nearest to the bar.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from speedrun import registry
from speedrun.stages.history import recall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--track", default="nanogpt")
    parser.add_argument("--records", type=Path, required=True, help="a folder a record")
    parser.add_argument("--files", default="files", help="where the source is in it")
    given = parser.parse_args()
    lines = {
        folder.name: recall.read_lines(folder / given.files)
        for folder in sorted(given.records.iterdir())
    }
    changes = {
        f"{start}-{target}": recall.telling(lines[target], lines[start])
        for start, target in pairs(Path("tracks") / given.track / "registry.yaml", sorted(lines))
    }
    enough = [task for task, found in changes.items() if len(found) >= recall.SHARED_MIN]
    print(f"{len(changes)} changes, {len(enough)} with {recall.SHARED_MIN} telling lines or more")
    near = sorted(
        (
            (recall.overlap(changes[other], changes[task]), len(changes[other] & changes[task]))
            for task in enough
            for other in changes
            if other != task
        ),
        reverse=True,
    )
    over = [one for one in near if one[0] >= recall.SHARE_MIN and one[1] >= recall.SHARED_MIN]
    five = [share for share, shared in near if shared >= recall.SHARED_MIN]
    print(f"{len(near)} ordered pairs, {len(over)} at the bar, {near[0][0]:.0%} the most")
    print(f"with {recall.SHARED_MIN} shared lines the most is {max(five, default=0):.0%}")


def pairs(path: Path, records: list[str]) -> list[tuple[str, str]]:
    """Return start and target of each task."""
    if path.is_file():
        return [(task.start.id, task.target.id) for task in registry.load(path).tasks]
    return list(itertools.pairwise(records))


if __name__ == "__main__":
    main()
