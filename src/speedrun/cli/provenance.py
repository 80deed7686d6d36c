"""The record that every verb leaves: what was done, from what, in how many seconds, where."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import speedrun
from speedrun import files, schema


@dataclass
class Draft:
    """What a verb adds to its record while it works."""

    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    tokens: int | None = None
    cost_usd: float | None = None

    def read(self, *paths: Path) -> None:
        """Note the digest of each input file."""
        for path in paths:
            self.inputs[str(path)] = files.digest_file(path)

    def measured(self, **metrics: float | None) -> None:
        """Note the metrics that are known."""
        self.metrics.update(
            {name: float(value) for name, value in metrics.items() if value is not None}
        )


@contextmanager
def recorded(stage: str, path: Path) -> Iterator[Draft]:
    """Write ``path`` (<stage>.record.json) when the block succeeds; nothing when it fails.

    The key is the record's place below results/, so equal products have equal keys.
    """
    draft, clock, started = Draft(), time.monotonic(), datetime.now(UTC)
    yield draft
    record = schema.StageRecord(
        stage=stage,
        key=_key(stage, path),
        seconds=round(time.monotonic() - clock, 3),
        host=platform.node(),
        started=started.isoformat(timespec="seconds"),
        versions=_versions(),
        **{item.name: getattr(draft, item.name) for item in dataclasses.fields(draft)},
    )
    schema.save(path, record)


def _key(stage: str, path: Path) -> str:
    """Return e.g. trials/micro/r01-r02/null-1a2b3c4d/s0/node_1."""
    name = path.name.removesuffix(".record.json").removesuffix(stage).rstrip(".")
    parts = (path.parent / name).parts if name else path.parent.parts
    return "/".join(parts[parts.index("results") + 1 :] if "results" in parts else parts)


def _versions() -> dict[str, str]:
    found = {"speedrun": speedrun.__version__, "python": platform.python_version()}
    try:
        found["torch"] = metadata.version("torch")
    except metadata.PackageNotFoundError:
        found["torch"] = "absent"
    return found
