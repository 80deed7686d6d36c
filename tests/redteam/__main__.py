"""``python -m tests.redteam``: plays all attacks and honest variants and prints the tables."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of this process: two runs beside it have the cores


def main() -> int:
    """Return 0 if every attack is caught or held, no honest variant is, and nothing was changed."""
    from . import pages, play, table
    from .catalogue import every

    parser = argparse.ArgumentParser(prog="python -m tests.redteam", description=__doc__)
    parser.add_argument("names", nargs="*", help="candidates or tracks; all if none is named")
    parser.add_argument("--root", type=Path, default=Path("results/redteam"))
    parser.add_argument("--out", type=Path, help="write the tables there too, as Markdown")
    parser.add_argument("--probed-only", action="store_true", help="leave the second table out")
    given = parser.parse_args()
    names = set(given.names)
    chosen = [o for o in every() if not names or names & {o.name, o.track, *o.kind.split()}]
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:5.0f} s {line}"[:200], file=sys.stderr, flush=True)

    game = play.play(given.root, chosen, say, unprobed=not given.probed_only)
    text = pages.report(
        game, time.monotonic() - begun, sum(os.times()[:4]), unprobed=not given.probed_only
    )
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    return 1 if table.missed(game) or table.false_alarms(game) or game.changed else 0


if __name__ == "__main__":
    sys.exit(main())
