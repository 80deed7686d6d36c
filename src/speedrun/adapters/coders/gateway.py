"""The endpoint that a coding agent asks: the one thing that it reaches, and ours to count.

An OpenAI-compatible server in the harness's process, on a Unix socket that is bound into the
sandbox. Each question goes through ``Model.complete``, so that it is stored, counted and capped as
any other, under the settings of the arm's model; the endpoint's key stays on this side.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from speedrun.adapters.coders import streaming
from speedrun.adapters.coders.serving import CHAT, MODELS, Answer, Handler, Tcp, Unix, problem
from speedrun.files import SpeedrunError

if TYPE_CHECKING:
    from speedrun.adapters.models import CallKey, Completion, Reply

LOOPBACK, ENDED = ("127.0.0.1", 0), "this node has ended"
POLL_S = 0.02
TRANSCRIPT_BYTES = 64 * 2**20  # of the questions that are kept, in memory and then in a file
BAD_REQUEST = (400, 413, 422)
REFUSALS = 3  # requests beyond the limit before the agent is stopped: it may want to write first
Complete = Callable[[dict[str, Any], "CallKey", threading.Event], "Completion"]


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
        self.asked: list[str] = []  # by question, as JSON: what it added to the one before
        self.refused = 0  # questions beyond the limit
        self.unserved = 0  # requests for anything else
        self.failure: BaseException | None = None  # of the harness: the node stays unfinished
        self.turn = threading.Lock()  # held while a question is read: one fills our memory enough
        self.unheard: tuple[dict[str, Any], Answer] | None = None  # its asker had hung up
        self._messages: list[Any] = []
        self._room = TRANSCRIPT_BYTES
        self._asking, self._over = threading.Lock(), threading.Event()
        self._server: Unix | Tcp | None = None

    def __enter__(self) -> Self:
        """Nothing is open yet."""
        return self

    def listen(self, socket: Path | None) -> int:
        """Serve at a Unix socket, or at a port of the loopback, which is returned."""
        try:
            self._server = Unix(str(socket), Handler) if socket else Tcp(LOOPBACK, Handler)
        except OSError as error:
            raise SpeedrunError(
                f"no gateway at {socket or LOOPBACK[0]} ({error}): set TMPDIR to a short path"
            ) from error
        self._server.gateway = self
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True).start()
        return 0 if socket else int(self._server.socket.getsockname()[1])

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        """Serve nothing more; a reply that is on its way is waited for, since it is paid for.

        That takes the model's timeout_s at most; after an error of ours it is not waited for.
        """
        self._over.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        if kind is None:
            self._asking.acquire()
            self._asking.release()

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
        with self._asking:
            if self._over.is_set() or self.failure is not None:
                return problem(503, ENDED)
            if len(self.asked) >= self._limit:
                self.refused += 1
                return problem(403, f"the limit of {self._limit} requests is reached: finish now")
            try:
                return self._ask(body)
            except BaseException as error:  # also a fault of ours: not the agent's in any case
                self.failure = error
                return problem(503, "the model cannot be asked")

    def _ask(self, body: dict[str, Any]) -> Answer:
        from speedrun.adapters.models import (
            ContextTooLong,
            EndpointError,
            NotAsked,
            RequestError,
        )

        assert self._complete is not None
        turn = len(self.asked)
        self._note(body.get("messages"))
        try:
            completion = self._complete(body, self._key_of(turn), self._over)
        except NotAsked:
            return problem(503, ENDED)
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
        """Keep what a question adds to the one before: a transcript of linear, bounded length."""
        now = messages if isinstance(messages, list) else []
        pairs = zip(now, self._messages, strict=False)
        kept = next((n for n, (new, old) in enumerate(pairs) if new != old), None)
        kept = min(len(now), len(self._messages)) if kept is None else kept
        note = {"turn": len(self.asked), "kept": kept}
        line = json.dumps({**note, "messages": now[kept:]}, ensure_ascii=False)
        if len(line) > self._room:
            line = json.dumps({**note, "left_out_characters": len(line)})
        self._room -= len(line)
        self.asked.append(line)
        self._messages = now

    def not_served(self, what: str) -> Answer:
        """Count and answer a request for anything else."""
        self.unserved += 1
        return problem(404, f"{what} is not served: there are {MODELS} and {CHAT}")

    @property
    def serves(self) -> bool:
        """Whether there is a model to ask."""
        return self._complete is not None
