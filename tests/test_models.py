"""models: what is asked and what is a reply, against a local endpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import model_server as ms
from model_asking import USAGE, ask, opened
from model_server import Fault, ModelServer
from speedrun import files
from speedrun.adapters import models
from speedrun.adapters.models import CallKey

pytestmark = pytest.mark.usefixtures("key")


def test_a_reply_with_its_tokens_and_cost(tmp_path: Path) -> None:
    details = {
        "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 150},
    }
    with ModelServer(usage=USAGE | details) as server:
        own = {"usd_per_million_in": 2.0, "usd_per_million_out": 10.0}
        model = opened(server, tmp_path, prices=own | {"usd_per_million_cached": 0.5})
        reply = ask(model, "what?", turn=1, purpose="summary")
    call = reply.call
    assert (reply.text, reply.refused, reply.finish_reason) == ("hello", False, "stop")
    assert (call.tokens_in, call.tokens_out) == (1000, 200)
    assert (call.tokens_cached, call.tokens_reasoning) == (400, 150)
    assert call.cost_usd == pytest.approx((600 * 2 + 400 * 0.5 + 200 * 10) / 1e6)
    assert (call.turn, call.purpose, call.model) == (1, "summary", "m-2026")
    assert call.prompt_sha256 == files.digest_text("what?")
    assert call.reply_sha256 == files.digest_text("hello")
    assert (call.source, call.retries, call.stored) == ("model", 0, False)
    assert call.seconds is not None and call.seconds > 0


def test_what_is_sent_is_the_models_settings(tmp_path: Path, server: ModelServer) -> None:
    settings = {"temperature": 0.0, "top_p": 0.9, "reasoning_effort": "low"}
    extra = {"max_tokens_field": "max_completion_tokens", "extra_body": {"thinking": {"on": True}}}
    ask(opened(server, tmp_path, **settings, **extra))
    body, headers = server.requests[0].body, server.requests[0].headers
    assert body == settings | {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 100,
        "thinking": {"on": True},
    }
    assert server.requests[0].path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {ms.KEY}"


def test_a_body_brings_its_tools_and_nothing_that_is_the_arms(
    tmp_path: Path, server: ModelServer
) -> None:
    tools = [{"type": "function", "function": {"name": "bash", "parameters": {}}}]
    message = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    theirs = {"model": "dearer", "temperature": 2, "n": 9, "max_tokens": 10**9, "stream": True}
    theirs |= {"service_tier": "priority", "web_search_options": {}, "stop": ["x"]}
    body = theirs | {"messages": [message], "tools": tools}
    completion = opened(server, tmp_path).complete(body, CallKey(0, 1, 0))
    assert server.requests[0].body == {
        "messages": [message],
        "tools": tools,
        "stop": ["x"],
        "model": "m",
        "max_tokens": 100,
    }
    assert completion.raw["choices"][0]["message"]["content"] == completion.reply.text == "hello"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": ["hi"]},
        {"messages": [{"role": "user", "content": 3}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}],
                }
            ]
        },
        {"messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "web_search"}]},
    ],
)
def test_a_body_that_would_reach_further_is_refused(
    tmp_path: Path, server: ModelServer, body: dict[str, Any]
) -> None:
    with pytest.raises(models.RequestError):
        opened(server, tmp_path).complete(body, CallKey(0, 1, 0))
    assert server.requests == []


def test_tool_calls_come_back_as_they_were_sent(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    with ModelServer({"content": None, "tool_calls": [call]}) as server:
        completion = opened(server, tmp_path).complete(
            {"messages": [{"role": "user", "content": "hi"}]}, CallKey(0, 1, 0)
        )
    assert completion.raw["choices"][0]["message"]["tool_calls"] == [call]
    assert completion.reply.text == ""


def test_text_in_parts_is_joined(tmp_path: Path) -> None:
    parts = [{"type": "thinking"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    with ModelServer({"content": parts}) as server:
        assert ask(opened(server, tmp_path)).text == "ab"


def test_an_endpoints_words_fit_a_line(tmp_path: Path) -> None:
    raw = ms.completion("hello") | {"model": "m\ud800\u2028" + "x" * 999}
    with ModelServer(raw) as server:
        assert ask(opened(server, tmp_path)).call.model == "m??" + "x" * 197


def test_half_a_surrogate_pair_is_asked_and_stored(tmp_path: Path) -> None:
    with ModelServer(lambda body: "x\ud800y") as server:
        model = opened(server, tmp_path)
        reply = ask(model)
        assert reply.text == "x\ud800y"
        assert ask(model).text == reply.text
        ask(model, f"you said {reply.text}")
    assert server.prompts == ["hi", "you said x?y"]


def test_the_stand_in_can_be_started_by_hand(tmp_path: Path) -> None:
    """docs/agents.md has its reader do so."""
    command = [sys.executable, ms.__file__, "--port", "0", "--reply", "lr = 13"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        url = started.stdout.readline().split()[-1]
        config = {"name": "m", "kind": "openai_compatible", "model": "m", "base_url": url}
        model = models.open_model(config, {"sweep": "s"}, "t", store=tmp_path)
        reply = model.ask([{"role": "user", "content": "?"}], CallKey(0, 1, 1))
        started.terminate()
    assert reply.text == "lr = 13"


# ---- replies that are the model's own


def test_a_refusal_is_a_reply(tmp_path: Path) -> None:
    with ModelServer(faults=[ms.REFUSAL, ms.FILTERED]) as server:
        model = opened(server, tmp_path)
        assert [ask(model, node=n).refused for n in (1, 2, 3)] == [True, True, False]
        assert ask(model, node=1).refused  # the stored one too
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    "error",
    [
        {"message": "flagged", "code": "content_filter"},
        {"message": "flagged", "code": "invalid_prompt"},
        {"message": "Output blocked by content filtering policy"},
        {"message": "Content Exists Risk", "code": "invalid_request_error"},
    ],
)
def test_a_prompt_that_a_filter_turned_down_is_a_refusal(
    tmp_path: Path, error: dict[str, str]
) -> None:
    with ModelServer(faults=[Fault(400, body=json.dumps({"error": error}))]) as server:
        reply = ask(opened(server, tmp_path))
        assert (reply.refused, reply.text, reply.call.cost_usd) == (True, "", None)
        assert ask(opened(server, tmp_path)).call.stored


@pytest.mark.parametrize(
    ("fault", "size", "finish"),
    [
        (ms.EMPTY_TEXT, 0, "stop"),
        (ms.TRUNCATED, len(str(ms.TRUNCATED.content)), "length"),
        (ms.HUGE, ms.MEGABYTE, "stop"),
    ],
)
def test_an_odd_text_is_the_models_reply(
    tmp_path: Path, fault: Fault, size: int, finish: str
) -> None:
    with ModelServer(faults=[fault]) as server:
        reply = ask(opened(server, tmp_path))
        assert (len(reply.text), reply.finish_reason, reply.refused) == (size, finish, False)
        assert ask(opened(server, tmp_path)).text == reply.text
        assert len(server.requests) == 1
