"""models: the store of replies, in which each question of each trial is paid for once."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

import model_server as ms
from model_asking import OWNER, ask, opened
from model_server import ModelServer, model_config
from speedrun import files
from speedrun.adapters import models

pytestmark = pytest.mark.usefixtures("key")


def test_nothing_is_sent_where_no_reply_would_find_room(
    tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speedrun.adapters.models.model.ROOM_BYTES", 2**60)
    with pytest.raises(files.SpeedrunError, match=r"the reply store: .* free some space"):
        ask(opened(server, tmp_path))
    assert server.requests == []
    assert opened(server, tmp_path).ledger.spent().usd == 0


def test_a_reply_is_paid_once(tmp_path: Path, server: ModelServer) -> None:
    first = ask(opened(server, tmp_path))
    again = ask(opened(server, tmp_path))
    assert (again.text, again.finish_reason) == (first.text, first.finish_reason)
    assert (first.call.stored, again.call.stored) == (False, True)
    assert again.call.cost_usd == first.call.cost_usd
    assert again.call.seconds == first.call.seconds
    assert len(server.requests) == 1
    spent = opened(server, tmp_path).ledger.spent(sweep="grid", owner=OWNER)
    assert spent.usd == pytest.approx(first.call.cost_usd)
    assert (spent.reserved_usd, spent.lost_calls) == (0, 0)


def test_a_stored_reply_needs_neither_server_nor_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ModelServer() as server:
        ask(opened(server, tmp_path))
    monkeypatch.delenv(ms.KEY_VARIABLE)
    assert ask(opened(server, tmp_path, base_url="http://127.0.0.1:9/v1")).call.stored


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"node": 2},
        {"turn": 1},
        {"purpose": "preflight"},
        {"vote": 1},
        {"prompt": "hi!"},
        {"temperature": 0.5},
        {"model": "m2"},
        {"extra_body": {"x": 1}},
    ],
)
def test_another_sample_is_asked_for_anew(
    tmp_path: Path, server: ModelServer, other: dict[str, Any]
) -> None:
    ask(opened(server, tmp_path))
    model = {key: other[key] for key in ("temperature", "model", "extra_body") if key in other}
    question = {key: other[key] for key in other if key not in model}
    assert not ask(opened(server, tmp_path, **model), **question).call.stored
    assert len(server.requests) == 2


def test_another_trial_is_an_independent_sample(tmp_path: Path, server: ModelServer) -> None:
    ask(opened(server, tmp_path))
    other = models.open_model(model_config(server.url), {}, "another trial", tmp_path)
    assert not ask(other).call.stored


def test_how_the_model_is_reached_asks_nothing_again(tmp_path: Path, server: ModelServer) -> None:
    ask(opened(server, tmp_path))
    changed = {"timeout_s": 9.0, "max_retries": 1, "provider": "else", "note": "x"}
    changed |= {"prices": None, "release_date": "2025-01-01", "concurrency": 2}
    changed |= {"max_tokens_field": "max_completion_tokens"}
    assert ask(opened(server, tmp_path, **changed)).call.stored


def test_operational_keys_come_from_the_sweep(tmp_path: Path, server: ModelServer) -> None:
    config = model_config(server.url)
    arm = {key: config[key] for key in ("name", "kind", "model", "max_tokens")}
    rest = {key: value for key, value in config.items() if key not in arm}
    operation = {"sweep": "grid", "budget": {}, "models": {"m": rest}}
    reply = ask(models.open_model(arm, operation, OWNER, tmp_path))
    assert reply.call.cost_usd is not None
    assert ask(models.open_model(config, {}, OWNER, tmp_path)).call.stored


def test_four_processes_that_ask_the_same_pay_once(tmp_path: Path) -> None:
    with ModelServer(latency_s=0.3) as server:
        context = multiprocessing.get_context("fork")
        asking = [context.Process(target=ask, args=(opened(server, tmp_path),)) for _ in range(4)]
        for process in asking:
            process.start()
        for process in asking:
            process.join()
        assert [process.exitcode for process in asking] == [0] * 4
        assert len(server.requests) == 1
    assert list(tmp_path.rglob("*.lock")) == []


def test_a_reply_that_was_stored_but_not_settled_is_settled(
    tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(server, tmp_path)
    monkeypatch.setattr(model, "_settle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ask(model)
    assert model.ledger.spent().reserved_usd > 0
    reply = ask(opened(server, tmp_path))
    assert reply.call.stored
    spent = model.ledger.spent()
    assert (spent.reserved_usd, spent.lost_calls) == (0, 0)
    assert spent.usd == pytest.approx(reply.call.cost_usd)


def test_store_records_are_plain_json(tmp_path: Path, server: ModelServer) -> None:
    ask(opened(server, tmp_path), seed=3, node=4)
    (path,) = (tmp_path / "replies").rglob("*.json")
    record = json.loads(path.read_text())
    assert path.parent.name == path.stem[:2]
    assert record["key"] == {"seed": 3, "node": 4, "turn": 0, "purpose": "node", "vote": 0}
    assert record["raw"]["choices"][0]["message"]["content"] == "hello"
    assert (record["owner"], record["sweep"]) == (OWNER, "grid")
