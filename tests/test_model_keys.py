"""models: what is a key, where it is sent, and that it is written nowhere."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path

import pytest

import model_server as ms
from model_asking import ask, opened
from model_server import Fault, ModelServer, model_config, status
from speedrun import files
from speedrun.adapters.models import EndpointError
from speedrun.adapters.models import spec as model_spec

pytestmark = pytest.mark.usefixtures("key")


def test_a_key_in_place_of_its_name_is_not_shown() -> None:
    with pytest.raises(files.SpeedrunError, match="never a key itself") as caught:
        model_spec.read(model_config("http://h/v1", api_key_env="gsk_0abc"), {})
    assert "gsk_0abc" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-abc\ndef-and-more", "sk-é-and-more", "two words"])
def test_what_no_header_can_hold_is_no_key(
    tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(ms.KEY_VARIABLE, key)
    with pytest.raises(files.SpeedrunError, match="holds what no key does") as caught:
        ask(opened(server, tmp_path))
    assert key not in str(caught.value) and server.requests == []


@pytest.mark.parametrize("key", ["x", None])
def test_a_made_up_key_is_not_cut_out_of_replies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.setenv(ms.KEY_VARIABLE, key or "")
    with ModelServer("an extra: no-key") as server:
        config = {} if key else {"api_key_env": None}
        assert ask(opened(server, tmp_path, **config)).text == "an extra: no-key"


def test_a_local_server_needs_no_key(tmp_path: Path, server: ModelServer) -> None:
    assert ask(opened(server, tmp_path, api_key_env=None)).text == "hello"


def _shown(error: BaseException | None) -> str:
    """Return all that a traceback of an exception could show."""
    if error is None:
        return ""
    whole = "".join(traceback.format_exception(error)) + repr(error) + repr(error.__dict__)
    return whole + _shown(error.__cause__) + _shown(error.__context__)


def test_what_the_sdk_reads_from_the_environment_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "another-secret")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "another-secret")
    monkeypatch.setenv("OPENAI_ORG_ID", "another-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "another-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X: another-secret\nAuthorization: another-secret")
    with ModelServer() as server:
        ask(opened(server, tmp_path))
        headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {ms.KEY}"
    assert "another-secret" not in str(headers)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with ModelServer() as other, ModelServer() as server:
        server._fault_of = lambda *_: Fault(307, {"Location": f"{other.url}/chat/completions"})
        with pytest.raises(EndpointError, match="check base_url") as caught:
            ask(opened(server, tmp_path))
        assert (caught.value.status, len(server.requests), other.requests) == (307, 1, [])


ECHOES = {
    "401": (status(401, echo_key=True), EndpointError),
    "400": (status(400, echo_key=True), EndpointError),
    "429": (status(429, echo_key=True), EndpointError),
    "500": (status(500, echo_key=True), EndpointError),
    "page": (Fault(200, echo_key=True), EndpointError),
    "reply": (Fault(content=f"your key is {ms.KEY}"), None),
    "refusal": (Fault(content={"refusal": f"{ms.KEY}?"}), None),
    "filter": (
        Fault(400, body=json.dumps({"error": {"message": ms.KEY, "code": "content_filter"}})),
        None,
    ),
}


@pytest.mark.parametrize("name", ECHOES)
def test_the_key_is_written_nowhere(
    tmp_path: Path,
    name: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    fault, raised = ECHOES[name]
    error, said = None, ""
    with ModelServer(fault_of=lambda *_: fault) as server:
        model = opened(server, tmp_path, max_retries=1)
        try:
            reply = ask(model)
            said = repr(reply)
        except files.SpeedrunError as caught:
            error = caught
        assert server.requests[0].headers["authorization"].endswith(ms.KEY)
    assert (type(error) if error else None) is raised
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 0
    assert not [content for content in written if ms.KEY.encode() in content]
    logged = "".join(f"{record.getMessage()}{record.args}" for record in caplog.records)
    out = capfd.readouterr()
    for text in (_shown(error), said, logged, caplog.text, out.out, out.err, repr(model.spec)):
        assert ms.KEY not in text
