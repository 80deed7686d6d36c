"""The gateway as an agent's client sees it, the events of a stream, and what is read back."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_coders import model_at
from model_server import ModelServer, status
from speedrun.adapters.coders import relay, streaming, workspace
from speedrun.adapters.coders.ending import Ending
from speedrun.adapters.coders.gateway import Gateway
from speedrun.adapters.coders.serving import CONNECTIONS, DEPTH_MOST
from speedrun.adapters.models import CallKey, EndpointError, RequestError
from speedrun.adapters.models.slots import slot
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome

CALL = {
    "content": None,
    "tool_calls": [
        {
            "id": "c1",
            "type": "function",
            "function": {"name": "bash", "arguments": '{"command": "ls"}'},
        }
    ],
}
TOOL = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}
ASKED = [{"role": "user", "content": "?"}]


def key_of(turn: int) -> CallKey:
    return CallKey(seed=0, node=1, turn=turn)


class Served:
    """A gateway on a port, the model's server behind it, and the SDK as its client."""

    def __init__(self, folder: Path, reply: Any, limit: int = 100) -> None:
        self.server = ModelServer(reply).__enter__()
        self.model = model_at(self.server.url, folder)
        self.gateway = Gateway(self.model.complete, key_of, "m", limit, "made-up")
        self.port = self.gateway.__enter__().listen(None)
        url = f"http://127.0.0.1:{self.port}/v1"
        self.client = openai.OpenAI(base_url=url, api_key="made-up", max_retries=0)

    def close(self) -> None:
        self.client.close()
        self.gateway.__exit__()
        self.server.__exit__()

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, {"Authorization": "Bearer made-up", **headers})
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path, CALL)
    yield made
    made.close()


def ask(served: Served, **more: Any) -> Any:
    return served.client.chat.completions.create(model="any", messages=ASKED, **more)  # type: ignore[call-overload]


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


def test_more_connections_than_the_harness_bears_are_closed(served: Served) -> None:
    waiting = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(CONNECTIONS)]
    try:
        with socket.create_connection(("127.0.0.1", served.port)) as more:
            assert more.recv(1) == b""
    finally:
        for one in waiting:
            one.close()
    while True:  # the first of them have been let go of by now, or will be
        try:
            assert _status(served) == 200
            break
        except OSError:
            time.sleep(0.01)


def test_another_key_is_not_let_in(served: Served) -> None:
    for path in ("/v1/models", "/v1/chat/completions"):
        method = "GET" if path.endswith("models") else "POST"
        status, _ = served.send(method, path, b"{}", Authorization="Bearer guessed")
        assert status == 404


def test_questions_at_once_get_numbers_of_their_own(tmp_path: Path) -> None:
    served = Served(tmp_path, "hello", limit=6)
    try:
        with ThreadPoolExecutor(9) as pool:
            answers = list(pool.map(lambda _: _status(served), range(9)))
    finally:
        served.close()
    assert sorted(answers) == [200] * 6 + [403] * 3
    assert [reply.call.turn for reply in served.gateway.replies] == list(range(6))
    assert served.server.busiest == 1 and served.gateway.halted() == "requests"


def _status(served: Served) -> int:
    body = json.dumps({"messages": ASKED}).encode()
    return served.send("POST", "/v1/chat/completions", body)[0]


def test_a_fault_of_the_harness_halts_the_agent() -> None:
    def broken(body: Any, key: CallKey, over: threading.Event) -> Any:
        raise ZeroDivisionError

    with Gateway(broken, key_of, "m", 9, "made-up") as gateway:
        status, answer = gateway.chat({"messages": ASKED})
    assert (status, gateway.halted()) == (503, "model")
    assert isinstance(gateway.failure, ZeroDivisionError) and "Zero" not in str(answer)


def test_a_reply_on_its_way_is_waited_for(tmp_path: Path) -> None:
    served = Served(tmp_path, "hello")
    served.server.latency_s = 0.3
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(_status, served)
        while not served.server.requests:
            time.sleep(0.01)
        served.gateway.__exit__()
        assert len(served.gateway.replies) == 1
        assert asking.result() == 200
    served.close()


