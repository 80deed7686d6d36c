"""The endpoint that a coding agent asks: the one thing that it reaches, and ours to count.

An OpenAI-compatible server in the harness's process, on a Unix socket that is bound into the
sandbox. Each question goes through ``Model.complete``, so that it is stored, counted and capped as
any other, under the settings of the arm's model; the endpoint's key stays on this side.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer, TCPServer, ThreadingMixIn, UnixStreamServer
from typing import TYPE_CHECKING, Any, Self

from speedrun.adapters.coders import streaming
from speedrun.files import SpeedrunError

if TYPE_CHECKING:
    from speedrun.adapters.models import CallKey, Completion, Reply

MODELS, CHAT = "/v1/models", "/v1/chat/completions"
BODY_BYTES = 16 * 2**20
CONNECTIONS = 32  # at one time: each takes a thread of ours, and memory for a body
READ_S = 60.0  # for a request to arrive, once its connection is open
POLL_S = 0.02
BAD_REQUEST = (400, 413, 422)
REFUSALS = 3  # requests beyond the limit before the agent is stopped: it may want to write first
Complete = Callable[[dict[str, Any], "CallKey"], "Completion"]
Answer = tuple[int, dict[str, Any]]  # HTTP status, JSON


class Gateway:
    """One node's endpoint, open from ``listen`` to the end of the ``with`` block.

    ``complete`` is None for an agent without a model: then nothing is served. ``key_of`` gives
    the key of the n-th question, from 0. Questions are asked one at a time, so that their numbers
    are the same each time a deterministic agent runs.
    """

    def __init__(
        self,
        complete: Complete | None,
        key_of: Callable[[int], CallKey],
        model: str,
        max_requests: int,
        secret: str,
    ) -> None:
        """``secret`` is the only key that is let in: a made-up one, good for this node alone."""
        self._complete, self._key_of, self._limit = complete, key_of, max_requests
        self.model, self.secret = model, secret
        self.replies: list[Reply] = []
        self.said: list[str] = []  # by reply: its text and the tools that it calls
        self.asked: list[dict[str, Any]] = []  # by question: what it added to the one before
        self.refused = 0  # questions beyond the limit
        self.unserved = 0  # requests for anything else
        self.failure: BaseException | None = None  # of the harness: the node stays unfinished
        self._messages: list[Any] = []
        self._lock, self._closed = threading.Lock(), False
        self._server: _Unix | _Tcp | None = None

    def __enter__(self) -> Self:
        """Nothing is open yet."""
        return self

    def listen(self, socket: Path | None) -> int:
        """Serve at a Unix socket, or at a port of the loopback, which is returned."""
        try:
            self._server = _Unix(str(socket), _Handler) if socket else _Tcp(LOOPBACK, _Handler)
        except OSError as error:
            raise SpeedrunError(
                f"no gateway at {socket or LOOPBACK[0]} ({error}): set TMPDIR to a short path"
            ) from error
        self._server.gateway = self
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True).start()
        return 0 if socket else int(self._server.socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        """Serve nothing more; a reply that is on its way is waited for, since it is paid for."""
        self._closed = True
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def halted(self) -> str:
        """Return why the agent is to be stopped, "" if it is not."""
        if self.failure is not None:
            return "model"
        return "requests" if self.refused >= REFUSALS else ""

    def models(self) -> Answer:
        """Return the list of the one model."""
        found = [{"id": self.model, "object": "model", "created": 0, "owned_by": "speedrun"}]
        return 200, {"object": "list", "data": found if self._complete else []}

    def chat(self, body: dict[str, Any]) -> Answer:
        """Answer one question, in turn."""
        with self._lock:
            if self._closed or self.failure is not None:
                return problem(503, "this node has ended")
            if len(self.asked) >= self._limit:
                self.refused += 1
                return problem(403, f"the limit of {self._limit} requests is reached: finish now")
            try:
                return self._ask(body)
            except BaseException as error:  # also a fault of ours: not the agent's in any case
                self.failure = error
                return problem(503, "the model cannot be asked")

    def _ask(self, body: dict[str, Any]) -> Answer:
        from speedrun.adapters.models import ContextTooLong, EndpointError, RequestError

        assert self._complete is not None
        turn = len(self.asked)
        self._note(body.get("messages"))
        try:
            completion = self._complete(body, self._key_of(turn))
        except RequestError as error:
            return problem(400, str(error))
        except ContextTooLong:
            return problem(400, "maximum context length exceeded", "context_length_exceeded")
        except EndpointError as error:
            # Before any reply it is the harness that asks wrongly; then it is the question.
            if error.status not in BAD_REQUEST or not self.replies:
                raise
            return problem(400, error.detail)
        self.replies.append(completion.reply)
        self.said.append(streaming.readable(completion.raw))
        return 200, completion.raw

    def _note(self, messages: Any) -> None:
        """Keep what a question adds to the one before: a transcript of linear length."""
        now = messages if isinstance(messages, list) else []
        pairs = zip(now, self._messages, strict=False)
        kept = next((n for n, (new, old) in enumerate(pairs) if new != old), None)
        kept = min(len(now), len(self._messages)) if kept is None else kept
        self.asked.append({"turn": len(self.asked), "kept": kept, "messages": now[kept:]})
        self._messages = now

    def not_served(self, what: str) -> Answer:
        """Count and answer a request for anything else."""
        self.unserved += 1
        return problem(404, f"{what} is not served: there are {MODELS} and {CHAT}")

    @property
    def serves(self) -> bool:
        """Whether there is a model to ask."""
        return self._complete is not None


def problem(status: int, message: str, code: str | None = None) -> Answer:
    """Return an error in the interface's form."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


LOOPBACK = ("127.0.0.1", 0)


class _Served(ThreadingMixIn, BaseServer):
    gateway: Gateway
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


class _Unix(_Served, UnixStreamServer):
    pass


class _Tcp(_Served, TCPServer):
    pass


class _Handler(BaseHTTPRequestHandler):
    timeout = READ_S
    server: _Unix | _Tcp

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
        body = self._body()
        if not isinstance(body, dict):
            self._send(*problem(400, "the body must be a JSON object with its Content-Length"))
            return
        streams = bool(body.pop("stream", False))
        wants_usage = _wants_usage(body.pop("stream_options", None))
        status, answer = gateway.chat(body)
        if streams and status == 200:
            self._send_events(answer, wants_usage)
        else:
            self._send(status, answer)

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _known(self) -> bool:
        """Without a sandbox any program of the machine reaches the port: the key tells ours."""
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        wanted = f"Bearer {self.server.gateway.secret}".encode()
        return isinstance(self.server, _Unix) or hmac.compare_digest(given, wanted)

    def _body(self) -> Any:
        try:
            size = int(self.headers.get("Content-Length", ""))
            if not 0 <= size <= BODY_BYTES:
                return None
            body = json.loads(self.rfile.read(size), parse_constant=_refused)
            json.dumps(body, ensure_ascii=False).encode()  # half a character cannot be sent on
        except (ValueError, RecursionError):
            return None
        return body

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


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _wants_usage(options: Any) -> bool:
    return isinstance(options, dict) and bool(options.get("include_usage"))
