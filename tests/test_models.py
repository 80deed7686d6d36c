"""models: the OpenAI SDK against a local server that speaks its interface."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from speedrun import files
from speedrun.adapters import models


class Endpoint(ThreadingHTTPServer):
    """A local stand-in: answers from ``plan`` (status, body), and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[tuple[int, dict[str, Any]]] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.stall = threading.Event()
        self.stall.set()


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.asked.append(json.loads(self.rfile.read(length)) | {"path": self.path})
        self.server.keys.append(self.headers["Authorization"])
        self.server.stall.wait(10)
        status, body = self.server.plan.pop(0)
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        with contextlib.suppress(BrokenPipeError):  # the client may have given up waiting
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keep the test output clean."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.stall.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEEDRUN_TEST_KEY", "k-123")


def completion(content: str | None = "hello", **changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": changes.pop("refusal", None)}
    choice = {"index": 0, "message": message, "finish_reason": changes.pop("finish", "stop")}
    usage = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
    base = {"id": "1", "object": "chat.completion", "created": 1, "model": "m-2026"}
    return base | {"choices": [choice], "usage": usage} | changes


def make(endpoint: Endpoint, **changes: Any) -> models.OpenAICompatible:
    url = f"http://127.0.0.1:{endpoint.server_address[1]}/v1"
    config = {"name": "m", "kind": "openai_compatible", "model": "m", "base_url": url}
    config |= {"api_key_env": "SPEEDRUN_TEST_KEY", "timeout_s": 5.0, "max_retries": 0}
    return models.make(config | changes)


def test_a_reply_with_its_tokens_and_cost(endpoint: Endpoint) -> None:
    endpoint.plan = [(200, completion())]
    ask = make(endpoint, temperature=0.5, usd_per_million_in=2.0, usd_per_million_out=10.0)
    reply = ask("hi")
    assert (reply.text, reply.refused, reply.model) == ("hello", False, "m-2026")
    assert (reply.tokens_in, reply.tokens_out) == (1000, 200)
    assert reply.cost_usd == pytest.approx(0.004)
    assert endpoint.asked[0]["messages"] == [{"role": "user", "content": "hi"}]
    assert endpoint.asked[0]["temperature"] == 0.5
    assert endpoint.asked[0]["path"] == "/v1/chat/completions"
    assert "max_tokens" not in endpoint.asked[0]
    assert endpoint.keys == ["Bearer k-123"]


def test_what_is_not_reported_stays_unknown(endpoint: Endpoint) -> None:
    endpoint.plan = [(200, completion(usage=None)), (200, completion())]
    reply = make(endpoint, usd_per_million_in=2.0, usd_per_million_out=2.0)("hi")
    assert (reply.tokens_in, reply.tokens_out, reply.cost_usd) == (None, None, None)
    assert make(endpoint)("hi").cost_usd is None
    assert "temperature" not in endpoint.asked[0]


@pytest.mark.parametrize("changes", [{"refusal": "I will not."}, {"finish": "content_filter"}])
def test_a_refusal_is_a_reply(endpoint: Endpoint, changes: dict[str, Any]) -> None:
    endpoint.plan = [(200, completion(None, **changes))]
    reply = make(endpoint)("hi")
    assert reply.refused
    assert reply.text == ""


def test_a_passing_failure_is_retried(endpoint: Endpoint) -> None:
    endpoint.plan = [(500, {"error": {"message": "busy"}}), (200, completion())]
    assert make(endpoint, max_retries=1)("hi").text == "hello"
    assert len(endpoint.asked) == 2


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_a_lasting_failure_is_ours_and_names_the_endpoint(endpoint: Endpoint, status: int) -> None:
    endpoint.plan = [(status, {"error": {"message": "no such thing"}})]
    with pytest.raises(files.SpeedrunError, match=r"model m at http.*no such thing.*run the same"):
        make(endpoint)("hi")


def test_a_hanging_endpoint_times_out(endpoint: Endpoint) -> None:
    endpoint.plan = [(200, completion())]
    endpoint.stall.clear()
    with pytest.raises(files.SpeedrunError, match="APITimeoutError"):
        make(endpoint, timeout_s=0.2)("hi")


def test_something_else_than_the_interface_is_named(endpoint: Endpoint) -> None:
    endpoint.plan = [(200, {"hello": "world"})]
    with pytest.raises(files.SpeedrunError, match="no choices"):
        make(endpoint)("hi")


def test_bad_configuration_fails_before_any_call(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(files.SpeedrunError, match="'none' cannot answer prompts"):
        models.make({"name": "none", "kind": "none"})
    with pytest.raises(files.SpeedrunError, match="colour"):
        make(endpoint, colour="red")
    monkeypatch.delenv("SPEEDRUN_TEST_KEY")
    with pytest.raises(files.SpeedrunError, match="SPEEDRUN_TEST_KEY is not set"):
        make(endpoint)
    assert endpoint.asked == []
