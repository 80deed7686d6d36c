"""Language models: config/model/*.yaml to a function from prompt to reply.

One adapter, for the OpenAI chat interface that hosted and local servers share; the official SDK
does the HTTP, the time-out and the retries.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speedrun import files


@dataclass(frozen=True)
class ModelReply:
    """One reply. ``refused``: the model or its filter declined; unknown counts stay None."""

    text: str
    refused: bool
    finish_reason: str
    model: str  # as the endpoint names what answered
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: float | None
    seconds: float


@dataclass(frozen=True)
class ModelSpec:
    """A config/model file; see config/model/openai_compatible.yaml for the fields."""

    name: str
    model: str
    base_url: str
    api_key_env: str
    temperature: float | None = None
    max_tokens: int | None = None
    timeout_s: float = 1800.0
    max_retries: int = 3
    usd_per_million_in: float | None = None
    usd_per_million_out: float | None = None


def make(config: Mapping[str, Any]) -> OpenAICompatible:
    """Return the model of a config/model file; SpeedrunError names what is missing in it."""
    name, kind = config.get("name"), config.get("kind")
    if kind != "openai_compatible":
        raise files.SpeedrunError(
            f"model {name!r} of kind {kind!r} cannot answer prompts: choose a config/model file of "
            "kind openai_compatible"
        )
    values = {key: value for key, value in config.items() if key != "kind"}
    try:
        return OpenAICompatible(ModelSpec(**values))
    except TypeError as error:
        raise files.SpeedrunError(f"config/model/{name}.yaml: {error}") from error


class OpenAICompatible:
    """A chat model behind an OpenAI-compatible endpoint. Keeps no state between calls."""

    def __init__(self, spec: ModelSpec) -> None:
        """The key is read from the environment here, so that a missing one fails early."""
        import openai

        key = os.environ.get(spec.api_key_env)
        if not key:
            raise files.SpeedrunError(
                f"model {spec.name}: environment variable {spec.api_key_env} is not set: export "
                "the endpoint's key in it (any text for a local server without keys)"
            )
        self.spec = spec
        self._client = openai.OpenAI(
            base_url=spec.base_url,
            api_key=key,
            timeout=spec.timeout_s,
            max_retries=spec.max_retries,
        )

    def __call__(self, prompt: str) -> ModelReply:
        """Answer one prompt in a fresh conversation."""
        return self.chat([{"role": "user", "content": prompt}])

    def chat(self, messages: Sequence[Mapping[str, str]]) -> ModelReply:
        """Answer a conversation of ``{"role", "content"}`` messages.

        Errors: SpeedrunError when the endpoint still fails after the SDK's retries; it is the
        harness's failure, so that the node stays unfinished and nothing is scored.
        """
        import openai

        started = time.monotonic()
        try:
            completion = self._client.chat.completions.create(**self._request(messages))
        except openai.OpenAIError as error:
            raise files.SpeedrunError(self._explain(error)) from error
        return self._reply(completion, time.monotonic() - started)

    def _request(self, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        options = {"temperature": self.spec.temperature, "max_tokens": self.spec.max_tokens}
        given = {key: value for key, value in options.items() if value is not None}
        return {"model": self.spec.model, "messages": [dict(m) for m in messages], **given}

    def _explain(self, error: Exception) -> str:
        detail = (str(error) or type(error).__name__).splitlines()[0][:300]
        return (
            f"model {self.spec.name} at {self.spec.base_url}: {type(error).__name__}: {detail}: "
            "check base_url, model and key, then run the same command again"
        )

    def _reply(self, completion: Any, seconds: float) -> ModelReply:
        if not getattr(completion, "choices", None):
            raise files.SpeedrunError(
                f"model {self.spec.name} at {self.spec.base_url} sent no choices: is base_url the "
                "root of an OpenAI-compatible interface (usually .../v1)?"
            )
        choice = completion.choices[0]
        tokens_in, tokens_out = _tokens(completion.usage)
        return ModelReply(
            text=choice.message.content or "",
            refused=_refused(choice),
            finish_reason=str(choice.finish_reason),
            model=str(completion.model),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost_usd=self._cost(tokens_in, tokens_out),
            seconds=seconds,
        )

    def _cost(self, tokens_in: int | None, tokens_out: int | None) -> float | None:
        price_in, price_out = self.spec.usd_per_million_in, self.spec.usd_per_million_out
        if tokens_in is None or tokens_out is None or price_in is None or price_out is None:
            return None
        return (tokens_in * price_in + tokens_out * price_out) / 1e6


def _tokens(usage: Any) -> tuple[int | None, int | None]:
    """Return prompt and completion tokens; reasoning tokens are part of the completion's."""
    return (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)


def _refused(choice: Any) -> bool:
    return bool(choice.message.refusal) or choice.finish_reason == "content_filter"
