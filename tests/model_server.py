"""A loopback OpenAI-compatible endpoint for tests: scripted replies, scripted faults, all kept.

with ModelServer(lambda body: "hello", faults=[status(429, retry_after="1")]) as server:
    ...  # server.url is a base_url; server.requests is what was asked

python tests/model_server.py --reply TEXT   # one by hand, on port 8000, until it is stopped
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY_VARIABLE, KEY = "SPEEDRUN_TEST_KEY", "sk-test-Zk3yThatMustNotLeak"
Content = str | dict[str, Any]  # the text, a message ({"tool_calls": ...}) or a whole completion
MEGABYTE = 2**20


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of, or around, its honest answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None  # sent as it is; None for the honest completion
    sent_share: float = 1.0  # below 1 the connection is reset after that share of the body
    wait_s: float = 0.0  # before anything is sent; the server's end interrupts it
    drip_s: float = 0.0  # between any two bytes
    echo_key: bool = False  # put the Authorization header into the error's message
    content: Content | None = None  # an honest completion of this instead of the reply's
    finish_reason: str = "stop"


def status(code: int, retry_after: str | None = None, echo_key: bool = False) -> Fault:
    """Return an error of the interface's form."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    body = json.dumps({"error": {"message": f"scripted {code}", "type": "scripted"}})
    return Fault(code, headers, body, echo_key=echo_key)


def too_long() -> Fault:
    """Return the error of a prompt that is longer than the model's context."""
    error = {"message": "maximum context length is 8 tokens", "code": "context_length_exceeded"}
    return Fault(400, {}, json.dumps({"error": error}))


def hang(seconds: float = 30.0) -> Fault:
    """Return a server that says nothing for so long, so that the client times out."""
    return Fault(wait_s=seconds)


RESET = Fault(sent_share=0.5)  # mid-reply
TRICKLE = Fault(drip_s=0.05)  # alive at any moment, and never done
MALFORMED = Fault(body='{"choices": [{"message": {"content": "half')
NOT_THE_INTERFACE = Fault(body='{"hello": "world"}')
HTML = Fault(headers={"Content-Type": "text/html"}, body="<html>gateway</html>")
EMPTY_BODY = Fault(body="")
EMPTY_TEXT = Fault(content="")
TRUNCATED = Fault(content="### FILE: train.py\n```\nprint(", finish_reason="length")
REFUSAL = Fault(content={"content": None, "refusal": "I will not."})
FILTERED = Fault(content="", finish_reason="content_filter")
HUGE = Fault(content="x" * MEGABYTE)


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The last message's text."""
        return str(self.body["messages"][-1]["content"])


class ModelServer:
    """Answers every request by ``reply``: a function of the body, one text, or texts in turn.

    ``faults`` are used up one a request; None in it is an honest answer. ``fault_of`` decides by
    request number (from 0) and body instead. ``answered`` holds the prompts of the replies that
    were sent in full. Requests are served side by side; ``busiest`` is the most at one time.
    """

    def __init__(
        self,
        reply: Callable[[dict[str, Any]], Content] | Content | Iterable[Content] = "hello",
        faults: Iterable[Fault | None] = (),
        fault_of: Callable[[int, dict[str, Any]], Fault | None] | None = None,
        latency_s: float = 0.0,
        usage: dict[str, Any] | None = None,
        port: int = 0,
    ) -> None:
        self._reply = _as_function(reply)
        self._faults = iter(faults)
        self._fault_of = fault_of or (lambda number, body: next(self._faults, None))
        self.latency_s, self._usage, self._port = latency_s, usage, port
        self.requests: list[Request] = []
        self.answered: list[str] = []
        self.busy = self.busiest = 0
        self.lock, self.ended = threading.Lock(), threading.Event()

    def __enter__(self) -> ModelServer:
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The base_url."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        """The last message's text of each request, in order of arrival."""
        return [request.prompt for request in self.requests]

    def receive(self, request: Request) -> Fault:
        """Keep a request and return how it is to be answered."""
        with self.lock:
            self.requests.append(request)
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            return self._fault_of(len(self.requests) - 1, request.body) or Fault()

    def done(self, request: Request, whole: bool) -> None:
        """Note the end of a request."""
        with self.lock:
            self.busy -= 1
            if whole:
                self.answered.append(request.prompt)

    def completion(self, fault: Fault, body: dict[str, Any]) -> dict[str, Any]:
        """Return the completion that answers a body."""
        content = self._reply(body) if fault.content is None else fault.content
        return completion(content, fault.finish_reason, body, self._usage)


