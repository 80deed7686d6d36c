"""models: killed at any moment, no stored reply is lost or paid twice, and nothing goes uncounted.

What is promised: a reply is safe from the moment it lies in the store, whole; its question is never
sent again. A question whose process died between sending and storing is sent again, and the first
attempt stays in the ledger at its worst case, as lost.
"""

from __future__ import annotations

import collections
import json
import multiprocessing
import os
import random
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import model_server as ms
from model_server import ModelServer, model_config
from speedrun.adapters import models
from speedrun.adapters.ledger import Ledger
from speedrun.adapters.models import CallKey, Model, spec

OWNER, QUESTIONS, KILLS = "micro/r01-r02/direct-12345678/s0", 250, 30
CONTEXT = multiprocessing.get_context("forkserver")  # a fork of this process would copy its threads
CONTEXT.set_forkserver_preload(["openai", "httpx2", "speedrun.adapters.models.endpoint"])


def opened(url: str, store: Path) -> Model:
    os.environ[ms.KEY_VARIABLE] = ms.KEY
    operation = {"sweep": "grid", "budget": {"trial": {"usd": 1000}}}
    return models.open_model(model_config(url), operation, OWNER, store)


def question(number: int) -> tuple[list[dict[str, str]], CallKey]:
    return [{"role": "user", "content": f"question {number}"}], CallKey(0, number, 0)


def key_of(model: Model, number: int) -> str:
    messages, key = question(number)
    return model.reply_key(spec.request_body(model.spec, {"messages": messages}), key)


def ask_all(url: str, store: Path, notes: Path, ready: Any) -> None:
    """Ask every question in turn, noting each reply as a caller of the model sees it."""
    model = opened(url, store)
    model._opened()  # the SDK takes longer to start than many calls: kills are to hit the calls
    ready.set()
    for number in range(QUESTIONS):
        reply = model.ask(*question(number))
        with notes.open("a") as file:
            file.write(json.dumps([number, reply.text, reply.call.stored]) + "\n")


def stored(store: Path) -> dict[str, str]:
    """Return reply by key; every file must be whole."""
    records = {path.stem: json.loads(path.read_text()) for path in store.rglob("replies/*/*.json")}
    return {
        key: record["raw"]["choices"][0]["message"]["content"] for key, record in records.items()
    }


def entries(store: Path) -> list[tuple[str, str, float]]:
    with sqlite3.connect(store / "ledger.db") as database:
        rows = database.execute("select entry, state, usd from entries").fetchall()
    database.close()
    return [(str(entry), str(state), float(usd)) for entry, state, usd in rows]


@pytest.mark.slow
def test_killed_at_thirty_random_moments(tmp_path: Path) -> None:
    store, notes, dice = tmp_path / "store", tmp_path / "notes.jsonl", random.Random()
    answers = iter(range(10**6))
    kills = 0
    with ModelServer(
        lambda body: f"{body['messages'][0]['content']}: answer {next(answers)}", latency_s=0.01
    ) as server:

        def start() -> Any:
            ready = CONTEXT.Event()
            child = CONTEXT.Process(target=ask_all, args=(server.url, store, notes, ready))
            child.start()
            assert ready.wait(60)
            return child

        model = opened(server.url, store)
        keys = {key_of(model, number): f"question {number}" for number in range(QUESTIONS)}
        before: dict[str, str] = {}
        while kills < KILLS:
            child = start()
            child.join(dice.uniform(0.0, 0.2))
            killed = child.is_alive()
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            assert killed, "too few questions: the child was done before it was killed"
            kills += 1
            now = stored(store)
            assert now.items() >= before.items()  # nothing lost, nothing replaced
            before = now
        last = start()
        last.join(120)
        assert last.exitcode == 0

    replies = stored(store)
    asked = collections.Counter(server.prompts)
    lost = collections.Counter(
        keys[entry.partition("#")[0]] for entry, state, _ in entries(store) if state == "lost"
    )
    assert set(replies) == set(keys)
    assert sum(lost.values()) > 0, "no kill hit a call in flight"
    for key, prompt in keys.items():
        # Sent once, and once more for each attempt that is counted as lost (which may have been
        # killed before it was sent).
        assert 1 <= asked[prompt] <= 1 + lost[prompt]
        # The stored reply is the last that was sent: a stored one never led to another question.
        assert replies[key].startswith(f"{prompt}: answer ")
    noted = [json.loads(line) for line in notes.read_text().splitlines()]
    for number, text, _ in noted:  # every caller, in every life, saw the one reply
        assert text in replies.values() and text.startswith(f"question {number}: ")
    assert not [entry for entry, state, _ in entries(store) if state == "open"]
    worst = [usd for _, state, usd in entries(store) if state == "lost"]
    assert Ledger(store / "ledger.db").spent().lost_calls == len(worst)
    assert min(worst) >= 100 * 10 / 1e6  # max_tokens at the output's price


def ask_and_die(url: str, store: Path, moment: str) -> None:
    """Ask one question and be killed exactly before ``moment``."""
    from speedrun.adapters.models.endpoint import Endpoint
    from speedrun.adapters.models.replies import ReplyStore

    place: dict[str, Any] = {"attempt": Endpoint, "put": ReplyStore, "settle": Ledger}
    setattr(place[moment], moment, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    opened(url, store).ask(*question(0))


@pytest.mark.parametrize(
    ("moment", "requests", "lost"),
    [("attempt", 1, 1), ("put", 2, 1), ("settle", 1, 0)],
)
def test_killed_before_sending_before_storing_and_before_settling(
    tmp_path: Path, moment: str, requests: int, lost: int
) -> None:
    with ModelServer() as server:
        child = CONTEXT.Process(target=ask_and_die, args=(server.url, tmp_path, moment))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        assert [state for _, state, _ in entries(tmp_path)] == ["open"]
        model = opened(server.url, tmp_path)
        assert model.ledger.spent().reserved_usd > 0
        reply = model.ask(*question(0))
        assert reply.text == "hello"
        assert reply.call.stored == (moment == "settle")
        assert len(server.requests) == requests
    spent = model.ledger.spent(owner=OWNER)
    assert (spent.lost_calls, spent.reserved_usd) == (lost, 0)
    assert sorted(state for _, state, _ in entries(tmp_path)) == ["lost"] * lost + ["settled"]


def test_a_lost_attempt_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ModelServer() as server:
        child = CONTEXT.Process(target=ask_and_die, args=(server.url, tmp_path, "put"))
        child.start()
        child.join(60)
        opened(server.url, tmp_path).ask(*question(0))
    (line,) = [record.getMessage() for record in caplog.records if "killed" in record.getMessage()]
    assert "an earlier call of micro/r01-r02/direct-12345678/s0 was killed in flight" in line
    assert "USD) and asked again" in line
