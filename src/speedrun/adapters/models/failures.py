"""An attempt without a completion: what it was, whether to try again and when, what to say."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from speedrun.adapters.models.spec import ModelSpec
from speedrun.files import SpeedrunError

PASSING = (408, 409, 429)  # and everything from 500
TIMED_OUT = (408, 504, 524)  # somewhere on the way, while the model may have gone on
REFUSALS = ("content_filter", "content_policy_violation", "invalid_prompt")  # error codes
# As Anthropic and DeepSeek word it, who give no code of its own.
REFUSAL_WORDS = ("content filtering policy", "content exists risk")
EXHAUSTED = "insufficient_quota"  # a 429 that no waiting mends
TOO_LONG = "context_length_exceeded"
# As OpenAI, vLLM, Anthropic, DeepSeek, Google and llama.cpp word it where they give no code.
TOO_LONG_WORDS = (
    "context length",
    "context limit",
    "context size",
    "context window",
    "input token count",
    "prompt is too long",
)
BACKOFF_MAX_S = 60.0


class EndpointError(SpeedrunError):
    """The endpoint gave no reply: the harness's failure, so that the node stays unfinished."""

    def __init__(self, message: str, status: int | None = None, detail: str = "") -> None:
        """``status`` is the HTTP status, None when there was none; ``detail`` the endpoint's words.

        Neither holds the key.
        """
        super().__init__(message)
        self.status, self.detail = status, detail


class ContextTooLong(EndpointError):
    """The question is longer than the model reads. Whose fault that is, the asker knows."""


@dataclass(frozen=True)
class Failure:
    """Why an attempt brought no completion."""

    kind: str  # the SDK's name or ours, e.g. "RateLimitError", "MalformedReply"
    detail: str  # one line, without the key
    status: int | None = None  # HTTP; None when no answer, or none that could be read
    code: str = ""  # the endpoint's
    cut_off: bool = False  # after sending: the provider may have made a reply, and charge for it
    retry_after_s: float | None = None

    @property
    def passing(self) -> bool:
        """Whether the next attempt may succeed."""
        if self.status is None:
            return True
        return (self.status in PASSING or self.status >= 500) and self.code != EXHAUSTED

    @property
    def billable(self) -> bool:
        """Whether it may have been charged for; errors with a status are not, time-outs may be."""
        return self.cut_off or self.status in TIMED_OUT

    @property
    def too_long(self) -> bool:
        """Whether the prompt was longer than the context."""
        known = self.code == TOO_LONG or self._says(TOO_LONG_WORDS)
        return known and self.status in (400, 413, 422)

    @property
    def refused(self) -> bool:
        """Whether a filter of the provider's turned the prompt down."""
        known = self.code in REFUSALS or self._says(REFUSAL_WORDS)
        return known and self.status in (400, 403)

    def _says(self, words: tuple[str, ...]) -> bool:
        return any(word in self.detail.lower() for word in words)


def wait_s(spec: ModelSpec, failure: Failure, retries: int) -> float | None:
    """Return the seconds before the next attempt; None when there is to be none.

    A Retry-After is waited for in full, up to the model's retry_after_max_s. Without one the wait
    doubles from backoff_s, less up to a quarter at random, so that processes do not come together.
    """
    if not failure.passing or retries >= spec.max_retries:
        return None
    if failure.retry_after_s:
        return None if _asks_too_much(spec, failure) else failure.retry_after_s
    base = min(spec.backoff_s * 2.0**retries, BACKOFF_MAX_S)
    return base * random.uniform(0.75, 1.0)


def _asks_too_much(spec: ModelSpec, failure: Failure) -> bool:
    return (failure.retry_after_s or 0.0) > spec.retry_after_max_s


def explain(spec: ModelSpec, failure: Failure, retries: int) -> str:
    """Return one line about a failed attempt."""
    place = f"model {spec.name} at {spec.base_url} (attempt {retries + 1})"
    return f"{place}: {failure.kind}: {failure.detail}"


def error(spec: ModelSpec, failure: Failure, retries: int) -> EndpointError:
    """Return what the last failed attempt of a call raises: one line with the next command."""
    message, kind = explain(spec, failure, retries), EndpointError
    advice = "check base_url, model and key, then run the same command again"
    if failure.too_long:
        kind = ContextTooLong
        advice = (
            "the prompt is too long for the model: give it fewer hints, documents or earlier "
            "nodes, or take a model with a longer context"
        )
    elif failure.passing and _asks_too_much(spec, failure):
        advice = f"it asks to wait {failure.retry_after_s:.0f} s: run the same command after that"
    return kind(f"{message}: {advice}", failure.status, failure.detail)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long a Retry-After asks to wait: seconds or a date (RFC 9110, 10.2.3)."""
    said = headers.get("retry-after", "").strip()
    try:
        seconds = float(said)
    except ValueError:
        return _seconds_until(said)
    return None if math.isnan(seconds) else max(0.0, seconds)


def _seconds_until(date: str) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
