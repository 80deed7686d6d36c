"""Arms as a sweep writes them, resolved in a configuration of the test's own, or refused."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from speedrun.adapters import arms, hydra_config, sweep
from speedrun.files import SpeedrunError

ASKS = "coder: direct, model: ollama"


def own_configuration(repository: Path, base: Path) -> Path:
    """A repository's configuration, with documents of its own."""
    shutil.copytree(repository / "config", base / "config")
    shutil.copytree(repository / "tracks", base / "tracks")
    (base / "knowledge/micro").mkdir(parents=True)
    (base / "knowledge/micro/matmul.md").write_text("# Matrix products\n")
    (base / "knowledge/micro/empty.md").write_text(" \n")
    (base / "knowledge/notes.json").write_text("{}")
    return base


def load(own: Path, *overrides: str, name: str = "quickstart") -> dict[str, Any]:
    return sweep.load(own / "config", name, list(overrides))


@functools.cache
def quickstart(own: Path) -> dict[str, Any]:
    """The sweep as it is written, before its arms are resolved."""
    return hydra_config.load(own / "config", "quickstart")


@functools.cache
def whole(own: Path) -> dict[str, Any]:
    return load(own)


def arm(own: Path, words: str) -> dict[str, Any]:
    """What an arm resolves to that a sweep writes as ``{words}``."""
    return arms.resolve(own / "config", quickstart(own), "x", yaml.safe_load(f"{{{words}}}"))


def wrong(own: Path, words: str) -> str:
    with pytest.raises(SpeedrunError) as caught:
        arm(own, words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def message(own: Path, *overrides: str, name: str = "quickstart") -> str:
    with pytest.raises(SpeedrunError) as caught:
        load(own, *overrides, name=name)
    assert "\n" not in str(caught.value)
    return str(caught.value)
