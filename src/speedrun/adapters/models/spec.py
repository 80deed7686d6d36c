"""What a config/model file says, and the request body that it makes of a question."""

from __future__ import annotations

import json
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
    except files.SpeedrunError as error:
        raise files.SpeedrunError(f"config/model/{name}.yaml: {error}") from error
    _check_address(spec)
    return spec


def _check_address(spec: ModelSpec) -> None:
    address = urlsplit(spec.base_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise files.SpeedrunError(
            f"config/model/{spec.name}.yaml: base_url must be the root of an OpenAI-compatible "
            "interface, such as http://127.0.0.1:8000/v1"
        )
    if address.username or address.password or address.query:
        raise files.SpeedrunError(
            f"config/model/{spec.name}.yaml: base_url holds a user name, password or query: keys "
            "are given by api_key_env alone"
        )


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