def test_what_was_not_sent_when_the_node_ended_is_not_sent(tmp_path: Path) -> None:
    """Neither a question that waits for its turn at the provider nor another attempt."""
    server = ModelServer(faults=[status(500, retry_after="500")])
    with server, ThreadPoolExecutor(1) as pool:
        model = model_at(server.url, tmp_path, max_retries=3, provider="p", concurrency=1)
        with Gateway(model.complete, key_of, "m", 9, "made-up") as gateway:
            asking = pool.submit(gateway.chat, {"messages": ASKED})
            while not server.requests:
                time.sleep(0.01)
        assert asking.result()[0] == 503
        assert len(server.requests) == 1 and isinstance(gateway.failure, EndpointError)
        second = Gateway(model.complete, key_of, "m", 9, "made-up")
        with slot(tmp_path / "store" / "slots", "p", 1):
            waiting = pool.submit(second.chat, {"messages": ASKED})
            while not second.asked:
                time.sleep(0.01)
            second.__exit__()
        assert waiting.result()[0] == 503
        assert len(server.requests) == 1 and second.failure is None


def test_a_client_that_gave_up_and_asks_again_is_not_paid_for_twice(tmp_path: Path) -> None:
    go_on = threading.Event()

    def reply(body: Any) -> str:
        go_on.wait(20)
        return f"reply {len(served.server.requests)}"

    served = Served(tmp_path, reply)
    impatient = served.client.with_options(timeout=0.2)
    for _ in range(3):  # the second and third wait for their turn, and are not waited for either
        with pytest.raises(openai.APITimeoutError):
            impatient.chat.completions.create(model="any", messages=ASKED)  # type: ignore[arg-type]
    go_on.set()
    said = [ask(served).choices[0].message.content for _ in range(2)]
    assert said == ["reply 1", "reply 2"]  # one that was heard is a new sample when asked again
    assert (len(served.server.requests), len(served.gateway.replies)) == (2, 2)
    served.close()


def test_who_holds_a_connection_open_holds_up_nobody(served: Served) -> None:
    head = "POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer made-up\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as raw:
        raw.sendall(f"{head}Content-Length: 9\r\n\r\n[".encode())
        while not served.gateway.turn.locked():
            time.sleep(0.01)
        served.gateway.__exit__()  # the test's own limit ends it if this waits


def test_a_transcript_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speedrun.adapters.coders.gateway.TRANSCRIPT_BYTES", 250)
    gateway = Gateway(None, key_of, "m", 9, "made-up")
    for text in ("x" * 99, "y" * 99, "z"):
        gateway._note([text])
    kept = [json.loads(line).get("messages") for line in gateway.asked]
    assert kept == [["x" * 99], None, ["z"]]


def test_nothing_is_asked_once_the_node_has_ended() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(body: Any, key: CallKey, over: threading.Event) -> Any:
        asked.set()
        go_on.wait()
        raise RequestError("asked")

    with ThreadPoolExecutor(2) as pool, Gateway(slow, key_of, "m", 9, "made-up") as gateway:
        first = pool.submit(gateway.chat, {})
        asked.wait()
        waiting = pool.submit(gateway.chat, {})
        gateway.__exit__(KeyboardInterrupt)  # that waits for nobody
        go_on.set()
        assert (first.result()[0], waiting.result()[0]) == (400, 503)
    assert len(gateway.asked) == 1


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


ENDINGS = st.builds(
    Ending,
    reason=st.sampled_from(["exited", "timeout", "requests", "oom", "disk_flood"]),
    exit_code=st.sampled_from([None, 0, 1, 127]),
    changed=st.booleans(),
    asked=st.integers(0, 2),
    refused=st.booleans(),
    has_model=st.booleans(),
)


@given(end=ENDINGS)
def test_every_ending_is_an_answer_or_has_a_reason(end: Ending) -> None:
    outcome, reason = end.verdict()
    assert (outcome is None) == (reason == "")
    counts = end.reason in ("exited", "timeout", "requests")
    if end.changed:
        assert (outcome is None) == counts and end.began
    if outcome is Outcome.REFUSED:
        assert end.refused and not end.changed
    if not end.began:
        assert end.reason == "exited" and end.asked == 0 and not end.changed


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


