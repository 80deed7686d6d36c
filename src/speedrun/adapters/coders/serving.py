"""How the gateway is spoken to: an OpenAI-compatible HTTP server, and its errors."""

from __future__ import annotations

import hmac
import json
import select
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer, TCPServer, ThreadingMixIn, UnixStreamServer
from typing import TYPE_CHECKING, Any

from speedrun.adapters.coders import streaming

if TYPE_CHECKING:
    from speedrun.adapters.coders.gateway import Gateway

MODELS, CHAT = "/v1/models", "/v1/chat/completions"
BODY_BYTES = 16 * 2**20
DEPTH_MOST = 100  # of a body: all that writes and sends it goes down as deep as it is nested
CONNECTIONS = 32  # at one time: each takes a thread of ours, and memory for a body
READ_S = 60.0  # for a request to arrive, once its connection is open
BODY = f"the body must be a JSON object, nested at most {DEPTH_MOST} deep, with its Content-Length"
Answer = tuple[int, dict[str, Any]]  # HTTP status, JSON


def problem(status: int, message: str, code: str | None = None) -> Answer:
    """Return an error in the interface's form."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


class _Served(ThreadingMixIn, BaseServer):
    gateway: Gateway
    daemon_threads = True  # who holds a connection open, or does not read, holds up nobody
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._free = threading.BoundedSemaphore(CONNECTIONS)

    def verify_request(self, *_: object) -> bool:
        """Say whether there is room for one more connection; it is closed if there is none."""
        return self._free.acquire(blocking=False)

    def process_request_thread(self, *request: Any) -> None:
        """Serve one connection."""
        try:
            super().process_request_thread(*request)
        finally:
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """An agent that hangs up or is killed is no event of ours."""


class Unix(_Served, UnixStreamServer):
    """On a socket that is bound into the sandbox."""


class Tcp(_Served, TCPServer):
    """On a port of the loopback, for an agent without a sandbox."""


class Handler(BaseHTTPRequestHandler):
    """One connection, which brings one request."""

    timeout = READ_S
    server: Unix | Tcp

    def do_GET(self) -> None:
        """Serve the list of models, and nothing else."""
        gateway = self.server.gateway
        found = self._path() == MODELS and self._known()
        self._send(*(gateway.models() if found else gateway.not_served(f"GET {self._path()}")))

    def do_POST(self) -> None:
        """Serve chat completions, and nothing else."""
        gateway = self.server.gateway
        if self._path() != CHAT or not gateway.serves or not self._known():
            self._send(*gateway.not_served(f"POST {self._path()}"))
            return
        with gateway.turn:
            body = self._body()
            streams, options = body.pop("stream", False), body.pop("stream_options", None)
            status, answer = self._answer(body) if body else problem(400, BODY)
        if streams and status == 200:
            self._send_events(answer, _wants_usage(options))
        else:
            self._send(status, answer)

    def _answer(self, body: dict[str, Any]) -> Answer:
        """Ask for who still waits; what nobody heard answers the same question asked again.

        Clients ask once more when a reply takes them too long: that must not be paid for twice.
        """
        gateway = self.server.gateway
        if self._hung_up():
            return problem(499, "nobody waits for the reply")
        before = gateway.unheard
        answer = before[1] if before and before[0] == body else gateway.chat(body)
        gateway.unheard = (body, answer) if self._hung_up() else None
        return answer

    def _hung_up(self) -> bool:
        try:
            readable = select.select([self.connection], [], [], 0)[0]
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _known(self) -> bool:
        """Without a sandbox any program of the machine reaches the port: the key tells ours."""
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        wanted = f"Bearer {self.server.gateway.secret}".encode()
        return isinstance(self.server, Unix) or hmac.compare_digest(given, wanted)

    def _body(self) -> dict[str, Any]:
        """Return a question, {} for what is none."""
        try:
            size = int(self.headers.get("Content-Length", ""))
            if not 0 <= size <= BODY_BYTES:
                return {}
            body = json.loads(self.rfile.read(size))
            # Half a character cannot be sent on, nor infinity, by whatever name (1e999).
            json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) and not _nested(body, DEPTH_MOST) else {}

    def _send(self, status: int, answer: Mapping[str, Any]) -> None:
        self._send_bytes(status, "application/json", json.dumps(answer).encode())

    def _send_events(self, completion: dict[str, Any], wants_usage: bool) -> None:
        events = streaming.events(completion, wants_usage)
        self._send_bytes(200, "text/event-stream", "".join(events).encode())

    def _send_bytes(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal: what was asked is in the node's folder."""


def _wants_usage(options: Any) -> bool:
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _nested(value: Any, room: int) -> bool:
    """Whether a value is nested more than ``room`` deep."""
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list) or room < 0:
        return room < 0
    return any(_nested(one, room - 1) for one in inner)
