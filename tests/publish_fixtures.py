"""A published sweep and copies of it, for the tests of publish: a plugin that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

import publish_store
from publish_store import Published


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_store.template(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return publish_store.original(tmp_path_factory.getbasetemp())


@pytest.fixture
def plan(tmp_path: Path, original: Published, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the plan of a sweep of one's own, with no tracking server in the environment."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return original.copy_plan(tmp_path)


@pytest.fixture
def uri(tmp_path: Path, original: Published) -> str:
    """Return the URI of a store of one's own in which the sweep has been published."""
    return original.copy_store(tmp_path)
