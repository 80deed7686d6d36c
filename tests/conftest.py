"""Fixtures that several stages' tests share: the repository, its configuration, nano's shards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import model_server
from model_server import ModelServer
from nvidia_smi import Smi, stand_in
from redteam import left
from running import wait_for
from speedrun import registry, specs
from speedrun.adapters import sweep
from upstream_repo import Built, build

REPOSITORY = Path(__file__).resolve().parents[1]
# No test here asserts a time: an example that is slow on a busy machine is no failure.
settings.register_profile(
    "busy_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy_machine")


@pytest.fixture(scope="module", autouse=True)
def no_sandbox_is_left() -> Iterator[None]:
    """Hold every module to what the runner promises: none of its sandboxes outlives it."""
    yield
    assert wait_for(lambda: not left.contained(), limit_s=5.0), left.contained()


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A TMPDIR of the test's own; a short path, because sockets are made below it."""
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def nano_config() -> dict[str, object]:
    """The resolved configuration of the fixture sweep."""
    return sweep.load(REPOSITORY / "config", "nano", [])


@pytest.fixture(scope="session")
def nano_shards(tmp_path_factory: pytest.TempPathFactory, nano_config: dict[str, object]) -> Path:
    """The nano corpus, really read and tokenised: {corpus,shards}/nano under one folder."""
    from speedrun.stages import corpus, tokenize

    base = tmp_path_factory.mktemp("nano")
    corpus.build(specs.corpus(nano_config), base / "corpus" / "nano")
    documents = base / "corpus/nano/documents.jsonl"
    tokenize.build(documents, specs.tokenize(nano_config), base / "shards" / "nano")
    return base


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The repository as it is, for tests that change nothing in it."""
    return build(tmp_path_factory.mktemp("upstream"))


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model server's key, where its configuration says that it is."""
    monkeypatch.setenv(model_server.KEY_VARIABLE, model_server.KEY)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A model server that answers, on a port of its own."""
    with ModelServer() as started:
        yield started


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    """A stand-in for nvidia-smi, told by calling it what to list."""
    return stand_in(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def facts(repository: Path) -> registry.Registry:
    """The real registry of nanogpt."""
    return registry.load(repository / "tracks/nanogpt/registry.yaml")


@pytest.fixture(scope="module")
def paper19(repository: Path) -> dict[str, Any]:
    """The resolved configuration of the paper's 19 tasks."""
    return sweep.load(repository / "config", "paper19", [])
