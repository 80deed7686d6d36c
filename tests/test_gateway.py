"""The gateway as an agent's client sees it: what is served, what is refused, what is kept of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_served import CALL, Served, ask, key_of
from speedrun.adapters.coders import streaming
from speedrun.adapters.coders.gateway import Gateway
from speedrun.adapters.coders.serving import DEPTH_MOST
from speedrun.files import SpeedrunError

TOOL = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path, CALL)
    yield made
    made.close()


def test_tools_pass_through_both_ways(served: Served) -> None:
    message = ask(served, tools=[TOOL], temperature=0.1).choices[0].message
    assert message.tool_calls[0].function.arguments == '{"command": "ls"}'
    sent = served.server.requests[0].body
    assert (sent["tools"], sent["model"]) == ([TOOL], "m")  # the arm's model, whatever is asked for
    assert "temperature" not in sent and "stream" not in sent
    assert served.gateway.said == ['[bash]\n    {"command": "ls"}']


def test_a_stream_is_made_of_the_whole_reply(served: Served) -> None:
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(ask(served, tools=[TOOL], **usage))
    call = chunks[0].choices[0].delta.tool_calls[0]
    assert (call.index, call.id, call.function.name) == (0, "c1", "bash")
    assert [chunk.choices[0].finish_reason for chunk in chunks[:2]] == [None, "stop"]
    assert chunks[2].usage.prompt_tokens > 0
    assert "stream" not in served.server.requests[0].body
    assert len(list(ask(served, stream=True))) == 2  # no usage that was not asked for


def test_the_one_model_is_listed(served: Served) -> None:
    assert [model.id for model in served.client.models.list()] == ["m"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/models/m"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/chat/completions/../../x"),
        ("GET", "http://example.com/v1/models"),
    ],
)
def test_everything_else_is_not_served_and_counted(served: Served, method: str, path: str) -> None:
    status, answer = served.send(method, path, b"{}")
    assert status == 404 and b"is not served" in answer
    assert (served.gateway.unserved, served.server.requests) == (1, [])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[1]", b"{", b'{"messages": []}', b'{"messages": 3}', b"[" * 100_000, b"\xff",
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}', b'{"messages": [], "x": NaN}',
        b'{"messages": [{"role": "user", "content": "?"}], "tools": 1e999}', b"9" * 5000,
        b'{"messages": [{"role": "user", "x": %b}]}' % (b"[" * DEPTH_MOST + b"]" * DEPTH_MOST),
        b'{"messages": [{"role": "user", "x": %b}]}' % (b"[" * 980 + b"]" * 980),
    ],
)  # fmt: skip
def test_a_broken_question_is_the_agents_fault(served: Served, body: bytes) -> None:
    status, answer = served.send("POST", "/v1/chat/completions", body)
    assert (status, served.server.requests) == (400, [])
    assert json.loads(answer)["error"]["type"] == "invalid_request_error"
    assert served.gateway.halted() == ""


def test_a_question_without_its_length_or_too_long_is_refused(served: Served) -> None:
    for length in ("x", "-1", str(2**40)):
        with socket.create_connection(("127.0.0.1", served.port)) as raw:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {length}\r\n"
            raw.sendall(f"{head}Authorization: Bearer made-up\r\n\r\n".encode())
            assert b" 400 " in raw.makefile("rb").readline()


def test_another_key_is_not_let_in(served: Served) -> None:
    for path in ("/v1/models", "/v1/chat/completions"):
        method = "GET" if path.endswith("models") else "POST"
        status, _ = served.send(method, path, b"{}", Authorization="Bearer guessed")
        assert status == 404


def test_a_transcript_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speedrun.adapters.coders.gateway.TRANSCRIPT_BYTES", 250)
    gateway = Gateway(None, key_of, "m", 9, "made-up")
    for text in ("x" * 99, "y" * 99, "z"):
        gateway._note([text])
    kept = [json.loads(line).get("messages") for line in gateway.asked]
    assert kept == [["x" * 99], None, ["z"]]


def test_a_path_that_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    gateway = Gateway(None, key_of, "m", 9, "made-up")
    with pytest.raises(SpeedrunError, match="set TMPDIR to a short path"), gateway:
        gateway.listen(tmp_path / ("x" * 120))


@given(messages=st.lists(st.lists(st.sampled_from("abc"), max_size=6), max_size=6))
@settings(max_examples=50, deadline=None)
def test_the_transcript_gives_every_question_back(messages: list[list[str]]) -> None:
    gateway = Gateway(None, key_of, "m", 9, "made-up")
    seen: list[str] = []
    for asked in messages:
        gateway._note(asked)
        note = json.loads(gateway.asked[-1])
        seen = [*seen[: note["kept"]], *note["messages"]]
        assert seen == asked


TEXT = st.none() | st.text()
MESSAGES = st.fixed_dictionaries({"role": st.just("assistant"), "content": TEXT})


@given(message=MESSAGES, reason=st.sampled_from(["stop", "length", None]), usage=st.booleans())
@settings(max_examples=50, deadline=None)
def test_events_hold_the_completion(message: Any, reason: str | None, usage: bool) -> None:
    whole = {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": reason}]}
    text = "".join(streaming.events(whole, usage))
    *chunks, done = [part.removeprefix("data: ") for part in text.split("\n\n")[:-1]]
    read = [json.loads(chunk) for chunk in chunks]
    assert done == "[DONE]" and len(read) == 2 + usage
    assert read[0]["choices"][0]["delta"].get("content") == message["content"]
    assert read[1]["choices"][0]["finish_reason"] == reason
