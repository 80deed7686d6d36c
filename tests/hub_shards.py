"""Shards on the stand-in hub, and what corpus is told to download from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub_server
from speedrun.stages.tokenize.shards import header

TRAIN, VAL, HOLDOUT = (f"fineweb_{split}.bin" for split in ("train_000001", "val_000000", "last"))
SHARDS = {
    "fineweb_train_000001.bin": TRAIN,
    "fineweb_val_000000.bin": VAL,
    "fineweb_holdout_000000.bin": HOLDOUT,
}


def shard(seed: int, count: int = 60_000) -> bytes:
    """Return a shard of tokens drawn with ``seed``."""
    tokens = np.random.default_rng(seed).integers(0, 50257, count, dtype=np.uint16)
    return header(count) + tokens.tobytes()


@contextmanager
def serve() -> Iterator[hub_server.Hub]:
    """Serve the three files of SHARDS."""
    files = {name: shard(seed) for seed, name in enumerate((TRAIN, VAL, HOLDOUT))}
    with hub_server.serve(hub_server.Hub(files)) as served:
        yield served


def be_patient(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The library waits between its tries; the tests need not. No test sees the user's settings."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.chdir(folder)


def spec_of(endpoint: str, **changes: Any) -> dict[str, Any]:
    """Return what corpus is told of the stand-in at ``endpoint``."""
    values = {
        "kind": "hub",
        "name": "shards",
        "repository": "someone/shards",
        "revision": hub_server.COMMIT,
        "endpoint": endpoint,
        "store": "store/hub",
        "offline": False,
        "shards": SHARDS,
        "sha256": {},
    }
    return {**values, **changes}


def gets(hub: hub_server.Hub, name: str) -> list[str]:
    """The ranges of the downloads of a file's bytes."""
    return [asked for method, file, asked in hub.asked if (method, file) == ("GET", name)]


def stored(folder: Path = Path("store/hub/someone--shards")) -> set[str]:
    """Return the names of the finished shards."""
    return {path.name for path in folder.glob("*") if path.name.endswith(".bin")}
