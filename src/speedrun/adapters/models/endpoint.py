"""One attempt at one call through the openai SDK: a completion, or why there is none.

The SDK's own retries are off: they give up on a Retry-After beyond two minutes, and do not cover a
reply that breaks off or is no JSON. A failure is a value here, not an exception that would carry
the request, and so the key, into a traceback.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import openai

from speedrun.adapters.models.failures import Failure, retry_after_s
from speedrun.adapters.models.spec import ModelSpec
from speedrun.files import SpeedrunError

CONNECT_S = 30.0
# Every call has a connection of its own: one kept for the next call, minutes later, may have been
# dropped on the way, which would look like a reply that was lost.
ONE_CALL = httpx2.Limits(max_keepalive_connections=0)
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
REPLY_BYTES_MAX = 64 * 2**20
DETAIL = 300  # characters of an endpoint's message that are shown
ERROR_S, ERROR_BYTES = 30.0, 2**20  # of an error's text, which the SDK would read to any length
SECRET_CHARS = 8  # no real key is shorter; "x", for a server that asks for none, is no secret
HEADER = re.compile(r"[!-~]+")  # what can follow "Bearer "
STATUSES = range(400, 600)
HEADERS = ("host", "accept", "connection", "content-", "transfer-", "user-agent", "x-stainless-")


class CutOff(Exception):
    """A reply that had begun and was given up."""


class _Bounded(httpx2.SyncByteStream):
    """The beginning of an error's text, so that one that trickles or swells ends all the same."""

    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        deadline, size = time.monotonic() + ERROR_S, 0
        for piece in self._stream:
            yield piece
            size += len(piece)
            if size > ERROR_BYTES or time.monotonic() > deadline:
                return

    def close(self) -> None:
        self._stream.close()


def _bound_error(response: httpx2.Response) -> None:
    if response.is_error and isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _Bounded(response.stream)


class Endpoint:
    """A chat endpoint. Keeps no state and no connection between calls."""

    def __init__(self, spec: ModelSpec) -> None:
        """Read the key; a missing one is an error that names its variable."""
        self.spec, self._key = spec, _key(spec)
        timeout = httpx2.Timeout(spec.timeout_s, connect=min(CONNECT_S, spec.timeout_s))
        self._client = openai.OpenAI(
            base_url=spec.base_url,
            api_key=self._key,
            http_client=openai.DefaultHttpxClient(
                timeout=timeout,
                limits=ONE_CALL,
                follow_redirects=False,  # the key and the prompt go nowhere else
                event_hooks={"request": [self._address], "response": [_bound_error]},
            ),
            timeout=timeout,
            max_retries=0,
        )

    def _address(self, request: httpx2.Request) -> None:
        """Send the model's own key and none of what the SDK adds from its environment variables.

        OPENAI_ORG_ID and OPENAI_CUSTOM_HEADERS are meant for another endpoint, and may hold a key.
        """
        given = {name: text for name, text in request.headers.items() if name.startswith(HEADERS)}
        request.headers = httpx2.Headers({**given, "Authorization": f"Bearer {self._key}"})

    def attempt(self, body: Mapping[str, Any]) -> dict[str, Any] | Failure:
        """Send ``body`` once; the completion comes back as the endpoint worded it."""
        try:
            return self._parsed(self._send(body))
        except openai.APIStatusError as error:
            return self._status_failure(error)
        except openai.APIConnectionError as error:  # time-outs too
            cause = error.__cause__ or error
            return self._failure(cause, cut_off=not isinstance(cause, NOT_SENT))
        except (openai.OpenAIError, httpx2.HTTPError, CutOff) as error:
            return self._failure(error, cut_off=True)

    def _send(self, body: Mapping[str, Any]) -> str:
        """Return the reply's text. One that only trickles in must not outlast the time-out."""
        deadline, received = time.monotonic() + self.spec.timeout_s, bytearray()
        rest = {key: value for key, value in body.items() if key not in ("model", "messages")}
        asking = self._client.chat.completions.with_streaming_response.create(
            model=body["model"], messages=body["messages"], extra_body=rest
        )
        with asking as response:
            for piece in response.iter_bytes():
                received += piece
                if time.monotonic() > deadline:
                    raise CutOff(f"no end of the reply after {self.spec.timeout_s:g} s")
                if len(received) > REPLY_BYTES_MAX:
                    raise CutOff(f"a reply of over {REPLY_BYTES_MAX} bytes")
        return self.redacted(received.decode("utf-8", "replace"))

    def _parsed(self, text: str) -> dict[str, Any] | Failure:
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError):
            raw = None
        if _is_completion(raw):
            return dict(raw)
        told, shown = _status_told(raw), f"no chat completion but {self._line(text)!r}"
        return Failure("MalformedReply", shown, status=told, cut_off=told is None)

    def _status_failure(self, error: openai.APIStatusError) -> Failure:
        return Failure(
            type(error).__name__,
            self._line(str(error)),
            error.status_code,
            str(error.code or ""),
            retry_after_s=retry_after_s(error.response.headers),
        )

    def _failure(self, error: BaseException, cut_off: bool) -> Failure:
        name = type(error).__name__
        return Failure(name, self._line(str(error) or name), cut_off=cut_off)

    def _line(self, text: str) -> str:
        return " ".join(self.redacted(text).split())[:DETAIL]

    def redacted(self, text: str) -> str:
        """Return ``text`` without the key: some endpoints repeat it in their errors."""
        if not self.spec.api_key_env or len(self._key) < SECRET_CHARS:
            return text
        for form in {self._key, json.dumps(self._key)[1:-1]}:
            text = text.replace(form, "[key]")
        return text


def _key(spec: ModelSpec) -> str:
    if not spec.api_key_env:
        return "no-key"  # the SDK wants one; a local server ignores it
    key = os.environ.get(spec.api_key_env, "").strip()
    if not HEADER.fullmatch(key):
        fault = "holds what no key does (a space, a line end or no ASCII)" if key else "is not set"
        raise SpeedrunError(
            f"model {spec.name}: environment variable {spec.api_key_env} {fault}: export the "
            "endpoint's key in it, or set api_key_env to null for a server without keys"
        )
    return key


def _is_completion(raw: Any) -> bool:
    """Whether there are choices with messages; a choice that failed upstream is none."""
    choices = raw.get("choices") if isinstance(raw, dict) else None
    return isinstance(choices, list) and choices != [] and all(map(_is_choice, choices))


def _is_choice(choice: Any) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict) or choice.get("finish_reason") == "error":
        return False
    calls = message.get("tool_calls") or []
    return isinstance(calls, list) and all(
        isinstance(call, dict) and isinstance(call.get("function") or {}, dict) for call in calls
    )


def _status_told(raw: Any) -> int | None:
    """Return the status of an error that came under status 200, as OpenRouter's do."""
    error = raw.get("error") if isinstance(raw, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and code in STATUSES else None