def test_the_relay_carries_a_large_answer_and_the_agents_exit_code(tmp_path: Path) -> None:
    path, size = tmp_path / "s", 3_000_000
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    threading.Thread(target=_answer_once, args=(listening, size), daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "import socket, sys\n"
        f"s = socket.create_connection(('127.0.0.1', {port})); s.sendall(b'hello')\n"
        "n = 0\n"
        "while chunk := s.recv(65536): n += len(chunk)\n"
        "print(n); sys.exit(7)\n"
    )
    words = [relay.__file__, str(path), str(port), sys.executable, "-c", code]
    ended = subprocess.run(
        [sys.executable, "-I", "-S", *words],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    listening.close()
    assert (ended.stdout, ended.returncode, ended.stderr) == (f"{size}\n", 7, "")


def _answer_once(listening: socket.socket, size: int) -> None:
    connection, _ = listening.accept()
    with connection:
        assert connection.recv(5) == b"hello"
        connection.sendall(bytes(size))


LIMITS = workspace.Limits(["*.pyc", ".git", ".aider*"], max_files=4, max_file_kb=1, max_total_kb=3)


def test_a_workspace_is_read_without_litter_and_without_what_a_run_provides(tmp_path: Path) -> None:
    workspace.write(tmp_path / "w", {"train.py": "x\r\n", "lib/a.py": "ä"})
    for name in (".git/config", "lib/.aider.chat", "lib/b.pyc", "data/train.bin"):
        (tmp_path / "w" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "w" / name).write_bytes(b"\xff\0")
    (tmp_path / "w" / "probe_logits.npy").symlink_to("/etc/passwd")
    (tmp_path / "w" / ".aider.link").symlink_to("/etc/passwd")
    (tmp_path / "w" / "empty").mkdir()
    assert workspace.read(tmp_path / "w", LIMITS) == {"train.py": "x\r\n", "lib/a.py": "ä"}


def test_the_parents_files_are_no_litter(tmp_path: Path) -> None:
    given = {"runs.log": "1", ".git/hook": "2"}
    workspace.write(tmp_path / "w", {**given, "new.log": "3"})
    limits = dataclasses.replace(LIMITS, ignore=["*.log", ".git"])
    assert workspace.read(tmp_path / "w", limits, given) == given
    assert workspace.read(tmp_path / "w", limits) == {}


def _deep(folder: Path) -> None:
    (folder / "/".join("d" * (workspace.DEPTH + 1))).mkdir(parents=True)


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "s"))


BROKEN = {
    "'up' is a symbolic link": lambda w: (w / "up").symlink_to("../.."),
    "'train.py' is a symbolic link": lambda w: (w / "train.py").symlink_to("/etc/passwd"),
    "'d/x' is a symbolic link": lambda w: ((w / "d").mkdir(), (w / "d" / "x").symlink_to("y")),
    "'b' is a hard link": lambda w: (
        (w.parent / "a").write_text(""),
        os.link(w.parent / "a", w / "b"),
    ),
    "'pipe' is not a regular file": lambda w: os.mkfifo(w / "pipe"),
    "'s' is not a regular file": _socket,
    "'a' is not UTF-8 text": lambda w: (w / "a").write_bytes(b"\xff"),
    "'a' holds a NUL character": lambda w: (w / "a").write_bytes(b"a\0"),
    "'a' is larger than 1 KiB": lambda w: (w / "a").write_bytes(bytes(1025)),
    "there are more than 4 files": lambda w: [(w / f"{n}").write_text("") for n in range(5)],
    "the files are larger than 3 KiB": lambda w: [
        (w / f"{n}").write_text("x" * 1000) for n in range(4)
    ],
    "folders are nested more than": _deep,
    "the workspace is gone": lambda w: w.rmdir(),
}


@pytest.mark.parametrize("why", list(BROKEN))
def test_what_is_no_solution_is_named_and_not_followed(tmp_path: Path, why: str) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    BROKEN[why](folder)
    with pytest.raises(workspace.WorkspaceError, match=why):
        workspace.read(folder, LIMITS)


def test_a_sparse_giant_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    with (folder / "giant").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(workspace.WorkspaceError, match="'giant' is larger than 1 KiB"):
        workspace.read(folder, LIMITS)


def test_a_workspace_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "w").symlink_to("/etc")
    with pytest.raises(workspace.WorkspaceError, match="gone"):
        workspace.read(tmp_path / "w", LIMITS)


def test_a_device_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    try:
        os.mknod(tmp_path / "w" / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(workspace.WorkspaceError, match="'null' is not a regular file"):
        workspace.read(tmp_path / "w", LIMITS)
