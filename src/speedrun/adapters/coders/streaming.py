"""A finished completion in other forms: the events of a stream, and text to be read. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

DONE = "data: [DONE]\n\n"
OF_COMPLETION = ("id", "created", "model", "system_fingerprint")
SAID = ("role", "content", "reasoning_content", "reasoning", "refusal", "tool_calls")


def events(completion: Mapping[str, Any], wants_usage: bool) -> Iterator[str]:
    """Yield the events: what each choice says, how it ended, the usage if asked for, the end."""
    head = {key: completion[key] for key in OF_COMPLETION if key in completion}
    head["object"] = "chat.completion.chunk"
    for choice in completion.get("choices") or []:
        index = choice.get("index", 0)
        said = {"index": index, "delta": _delta(choice["message"]), "finish_reason": None}
        ended = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
        yield _event({**head, "choices": [said]})
        yield _event({**head, "choices": [ended]})
    if wants_usage:
        yield _event({**head, "choices": [], "usage": completion.get("usage")})
    yield DONE


def _delta(message: Mapping[str, Any]) -> dict[str, Any]:
    delta = {key: message[key] for key in SAID if message.get(key) is not None}
    if "tool_calls" in delta:  # a stream numbers them: it may send one in pieces
        calls = enumerate(delta["tool_calls"])
        delta["tool_calls"] = [{"index": number, **call} for number, call in calls]
    return delta


def _event(chunk: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(chunk)}\n\n"


def readable(completion: Mapping[str, Any]) -> str:
    """Return what the first choice says: its text, then each tool that it calls, indented."""
    message = completion["choices"][0]["message"]
    parts = [message["content"]] if isinstance(message.get("content"), str) else []
    for call in message.get("tool_calls") or []:
        called = call.get("function") or {}
        lines = str(called.get("arguments", "")).splitlines() or [""]
        parts.append("\n".join([f"[{called.get('name')}]", *(f"    {line}" for line in lines)]))
    return "\n\n".join(parts).encode("utf-8", "replace").decode()
