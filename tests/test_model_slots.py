"""models: the provider's limit of calls at a time, over threads, processes and kills."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from model_asking import ask, opened
from model_server import ModelServer
from speedrun.adapters.models import Model, slots

pytestmark = pytest.mark.usefixtures("key")


def _ask_node(model: Model, node: int) -> None:
    ask(model, node=node)


@pytest.mark.slow
def test_the_providers_limit_holds_over_processes(tmp_path: Path) -> None:
    with ModelServer(latency_s=0.05) as server:
        context = multiprocessing.get_context("fork")
        asking = [
            context.Process(
                target=_ask_node, args=(opened(server, tmp_path, concurrency=2), number)
            )
            for number in range(8)
        ]
        for process in asking:
            process.start()
        for process in asking:
            process.join()
        assert len(server.requests) == 8
        assert server.busiest == 2


def test_without_a_limit_calls_go_side_by_side(tmp_path: Path) -> None:
    together = threading.Barrier(4, timeout=20)

    def reply(body: dict[str, Any]) -> str:
        together.wait()
        return "all here"

    with ModelServer(reply) as server:
        model = opened(server, tmp_path)
        threads = [threading.Thread(target=_ask_node, args=(model, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.answered) == 4


def _hold(folder: Path, ready: Any) -> None:
    with slots.slot(folder, "p/q", 1):
        ready.set()
        time.sleep(600)


def test_a_killed_process_frees_its_slot(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(30)
    holder.kill()
    holder.join()
    with slots.slot(tmp_path, "p/q", 1):
        assert [path.name for path in (tmp_path / "p_q").iterdir()] == ["0.lock"]
