"""A model as its callers see it: a question and its key in, a reply out, paid for once.

What happens to a question, in order: its key is locked; a stored reply is returned at once; a slot
of the provider is taken; the most it can cost is reserved in the ledger, which is the intent, on
disk before anything is sent; it is sent; the reply is stored; the ledger is settled. A kill before
the reply is stored leaves the entry open: the question is asked again, and the first attempt stays
counted as lost. A kill after it leaves the entry open too, and the next look at the reply settles.
"""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import files, typed
from speedrun.adapters.ledger import Ledger
from speedrun.adapters.models import failures, prices
from speedrun.adapters.models.failures import Failure
from speedrun.adapters.models.replies import ReplyStore
from speedrun.adapters.models.slots import slot
from speedrun.adapters.models.spec import BODY_KEYS, ModelSpec, deciding, read, request_body
from speedrun.schema import Call

if TYPE_CHECKING:
    from speedrun.adapters.models.endpoint import Endpoint

STORE = Path("store")
REFUSED = ("content_filter", "refusal")
WORD_CHARS = 200
ROOM_BYTES = 2**24  # on the disk before a question is sent: its reply must find room
_sleep = time.sleep  # named, so that tests need not wait
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CallKey:
    """Which of a trial's questions it is: asked again under the same key, it is not paid again."""

    seed: int
    node: int
    turn: int
    purpose: str = "node"  # or "preflight", "summary", "judge", "review", "classify"
    vote: int = 0  # independent samples of one question


@dataclass(frozen=True)
class Reply:
    """One reply. ``refused``: the model or its provider's filter declined."""

    text: str
    refused: bool
    finish_reason: str
    call: Call

    @property
    def tokens_in(self) -> int | None:
        """Prompt tokens; None when not reported."""
        return self.call.tokens_in

    @property
    def tokens_out(self) -> int | None:
        """Completion tokens; None when not reported."""
        return self.call.tokens_out


@dataclass(frozen=True)
class Completion:
    """A reply with the chat completion as the endpoint sent it."""

    raw: dict[str, Any]
    reply: Reply


def open_model(
    config: Mapping[str, Any], operation: Mapping[str, Any], owner: str, store: Path = STORE
) -> Model:
    """Return the model of an arm.

    ``config`` holds what decides its replies (arm["model"]), ``operation`` the sweep, the caps and
    how to reach it; {} is no cap, and all keys in ``config``. ``owner`` is the trial that pays.
    """
    return Model(read(config, operation), operation, owner, store)


class NotAsked(Exception):
    """Nobody waits for the reply any more, and the question was not sent."""


