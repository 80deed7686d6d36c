"""Start the child that parses a candidate: hostile source may exhaust a parser, never the harness.

One child for a whole check. It is isolated from the environment, from the user's site and from the
working directory; its memory, CPU time and answer are bounded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speedrun.rules.catalogue import KEY_CHARS, REVIEW, RULES, VIOLATION, WHAT_CHARS, Finding

# An isolated interpreter knows neither this package's place nor the working directory.
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from speedrun.rules import child; child.main()"
SOURCE_ROOT = Path(__file__).resolve().parents[2]
WALL_S = 60.0  # the largest record against its successor takes about a second
ANSWER_BYTES = 1_000_000


def examine(request: Mapping[str, Any]) -> list[Finding]:
    """Return the child's findings; a child that dies or rambles is one finding, ``unreadable``."""
    command = [sys.executable, "-I", "-S", "-B", "-c", BOOT, str(SOURCE_ROOT)]
    with tempfile.TemporaryFile() as answer:
        try:
            ended = subprocess.run(
                command,
                input=json.dumps(request).encode(),
                stdout=answer,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                timeout=WALL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [_unread(f"the checks took more than {WALL_S:.0f} s")]
        answer.seek(0)
        content = answer.read(ANSWER_BYTES + 1)
    if ended.returncode or len(content) > ANSWER_BYTES:
        return [_unread("the checks ran out of memory, time or stack on this code")]
    return list(_findings(content))


def _findings(content: bytes) -> Iterator[Finding]:
    try:
        rows = json.loads(content)
        yield from (_finding(row) for row in rows)
    except (ValueError, TypeError, KeyError):
        yield _unread("the checks gave no readable answer on this code")


def _finding(row: Any) -> Finding:
    rule, severity, file, line, what, key = row
    if rule not in RULES or severity not in (VIOLATION, REVIEW):
        raise ValueError(rule)
    return Finding(
        rule, severity, bounded(file, 120), int(line), bounded(what), bounded(key, KEY_CHARS)
    )


def _unread(what: str) -> Finding:
    return Finding("unreadable", REVIEW, "", 0, what, "child")


def bounded(text: str, most: int = WHAT_CHARS) -> str:
    """Return ``text`` printable, on one line and at most ``most`` characters long."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in str(text)[: most + 1])
    return plain if len(plain) <= most else plain[: most - 3] + "..."
