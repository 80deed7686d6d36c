"""records: a track's record sources, checked and copied to where tasks and references read them.

``local`` are those of this repository, a folder each. The others belong to a track with a registry:
``extract`` takes one from its repository, ``verify`` checks all of them, ``newer`` compares the
registry with a newer commit, ``pin`` writes the hashes.
"""

from __future__ import annotations

from speedrun.stages.records.local import (
    CARD,
    Measured,
    RecordCard,
    find_record,
    read_card,
    read_sources,
    records,
    write_measured,
)

__all__ = [
    "CARD",
    "Measured",
    "RecordCard",
    "find_record",
    "read_card",
    "read_sources",
    "records",
    "write_measured",
]
