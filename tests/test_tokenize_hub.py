"""tokenize of kind hub: downloaded shards are linked and checked, the hold-out is private."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub_server
from hub_shards import HOLDOUT, TRAIN, be_patient, serve, shard, spec_of
from speedrun.files import SpeedrunError, digest_file, read_json
from speedrun.stages import corpus, tokenize


@pytest.fixture()
def hub() -> Iterator[hub_server.Hub]:
    with serve() as served:
        yield served


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    be_patient(monkeypatch, tmp_path)


def shown(hub: hub_server.Hub, out: Path = Path("shards")) -> Path:
    corpus.build(spec_of(hub.endpoint), Path("out"))
    spec = {"kind": "hub", "train_shards": 1, "seed": 1}
    probes = {"probe_sets": 2, "probe_contexts": 64, "probe_length": 8}
    tokenize.build(Path("out/manifest.json"), {**spec, **probes}, out)
    return out


def test_shards_are_linked_not_copied_and_the_holdout_is_private(hub: hub_server.Hub) -> None:
    out = shown(hub)
    assert {path.name for path in (out / "public").iterdir()} == {
        "fineweb_train_000001.bin",
        "fineweb_val_000000.bin",
    }
    holdout = out / "private/fineweb_holdout_000000.bin"
    assert holdout.samefile(Path("store/hub/someone--shards") / HOLDOUT)
    meta = read_json(out / "meta.json")
    assert (meta["vocab_size"], meta["end_of_text"], meta["train_tokens"]) == (50257, 50256, 60_000)
    assert meta["sha256"]["fineweb_holdout_000000.bin"] == digest_file(holdout)
    assert np.load(out / "private/probes/set_01/targets.npy").shape == (64,)


def test_fewer_shards_than_before_leave_no_link(hub: hub_server.Hub) -> None:
    out = shown(hub)
    (out / "public/fineweb_train_000002.bin").write_bytes(shard(1))
    shown(hub)
    assert len(list((out / "public").iterdir())) == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-2], "is truncated"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "is damaged"),
        (lambda content: b"\0" * 8 + content[8:], "wrong magic"),
    ],
)
def test_a_shard_that_was_damaged_in_the_store_is_named(
    hub: hub_server.Hub, damage: Any, message: str
) -> None:
    out = shown(hub)
    path = Path("store/hub/someone--shards") / TRAIN
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(damage(content))
    with pytest.raises(SpeedrunError, match=message) as caught:
        tokenize.build(
            Path("out/manifest.json"),
            {"kind": "hub", "train_shards": 1, "seed": 1}
            | {"probe_sets": 0, "probe_contexts": 0, "probe_length": 0},
            out,
        )
    assert TRAIN in str(caught.value)
