"""What a config/model file says, and the request body that it makes of a question."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from speedrun import files, specs, typed

KIND = "openai_compatible"
# What a body may bring along. The rest belongs to the arm (model, sampling), would pay for more
# than one reply (n, service_tier), or would have the endpoint fetch from the web (web_search).
BODY_KEYS = ("messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "stop")
SAMPLING_KEYS = ("temperature", "top_p", "reasoning_effort")
PART_TYPES = ("text", "refusal")
LENGTH_KEYS = ("max_tokens", "max_completion_tokens")  # as endpoints name the bound of a reply
# What extra_body must not hold: it has a field of its own, is the question, or would change what a
# call brings or costs at most.
NOT_EXTRA = ("model", "messages", "tools", *SAMPLING_KEYS, *LENGTH_KEYS, "stream", "n")
ABOVE_ZERO = ("timeout_s", "concurrency", "max_tokens", "context_tokens", "max_output_tokens")
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")  # and so no key that was put where its name belongs


class RequestError(Exception):
    """A body that is no plain text chat; whoever made it is at fault. One line."""


@dataclass(frozen=True)
class Prices:
    """USD per million tokens. Cached prompt tokens cost as much as others unless it is said."""

    usd_per_million_in: float
    usd_per_million_out: float
    usd_per_million_cached: float | None = None


@dataclass(frozen=True)
class ModelSpec:
    """A config/model file; docs/models.md explains the fields. None leaves it to the endpoint."""

    name: str
    kind: str
    model: str  # as the endpoint calls it
    base_url: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None  # of one reply, reasoning included
    reasoning_effort: str | None = None
    extra_body: dict[str, Any] = field(default_factory=dict)
    api_key_env: str | None = None  # None: a local server that asks for no key
    provider: str = ""  # whose prices and whose concurrency limit; "" is the endpoint's host
    timeout_s: float = 1800.0  # of one attempt, from its sending to the reply's last byte
    max_retries: int = 6
    backoff_s: float = 1.0  # before the first retry; doubles up to a minute
    retry_after_max_s: float = 600.0  # a Retry-After beyond it ends the call
    concurrency: int | None = None  # calls at one time to the provider, over all processes
    prices: Prices | None = None  # win over genai-prices
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    max_tokens_field: str = "max_tokens"  # or max_completion_tokens, as OpenAI's newer models ask
    release_date: str | None = None  # ISO 8601
    cutoff_date: str | None = None  # of the training data
    note: str = ""

    @property
    def seller(self) -> str:
        """Whose concurrency limit and prices apply."""
        return self.provider or str(urlsplit(self.base_url).hostname)

    @property
    def output_bound(self) -> int | None:
        """The most tokens that one reply can have; None if nothing says."""
        return self.max_tokens or self.max_output_tokens or self.context_tokens


def read(config: Mapping[str, Any], operation: Mapping[str, Any]) -> ModelSpec:
    """Return the model of an arm with its operational keys; SpeedrunError names what is wrong."""
    name = str(config.get("name"))
    if config.get("kind") != KIND:
        raise files.SpeedrunError(
            f"model {name!r} of kind {config.get('kind')!r} cannot answer prompts: choose a "
            f"config/model file of kind {KIND}"
        )
    given = {**config, **operation.get("models", {}).get(name, {})}
    present = {key: value for key, value in given.items() if value is not None}
    try:
        spec = typed.from_dict(ModelSpec, present)
        _check_key_name(spec)
        _check_address(spec)
        _check_numbers(spec)
        _check_body(spec)
    except files.SpeedrunError as error:
        raise files.SpeedrunError(f"config/model/{name}.yaml: {error}") from error
    return spec


def _check_key_name(spec: ModelSpec) -> None:
    """Refuse a key in place of its name, without showing it: the file ends on shell lines."""
    if spec.api_key_env and not VARIABLE.fullmatch(spec.api_key_env):
        raise files.SpeedrunError(
            "api_key_env must be the name of an environment variable, such as OPENAI_API_KEY, "
            "never a key itself"
        )


def _check_address(spec: ModelSpec) -> None:
    try:
        address = urlsplit(spec.base_url)
        found = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:  # no address at all, or no port
        found = None
    if not found or re.search(r"\s", spec.base_url):
        advice = "" if spec.base_url else " (a verb run by hand is told it by --operation)"
        raise files.SpeedrunError(
            "base_url must be the root of an OpenAI-compatible interface, such as "
            f"http://127.0.0.1:8000/v1{advice}"
        )
    if address.username or address.password or address.query:
        raise files.SpeedrunError(
            "base_url holds a user name, password or query: keys are given by api_key_env alone"
        )


def _check_numbers(spec: ModelSpec) -> None:
    """Refuse what would wait without end, send nothing, or count money backwards."""
    given = {**typed.to_dict(spec), **(typed.to_dict(spec.prices) if spec.prices else {})}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not 0 <= value < math.inf or (value == 0 and name in ABOVE_ZERO):
            least = "above 0" if name in ABOVE_ZERO else "of at least 0"
            raise files.SpeedrunError(f"{name} must be a finite number {least}, got {value!r}")


def _check_body(spec: ModelSpec) -> None:
    if spec.max_tokens_field not in LENGTH_KEYS:
        raise files.SpeedrunError(f"max_tokens_field must be {' or '.join(LENGTH_KEYS)}")
    for name in NOT_EXTRA:
        if name in spec.extra_body:
            raise files.SpeedrunError(f"extra_body must not hold {name!r}")


def deciding(spec: ModelSpec) -> dict[str, Any]:
    """Return what decides a reply, for its key; an absent setting leaves no trace."""
    values = typed.to_dict(spec)
    return {key: values[key] for key in specs.MODEL_KEYS if values[key] not in (None, {})}


def request_body(spec: ModelSpec, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that is sent: the question from ``body``, everything else from the model."""
    _check_question(body)
    asked = {key: body[key] for key in BODY_KEYS if body.get(key) is not None}
    settings = {key: getattr(spec, key) for key in SAMPLING_KEYS}
    settings[spec.max_tokens_field] = spec.max_tokens
    given = {key: value for key, value in settings.items() if value is not None}
    return _sendable({**asked, "model": spec.model, **given, **spec.extra_body})


def _sendable(body: dict[str, Any]) -> dict[str, Any]:
    """Return a copy that can be sent as UTF-8: a reply that is asked about may hold half a pair."""
    text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    return dict(json.loads(text))


def _check_question(body: Mapping[str, Any]) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError("messages must be a list of at least one message")
    for message in messages:
        _check_message(message)
    tools = body.get("tools") or []
    for tool in tools if isinstance(tools, list) else [tools]:
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise RequestError("tools must be functions: the endpoint's own tools are not allowed")


def _check_message(message: Any) -> None:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise RequestError("a message must be an object with a role")
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    if not isinstance(content, str | list | None) or not all(
        isinstance(part, dict) and part.get("type") in PART_TYPES for part in parts
    ):
        raise RequestError("a message's content must be text: links and images are not allowed")