class Model:
    """A chat model behind an OpenAI-compatible endpoint; safe for threads and for processes."""

    def __init__(
        self, spec: ModelSpec, operation: Mapping[str, Any], owner: str, store: Path = STORE
    ) -> None:
        """Nothing is opened and no key is read before a question is really sent."""
        self.spec, self.owner = spec, owner
        self.sweep, self.caps = str(operation.get("sweep", "")), operation.get("budget") or {}
        self.ledger, self.replies = Ledger(store / "ledger.db"), ReplyStore(store / "replies")
        self._slots = store / "slots"
        self._endpoint: Endpoint | None = None

    def ask(self, messages: Sequence[Mapping[str, Any]], key: CallKey) -> Reply:
        """Answer a conversation; see ``complete`` for the errors."""
        return self.complete({"messages": [dict(message) for message in messages]}, key).reply

    def complete(
        self, body: Mapping[str, Any], key: CallKey, over: threading.Event | None = None
    ) -> Completion:
        """Answer a /chat/completions body; its model and sampling settings give way to ours.

        Once ``over`` is set nothing more is sent: an attempt on its way is waited for, since it
        is paid for, but is not repeated. Errors: RequestError for a body that is no text chat.
        BudgetExceeded before a cap is passed. ContextTooLong. EndpointError when the endpoint
        still fails after the retries. NotAsked.
        """
        sent = request_body(self.spec, body)
        name = self.reply_key(sent, key)
        with self.replies.locked(name):
            record = self.replies.get(name)
            if record is not None:
                return self._stored(name, record)
            with slot(self._slots, self.spec.seller, self.spec.concurrency, over):
                if over and over.is_set():
                    raise NotAsked
                return self._paid(name, sent, key, over)

    def reply_key(self, sent: Mapping[str, Any], key: CallKey) -> str:
        """Return the name under which the reply to a body is stored.

        Of the body the question alone: its settings are the model's, under whatever names.
        """
        question = {name: sent[name] for name in BODY_KEYS if name in sent}
        return files.digest_value([deciding(self.spec), question, self.owner, asdict(key)])

    def _stored(self, name: str, record: Mapping[str, Any]) -> Completion:
        call = replace(typed.from_dict(Call, record["call"]), stored=True)
        self._settle(name, call)
        return _completion(record["raw"], call)

    def _settle(self, name: str, call: Call) -> None:
        known = call.tokens_in is not None and call.tokens_out is not None
        tokens = (call.tokens_in or 0) + (call.tokens_out or 0) if known else None
        self.ledger.settle(name, usd=call.cost_usd, tokens=tokens)

    def _paid(
        self, name: str, sent: dict[str, Any], key: CallKey, over: threading.Event | None
    ) -> Completion:
        files.require_space(self.replies.folder, ROOM_BYTES, "the reply store")
        raw, seconds, retries = self._send(self._opened(), name, sent, over)
        call = self._call(sent, raw, key, seconds, retries)
        record = {"owner": self.owner, "sweep": self.sweep, "key": asdict(key), "raw": raw}
        record |= {"received": _now(), "model": self.spec.name, "call": typed.to_dict(call)}
        self.replies.put(name, record)
        self._settle(name, call)
        return _completion(raw, call)

    def _opened(self) -> Endpoint:
        from speedrun.adapters.models.endpoint import Endpoint  # the SDK takes a second to import

        if self._endpoint is None:
            self._endpoint = Endpoint(self.spec)
        return self._endpoint

    def _send(
        self, endpoint: Endpoint, name: str, sent: dict[str, Any], over: threading.Event | None
    ) -> tuple[dict[str, Any], float, int]:
        """Return the completion, the seconds of the attempt that brought it, and the retries."""
        retries = 0
        while True:
            self._reserve(name, sent)
            started = time.monotonic()
            result = endpoint.attempt(sent)
            if not isinstance(result, Failure):
                return result, time.monotonic() - started, retries
            if result.refused:
                return _filtered(result, self.spec), time.monotonic() - started, retries
            self._account(name, result)
            wait = failures.wait_s(self.spec, result, retries)
            if wait is None or not self._waited(wait, over, result, retries):
                raise failures.error(self.spec, result, retries)
            retries += 1

    def _waited(
        self, wait: float, over: threading.Event | None, failure: Failure, retries: int
    ) -> bool:
        """Wait before the next attempt; False if there is to be none."""
        LOG.warning("%s: again in %.0f s", failures.explain(self.spec, failure, retries), wait)
        if over:
            return not over.wait(wait)
        _sleep(wait)
        return True

    def _reserve(self, name: str, sent: dict[str, Any]) -> None:
        worst = prices.worst_tokens(self.spec, sent)
        usd = prices.cost_usd(self.spec, worst)
        known = worst.given is not None and worst.out is not None
        tokens = (worst.given or 0) + (worst.out or 0) if known else None
        if self.ledger.reserve(name, self.sweep, self.owner, self.caps, usd=usd, tokens=tokens):
            cost = "unknown" if usd is None else f"{usd:.4f} USD"
            LOG.warning(
                "model %s: an earlier call of %s was killed in flight: it is counted at its worst "
                "case (cost %s) and asked again", self.spec.name, self.owner, cost,
            )  # fmt: skip

    def _account(self, name: str, failure: Failure) -> None:
        """Keep a failed attempt at its worst case if the provider may bill it."""
        if failure.billable:
            self.ledger.lose(name)
        else:
            self.ledger.release(name)

    def _call(
        self, sent: dict[str, Any], raw: dict[str, Any], key: CallKey, seconds: float, retries: int
    ) -> Call:
        tokens, choice = prices.tokens_of(raw.get("usage")), raw["choices"][0]
        return Call(
            turn=key.turn,
            prompt_sha256=prompt_digest(sent["messages"]),
            reply_sha256=files.digest_text(_text(choice["message"])),
            tokens_in=tokens.given,
            tokens_out=tokens.out,
            cost_usd=prices.cost_usd(self.spec, tokens),
            seconds=round(seconds, 6),
            source="model",
            purpose=key.purpose,
            model=_word(raw.get("model")),
            finish_reason=_word(choice.get("finish_reason")),
            tokens_reasoning=tokens.reasoning,
            tokens_cached=tokens.cached,
            retries=retries,
        )


def prompt_digest(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the digest of a single message's text, or of the whole conversation."""
    if len(messages) == 1 and isinstance(messages[0].get("content"), str):
        return files.digest_text(messages[0]["content"])
    return files.digest_value(list(messages))


def _completion(raw: dict[str, Any], call: Call) -> Completion:
    choice = raw["choices"][0]
    message = choice["message"]
    refused = bool(message.get("refusal")) or call.finish_reason in REFUSED
    return Completion(raw, Reply(_text(message), refused, call.finish_reason, call))


def _word(value: Any) -> str:
    """Return an endpoint's word as a line of a record can hold it."""
    word = str(value or "")[:WORD_CHARS]
    return "".join(char if char.isprintable() else "?" for char in word)


def _text(message: Mapping[str, Any]) -> str:
    """Return a message's text; some endpoints send it in parts."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _filtered(failure: Failure, spec: ModelSpec) -> dict[str, Any]:
    """Return a prompt that a filter turned down with an error as the refusal it is."""
    message = {"role": "assistant", "content": None, "refusal": failure.detail}
    choice = {"index": 0, "message": message, "finish_reason": "content_filter"}
    return {"object": "chat.completion", "model": spec.model, "choices": [choice], "usage": None}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
