"""Peak GPU memory, from the line that a script prints when it is done."""

from __future__ import annotations

import re

_MEMORY = re.compile(
    r"peak memory (?:allocated|consumption): (\d{1,9}) MiB(?: reserved: (\d{1,9}) MiB)?", re.ASCII
)


def peak_memory(run: str) -> tuple[int | None, int | None]:
    """Return MiB allocated and MiB reserved, from the last line that tells them; None: not told.

    ``consumption`` is what the scripts of records 4 to 18 call the memory that was allocated.
    """
    text = "\n" + run
    match = _MEMORY.match(text, text.rfind("\npeak memory ") + 1)
    if match is None:
        return None, None
    return int(match[1]), int(match[2]) if match[2] else None
