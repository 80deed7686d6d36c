"""models: what an endpoint can do wrong, one by one and together, and what comes of it."""

from __future__ import annotations

import datetime
import email.utils
import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import model_server as ms
from model_asking import OWNER, ask, opened
from model_server import Fault, ModelServer, hang, model_config, status
from speedrun.adapters import models
from speedrun.adapters.models import ContextTooLong, EndpointError, failures
from speedrun.adapters.models import spec as model_spec

pytestmark = pytest.mark.usefixtures("key")
WAIT = {"timeout_s": 0.3}


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The waits between attempts, not waited for."""
    waits: list[float] = []
    monkeypatch.setattr("speedrun.adapters.models.model._sleep", waits.append)
    yield waits


TWO_CHOICES = ms.completion("hello") | {
    "choices": [ms.completion("hello")["choices"][0], {"index": 1}]
}
UNBILLED = {
    "429": status(429),
    "429 in a moment": status(429, retry_after="0.01"),
    "429 at once": status(429, retry_after="0"),
    "409": status(409),
    "500": status(500),
    "503": status(503, retry_after="0.01"),
}
CUT_OFF = {
    "408": status(408),
    "504": status(504),
    "time-out": hang(),
    "trickle": ms.TRICKLE,
    "reset mid-reply": ms.RESET,
    "malformed JSON": ms.MALFORMED,
    "empty body": ms.EMPTY_BODY,
    "a page": ms.HTML,
    "another interface": ms.NOT_THE_INTERFACE,
    "no choices": Fault(body='{"choices": []}'),
    "an error for a reply": Fault(body='{"error": {"message": "overloaded"}}'),
    "failed upstream": Fault(content="half", finish_reason="error"),
    "nested without end": Fault(body="[" * 100_000),
    "a stream unasked": Fault(body='data: {"choices": [{"delta": {"content": "hi"}}]}\n\n'),
    "a second choice without a message": Fault(body=json.dumps(TWO_CHOICES)),
    "no tool to call": Fault(content={"tool_calls": [None]}),
    "a tool that is none": Fault(content={"tool_calls": [{"function": "bash"}]}),
}
PASSING = UNBILLED | CUT_OFF


def told(code: int, message: str = "told") -> Fault:
    """Return an error that comes under status 200."""
    return Fault(body=json.dumps({"error": {"code": code, "message": message}}))


def test_an_error_under_status_200_is_what_it_says(tmp_path: Path) -> None:
    with ModelServer(faults=[told(429)]) as server:
        model = opened(server, tmp_path)
        assert ask(model).call.retries == 1
        assert model.ledger.spent().lost_calls == 0
    with ModelServer(fault_of=lambda *_: told(402, "no money")) as server:
        with pytest.raises(EndpointError, match="no money") as caught:
            ask(opened(server, tmp_path), node=2)
        assert (caught.value.status, len(server.requests)) == (402, 1)
    with (
        ModelServer(fault_of=lambda *_: told(400, "over the context window")) as server,
        pytest.raises(ContextTooLong),
    ):
        ask(opened(server, tmp_path), node=3)


def test_an_errors_text_without_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speedrun.adapters.models.endpoint.ERROR_S", 0.2)
    drip = Fault(400, body="x" * 10_000, drip_s=0.05)  # for minutes
    swell = Fault(400, body="x" * 2**22)
    for node, fault in enumerate([drip, swell]):
        with ModelServer(faults=[fault]) as server:
            with pytest.raises(EndpointError) as caught:
                ask(opened(server, tmp_path), node=node)
            assert (caught.value.status, len(server.requests)) == (400, 1)


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_is_retried_and_counted(tmp_path: Path, name: str) -> None:
    with ModelServer(faults=[PASSING[name]]) as server:
        model = opened(server, tmp_path, **WAIT)
        reply = ask(model)
        assert (reply.text, reply.call.retries) == ("hello", 1)
        assert [request.body for request in server.requests] == [server.requests[0].body] * 2
        spent = model.ledger.spent()
    assert spent.lost_calls == (1 if name in CUT_OFF else 0)
    assert spent.reserved_usd == 0
    assert (spent.usd == pytest.approx(reply.call.cost_usd)) == (name in UNBILLED)


@pytest.mark.parametrize("name", PASSING)
def test_a_lasting_fault_is_ours_in_one_line(tmp_path: Path, name: str) -> None:
    with ModelServer(fault_of=lambda *_: PASSING[name]) as server:
        model = opened(server, tmp_path, max_retries=2, **WAIT)
        with pytest.raises(EndpointError, match=r"^model m at http.* run the same") as caught:
            ask(model)
        assert len(server.requests) == 3
    assert "\n" not in str(caught.value)
    assert "(attempt 3)" in str(caught.value)
    assert model.ledger.spent().lost_calls == (3 if name in CUT_OFF else 0)
    assert not list((tmp_path / "replies").rglob("*.json"))


@pytest.mark.parametrize("code", [400, 401, 403, 404, 413, 422])
def test_what_will_not_pass_is_not_retried(tmp_path: Path, code: int) -> None:
    with ModelServer(faults=[status(code, retry_after="1")]) as server:
        model = opened(server, tmp_path)
        with pytest.raises(EndpointError, match=f"scripted {code}") as caught:
            ask(model)
        assert caught.value.status == code
        assert not isinstance(caught.value, ContextTooLong)
        assert len(server.requests) == 1
        assert model.ledger.spent().usd == 0
        assert ask(model).text == "hello"  # what was mended goes on


def test_an_account_without_money_is_not_retried(tmp_path: Path) -> None:
    error = {"message": "You exceeded your current quota", "code": "insufficient_quota"}
    with ModelServer(faults=[Fault(429, body=json.dumps({"error": error}))]) as server:
        with pytest.raises(EndpointError, match="quota"):
            ask(opened(server, tmp_path))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "error",
    [
        {"message": "x", "code": "context_length_exceeded"},
        {"message": "This model's maximum context length is 8192 tokens. However"},
        {"message": "prompt is too long: 212931 tokens > 200000 maximum"},
        {"message": "The input token count (1200000) exceeds the maximum number of tokens"},
        {"message": "input length and `max_tokens` exceed context limit: 190000 + 32768 > 200000"},
        {"message": "the request exceeds the available context size"},
    ],
)
def test_a_prompt_that_is_too_long_says_so(tmp_path: Path, error: dict[str, str]) -> None:
    with ModelServer(faults=[Fault(400, body=json.dumps({"error": error}))]) as server:
        with pytest.raises(ContextTooLong, match="give it fewer hints"):
            ask(opened(server, tmp_path))
        assert len(server.requests) == 1


def test_nothing_listens(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        model = models.open_model(model_config(url, max_retries=1), {}, OWNER, tmp_path)
        with pytest.raises(EndpointError, match="Connect"):
            ask(model)
    assert model.ledger.spent().lost_calls == 0  # nothing was sent


# ---- all together


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_faults_together_end_in_the_reply(tmp_path: Path, seed: int, slept: list[float]) -> None:
    names = [*PASSING] * 2
    random.Random(seed).shuffle(names)
    with ModelServer(faults=[PASSING[name] for name in names]) as server:
        model = opened(server, tmp_path, max_retries=len(names), **WAIT)
        reply = ask(model)
        spent = model.ledger.spent()
    assert (reply.text, reply.call.retries) == ("hello", len(names))
    assert len(slept) == len(names)
    assert spent.lost_calls == 2 * len(CUT_OFF)
    # what failed upstream, and what calls no tool, is sent whole
    assert len(server.answered) == 1 + 2 * 3


# ---- waiting


@pytest.mark.parametrize("said", ["7", "90", "599.5"])
def test_a_retry_after_is_waited_for(tmp_path: Path, slept: list[float], said: str) -> None:
    with ModelServer(faults=[status(429, said), status(503, said)]) as server:
        assert ask(opened(server, tmp_path)).call.retries == 2
    assert slept == [float(said)] * 2


def test_a_retry_after_may_be_a_date(tmp_path: Path, slept: list[float]) -> None:
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=200)
    with ModelServer(faults=[status(429, email.utils.format_datetime(when, True))]) as server:
        ask(opened(server, tmp_path))
    assert 100 < slept[0] <= 200


def test_a_retry_after_beyond_the_limit_ends_the_call(tmp_path: Path, slept: list[float]) -> None:
    with ModelServer(faults=[status(429, "3600")]) as server:
        with pytest.raises(EndpointError, match=r"asks to wait 3600 s: run the same command"):
            ask(opened(server, tmp_path))
        assert len(server.requests) == 1
    assert slept == []


def test_without_one_the_waits_double(tmp_path: Path, slept: list[float]) -> None:
    with ModelServer(faults=[status(429)] * 8) as server:
        ask(opened(server, tmp_path, max_retries=8, backoff_s=1.0))
    bounds = [1, 2, 4, 8, 16, 32, 60, 60]
    assert all(0.75 * b <= wait <= b for wait, b in zip(slept, bounds, strict=True))
    assert len(set(slept)) == 8


@given(st.text())
def test_any_retry_after_is_read_or_ignored(said: str) -> None:
    found = failures.retry_after_s({"retry-after": said})
    assert found is None or found >= 0


@given(st.floats(0, 1e5), st.integers(0, 40))
@settings(max_examples=50)
def test_a_wait_is_bounded_and_never_shorter_than_asked(asked: float, retries: int) -> None:
    spec = model_spec.read(model_config("http://h/v1", max_retries=30, backoff_s=2.0), {})
    failure = failures.Failure("RateLimitError", "", 429, retry_after_s=asked)
    wait = failures.wait_s(spec, failure, retries)
    if retries >= 30 or asked > spec.retry_after_max_s:
        assert wait is None
    else:
        assert wait is not None and min(asked, 600) <= wait <= max(asked, 60)
