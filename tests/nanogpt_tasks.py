"""The nanogpt sweep with overrides, and the tasks of its track that the paper has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speedrun.adapters import sweep

PAPER = [f"r{k:02d}-r{k + 1:02d}" for k in (*range(1, 6), *range(7, 21))]


def nanogpt(repository: Path, *overrides: str) -> dict[str, Any]:
    return sweep.load(repository / "config", "nanogpt", list(overrides))
