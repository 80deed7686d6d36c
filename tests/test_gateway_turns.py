"""The gateway's turns: questions at once, clients that give up, and the end of a node."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from agent_coders import model_at
from gateway_served import ASKED, CALL, Served, ask, key_of
from model_server import ModelServer, status
from speedrun.adapters.coders.gateway import Gateway
from speedrun.adapters.coders.serving import CONNECTIONS
from speedrun.adapters.models import CallKey, EndpointError, RequestError
from speedrun.adapters.models.slots import slot


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path, CALL)
    yield made
    made.close()


def test_more_connections_than_the_harness_bears_are_closed(served: Served) -> None:
    waiting = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(CONNECTIONS)]
    try:
        with socket.create_connection(("127.0.0.1", served.port)) as more:
            assert more.recv(1) == b""
    finally:
        for one in waiting:
            one.close()
    while True:  # the first of them have been let go of by now, or will be
        try:
            assert _status(served) == 200
            break
        except OSError:
            time.sleep(0.01)


def test_questions_at_once_get_numbers_of_their_own(tmp_path: Path) -> None:
    served = Served(tmp_path, "hello", limit=6)
    try:
        with ThreadPoolExecutor(9) as pool:
            answers = list(pool.map(lambda _: _status(served), range(9)))
    finally:
        served.close()
    assert sorted(answers) == [200] * 6 + [403] * 3
    assert [reply.call.turn for reply in served.gateway.replies] == list(range(6))
    assert served.server.busiest == 1 and served.gateway.halted() == "requests"


def _status(served: Served) -> int:
    body = json.dumps({"messages": ASKED}).encode()
    return served.send("POST", "/v1/chat/completions", body)[0]


def test_a_fault_of_the_harness_halts_the_agent() -> None:
    def broken(body: Any, key: CallKey, over: threading.Event) -> Any:
        raise ZeroDivisionError

    with Gateway(broken, key_of, "m", 9, "made-up") as gateway:
        status, answer = gateway.chat({"messages": ASKED})
    assert (status, gateway.halted()) == (503, "model")
    assert isinstance(gateway.failure, ZeroDivisionError) and "Zero" not in str(answer)


def test_a_reply_on_its_way_is_waited_for(tmp_path: Path) -> None:
    served = Served(tmp_path, "hello")
    served.server.latency_s = 0.3
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(_status, served)
        while not served.server.requests:
            time.sleep(0.01)
        served.gateway.__exit__()
        assert len(served.gateway.replies) == 1
        assert asking.result() == 200
    served.close()


def test_what_was_not_sent_when_the_node_ended_is_not_sent(tmp_path: Path) -> None:
    """Neither a question that waits for its turn at the provider nor another attempt."""
    server = ModelServer(faults=[status(500, retry_after="500")])
    with server, ThreadPoolExecutor(1) as pool:
        model = model_at(server.url, tmp_path, max_retries=3, provider="p", concurrency=1)
        with Gateway(model.complete, key_of, "m", 9, "made-up") as gateway:
            asking = pool.submit(gateway.chat, {"messages": ASKED})
            while not server.requests:
                time.sleep(0.01)
        assert asking.result()[0] == 503
        assert len(server.requests) == 1 and isinstance(gateway.failure, EndpointError)
        second = Gateway(model.complete, key_of, "m", 9, "made-up")
        with slot(tmp_path / "store" / "slots", "p", 1):
            waiting = pool.submit(second.chat, {"messages": ASKED})
            while not second.asked:
                time.sleep(0.01)
            second.__exit__()
        assert waiting.result()[0] == 503
        assert len(server.requests) == 1 and second.failure is None


def test_a_client_that_gave_up_and_asks_again_is_not_paid_for_twice(tmp_path: Path) -> None:
    go_on = threading.Event()

    def reply(body: Any) -> str:
        go_on.wait(20)
        return f"reply {len(served.server.requests)}"

    served = Served(tmp_path, reply)
    impatient = served.client.with_options(timeout=0.2)
    for _ in range(3):  # the second and third wait for their turn, and are not waited for either
        with pytest.raises(openai.APITimeoutError):
            impatient.chat.completions.create(model="any", messages=ASKED)  # type: ignore[arg-type]
    go_on.set()
    said = [ask(served).choices[0].message.content for _ in range(2)]
    assert said == ["reply 1", "reply 2"]  # one that was heard is a new sample when asked again
    assert (len(served.server.requests), len(served.gateway.replies)) == (2, 2)
    served.close()


def test_who_holds_a_connection_open_holds_up_nobody(served: Served) -> None:
    head = "POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer made-up\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as raw:
        raw.sendall(f"{head}Content-Length: 9\r\n\r\n[".encode())
        while not served.gateway.turn.locked():
            time.sleep(0.01)
        served.gateway.__exit__()  # the test's own limit ends it if this waits


def test_nothing_is_asked_once_the_node_has_ended() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(body: Any, key: CallKey, over: threading.Event) -> Any:
        asked.set()
        go_on.wait()
        raise RequestError("asked")

    with ThreadPoolExecutor(2) as pool, Gateway(slow, key_of, "m", 9, "made-up") as gateway:
        first = pool.submit(gateway.chat, {})
        asked.wait()
        waiting = pool.submit(gateway.chat, {})
        gateway.__exit__(KeyboardInterrupt)  # that waits for nobody
        go_on.set()
        assert (first.result()[0], waiting.result()[0]) == (400, 503)
    assert len(gateway.asked) == 1