def completion(
    content: Content,
    finish_reason: str = "stop",
    body: dict[str, Any] | None = None,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a chat completion; without ``usage`` a token is four characters."""
    if isinstance(content, dict) and "choices" in content:
        return content
    message = {"role": "assistant", "content": content} if isinstance(content, str) else content
    message = {"role": "assistant", "content": None, "refusal": None} | message
    asked, said = len(json.dumps((body or {}).get("messages", []))) // 4, len(str(content)) // 4
    counted = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": f"{(body or {}).get('model', 'm')}-2026",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": counted if usage is None else usage,
    }


def model_config(url: str, **changes: Any) -> dict[str, Any]:
    """Return a config/model file for a server: quick to retry, priced, its key in KEY_VARIABLE."""
    config: dict[str, Any] = {"name": "m", "kind": "openai_compatible", "model": "m"}
    config |= {"base_url": url, "api_key_env": KEY_VARIABLE, "provider": "test", "max_tokens": 100}
    config |= {"timeout_s": 5.0, "max_retries": 3, "backoff_s": 0.001}
    config["prices"] = {"usd_per_million_in": 2.0, "usd_per_million_out": 10.0}
    return config | changes


def _as_function(
    reply: Callable[[dict[str, Any]], Content] | Content | Iterable[Content],
) -> Callable[[dict[str, Any]], Content]:
    if callable(reply):
        return reply
    if isinstance(reply, str | dict):
        return lambda body: reply
    texts = iter(reply)
    return lambda body: next(texts)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    owner: ModelServer

    def handle_error(self, *_: object) -> None:
        """A client that was killed or gave up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        owner = self.server.owner
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path, headers, json.loads(raw))
        fault, whole = owner.receive(request), False
        try:
            owner.ended.wait(owner.latency_s + fault.wait_s)
            with contextlib.suppress(OSError):
                whole = self._answer(fault, request)
        finally:
            owner.done(request, whole)

    def _answer(self, fault: Fault, request: Request) -> bool:
        """Send the answer; True when it is an honest completion that was sent in full."""
        text = fault.body
        if text is None:
            text = json.dumps(self.server.owner.completion(fault, request.body))
        if fault.echo_key:
            said = f"scripted {fault.status} for {self.headers['Authorization']}"
            text = json.dumps({"error": {"message": said}})
        content = text.encode()
        self.send_response(fault.status)
        for name, value in ({"Content-Type": "application/json"} | fault.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self._write(content[: int(len(content) * fault.sent_share)], fault.drip_s)
        if fault.sent_share < 1:
            self._reset()
        return fault.body is None and fault.status == 200 and fault.sent_share == 1

    def _write(self, content: bytes, drip_s: float) -> None:
        size = 1 if drip_s else max(1, len(content))
        for begin in range(0, len(content), size):
            self.wfile.write(content[begin : begin + size])
            self.wfile.flush()
            if drip_s:
                self.server.owner.ended.wait(drip_s)

    def _reset(self) -> None:
        """Close with a reset (linger 0), as a dying proxy does, after what was sent has arrived."""
        time.sleep(0.02)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Keep the test output clean."""


def _by_hand() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for a model: the same reply always.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--reply", default="hello")
    given = parser.parse_args()
    with (
        ModelServer(given.reply, port=given.port) as server,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print(f"a stand-in model answers at {server.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    _by_hand()
