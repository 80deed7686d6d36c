"""How a test loads the sweep whose estimate it asks for, and the model that its arms name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from speedrun.adapters import sweep

MODEL = "coder: direct, model: vllm"
LOADED = Callable[..., dict[str, Any]]


def loader(repository: Path) -> LOADED:
    """Return what loads a sweep of the repository by its name and overrides."""
    return lambda name, *overrides: sweep.load(repository / "config", name, list(overrides))
