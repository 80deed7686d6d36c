"""models: questions, replies, prices, the store and the limits, against a local endpoint."""

from __future__ import annotations

import json
import multiprocessing
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import model_server as ms
from model_server import ModelServer, model_config
from speedrun import files
from speedrun.adapters import hydra_config, models
from speedrun.adapters.ledger import BudgetExceeded, Ledger, Spent
from speedrun.adapters.models import CallKey, Model, Reply, prices, slots
from speedrun.adapters.models import spec as model_spec

OWNER = "micro/r01-r02/direct-12345678/s0"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ms.KEY_VARIABLE, ms.KEY)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as started:
        yield started


def opened(server: ModelServer, store: Path, budget: Any = None, **changes: Any) -> Model:
    operation = {"sweep": "grid", "budget": budget or {}}
    return models.open_model(model_config(server.url, **changes), operation, OWNER, store)


def ask(model: Model, prompt: str = "hi", **key: Any) -> Reply:
    where = {"seed": 0, "node": 1, "turn": 0} | key
    return model.ask([{"role": "user", "content": prompt}], CallKey(**where))


USAGE = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}


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


# ---- prices


def test_cached_tokens_cost_full_price_where_no_other_is_given(tmp_path: Path) -> None:
    usage = USAGE | {"prompt_cache_hit_tokens": 500}
    with ModelServer(usage=usage) as server:
        call = ask(opened(server, tmp_path)).call
    assert (call.tokens_cached, call.cost_usd) == (500, pytest.approx(0.004))


def test_reasoning_that_the_total_alone_tells_is_paid_for(tmp_path: Path) -> None:
    with ModelServer(usage=USAGE | {"total_tokens": 1500}) as server:
        call = ask(opened(server, tmp_path)).call
    assert (call.tokens_out, call.tokens_reasoning) == (500, 300)
    assert call.cost_usd == pytest.approx((1000 * 2 + 500 * 10) / 1e6)


HUGE_COUNT = {"prompt_tokens": 10**30, "completion_tokens": 10**30}


@pytest.mark.parametrize(
    "usage", [{}, {"prompt_tokens": 5}, {"prompt_tokens": "many"}, [1], HUGE_COUNT]
)
def test_what_is_not_reported_stays_unknown(tmp_path: Path, usage: Any) -> None:
    with ModelServer(usage=usage) as server:
        model = opened(server, tmp_path)
        call = ask(model).call
    assert (call.tokens_out, call.cost_usd) == (None, None)
    spent = model.ledger.spent()
    assert spent.unknown_cost_calls == 1
    assert spent.tokens > 100  # the worst case: the prompt and max_tokens
    assert spent.usd > 100 * 10 / 1e6


def test_a_published_price_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("prices must not ask the network")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    spec = model_spec.read(
        model_config("https://api.openai.com/v1", model="o3-mini", provider="openai", prices=None),
        {},
    )
    tokens = prices.Tokens(given=1000, cached=400, out=200)
    published = (600 * 1.10 + 400 * 0.55 + 200 * 4.40) / 1e6  # USD, OpenAI's list, 2025
    assert prices.cost_usd(spec, tokens) == pytest.approx(published)
    assert prices.price_source(spec) == "genai-prices"


@pytest.mark.parametrize("provider", ["", "somewhere"])
def test_another_providers_price_is_no_price(provider: str) -> None:
    config = model_config("http://127.0.0.1:1/v1", model="o3-mini", provider=provider, prices=None)
    spec = model_spec.read(config, {})
    assert prices.cost_usd(spec, prices.Tokens(given=1, out=1)) is None
    assert prices.price_source(spec) == "unknown"


def test_the_models_own_price_wins() -> None:
    own = {"usd_per_million_in": 0, "usd_per_million_out": 7}
    config = model_config("http://h/v1", model="o3-mini", provider="openai", prices=own)
    spec = model_spec.read(config, {})
    assert prices.cost_usd(spec, prices.Tokens(given=10**6, out=10**6)) == pytest.approx(7.0)
    assert prices.price_source(spec) == "yaml"


def test_no_text_of_ours_has_more_tokens_than_its_worst_case(repository: Path) -> None:
    """Against GPT-2's tokens, which are shorter than those of any model since."""
    from speedrun.stages.tokenize import gpt2

    spec = model_spec.read(model_config("http://h/v1"), {})
    texts = [*repository.glob("src/speedrun/**/*.py"), *repository.glob("docs/*.md")]
    texts += repository.glob("tracks/*/records/**/*.py")
    assert len(texts) > 50
    for path in texts:
        text = path.read_text(encoding="utf-8")
        worst = prices.worst_tokens(spec, {"messages": [{"role": "user", "content": text}]})
        assert worst.given is not None and len(gpt2.reference_tokens(text)) < worst.given, path
        assert worst.out == 100


@given(st.text(max_size=300))
def test_a_worst_case_holds_where_every_byte_is_a_token(text: str) -> None:
    spec = model_spec.read(model_config("http://h/v1"), {})
    worst = prices.worst_tokens(spec, {"messages": [{"role": "user", "content": text}]})
    assert worst.given is not None and worst.given > len(text.encode("utf-8", "replace"))


# ---- the store


def test_nothing_is_sent_where_no_reply_would_find_room(
    tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speedrun.adapters.models.model.ROOM_BYTES", 2**60)
    with pytest.raises(files.SpeedrunError, match=r"the reply store: .* free some space"):
        ask(opened(server, tmp_path))
    assert server.requests == []
    assert opened(server, tmp_path).ledger.spent().usd == 0


def test_a_reply_is_paid_once(tmp_path: Path, server: ModelServer) -> None:
    first = ask(opened(server, tmp_path))
    again = ask(opened(server, tmp_path))
    assert (again.text, again.finish_reason) == (first.text, first.finish_reason)
    assert (first.call.stored, again.call.stored) == (False, True)
    assert again.call.cost_usd == first.call.cost_usd
    assert again.call.seconds == first.call.seconds
    assert len(server.requests) == 1
    spent = opened(server, tmp_path).ledger.spent(sweep="grid", owner=OWNER)
    assert spent.usd == pytest.approx(first.call.cost_usd)
    assert (spent.reserved_usd, spent.lost_calls) == (0, 0)


def test_a_stored_reply_needs_neither_server_nor_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ModelServer() as server:
        ask(opened(server, tmp_path))
    monkeypatch.delenv(ms.KEY_VARIABLE)
    assert ask(opened(server, tmp_path, base_url="http://127.0.0.1:9/v1")).call.stored


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"node": 2},
        {"turn": 1},
        {"purpose": "preflight"},
        {"vote": 1},
        {"prompt": "hi!"},
        {"temperature": 0.5},
        {"model": "m2"},
        {"extra_body": {"x": 1}},
    ],
)
def test_another_sample_is_asked_for_anew(
    tmp_path: Path, server: ModelServer, other: dict[str, Any]
) -> None:
    ask(opened(server, tmp_path))
    model = {key: other[key] for key in ("temperature", "model", "extra_body") if key in other}
    question = {key: other[key] for key in other if key not in model}
    assert not ask(opened(server, tmp_path, **model), **question).call.stored
    assert len(server.requests) == 2


def test_another_trial_is_an_independent_sample(tmp_path: Path, server: ModelServer) -> None:
    ask(opened(server, tmp_path))
    other = models.open_model(model_config(server.url), {}, "another trial", tmp_path)
    assert not ask(other).call.stored


def test_how_the_model_is_reached_asks_nothing_again(tmp_path: Path, server: ModelServer) -> None:
    ask(opened(server, tmp_path))
    changed = {"timeout_s": 9.0, "max_retries": 1, "provider": "else", "note": "x"}
    changed |= {"prices": None, "release_date": "2025-01-01", "concurrency": 2}
    changed |= {"max_tokens_field": "max_completion_tokens"}
    assert ask(opened(server, tmp_path, **changed)).call.stored


def test_operational_keys_come_from_the_sweep(tmp_path: Path, server: ModelServer) -> None:
    config = model_config(server.url)
    arm = {key: config[key] for key in ("name", "kind", "model", "max_tokens")}
    rest = {key: value for key, value in config.items() if key not in arm}
    operation = {"sweep": "grid", "budget": {}, "models": {"m": rest}}
    reply = ask(models.open_model(arm, operation, OWNER, tmp_path))
    assert reply.call.cost_usd is not None
    assert ask(models.open_model(config, {}, OWNER, tmp_path)).call.stored


def test_two_processes_that_ask_the_same_pay_once(tmp_path: Path) -> None:
    with ModelServer(latency_s=0.3) as server:
        context = multiprocessing.get_context("fork")
        asking = [context.Process(target=ask, args=(opened(server, tmp_path),)) for _ in range(4)]
        for process in asking:
            process.start()
        for process in asking:
            process.join()
        assert [process.exitcode for process in asking] == [0] * 4
        assert len(server.requests) == 1
    assert list(tmp_path.rglob("*.lock")) == []


def test_a_reply_that_was_stored_but_not_settled_is_settled(
    tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(server, tmp_path)
    monkeypatch.setattr(model, "_settle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ask(model)
    assert model.ledger.spent().reserved_usd > 0
    reply = ask(opened(server, tmp_path))
    assert reply.call.stored
    spent = model.ledger.spent()
    assert (spent.reserved_usd, spent.lost_calls) == (0, 0)
    assert spent.usd == pytest.approx(reply.call.cost_usd)


# ---- budgets


def test_a_call_that_could_pass_the_cap_is_not_made(tmp_path: Path, server: ModelServer) -> None:
    budget = {"trial": {"usd": 0.0005, "tokens": None}, "sweep": {"usd": None}}
    with pytest.raises(BudgetExceeded, match=r"budget\.trial\.usd = 0\.0005 of trial micro/"):
        ask(opened(server, tmp_path, budget))
    assert server.requests == []
    assert opened(server, tmp_path).ledger.spent() == Spent(0.0, 0, 0.0, 0, 0, 0.0)


def test_work_goes_on_until_the_cap(tmp_path: Path, server: ModelServer) -> None:
    model = opened(server, tmp_path, {"sweep": {"tokens": 400}})
    with pytest.raises(BudgetExceeded, match=r"budget\.sweep\.tokens=800"):
        for node in range(100):
            ask(model, node=node)
    assert 3 < len(server.requests) < 100
    assert model.ledger.spent(sweep="grid").tokens <= 400
    assert ask(model, node=0).call.stored  # what is paid for is there at the cap, too


@pytest.mark.parametrize("budget", [{"trial": {"usd": 1}}, {"sweep": {"usd": 1}}])
def test_an_unknown_price_under_a_cap_is_an_error_before_the_call(
    tmp_path: Path, server: ModelServer, budget: dict[str, Any]
) -> None:
    with pytest.raises(files.SpeedrunError, match=r"is not known: give the model prices"):
        ask(opened(server, tmp_path, budget, prices=None))
    assert server.requests == []
    reply = ask(opened(server, tmp_path, prices=None))
    assert reply.call.cost_usd is None
    assert opened(server, tmp_path).ledger.spent().unknown_cost_calls == 1


def test_a_reply_without_a_bound_needs_one_under_a_cap(tmp_path: Path, server: ModelServer) -> None:
    budget = {"trial": {"tokens": 1000}}
    with pytest.raises(files.SpeedrunError, match="max_tokens"):
        ask(opened(server, tmp_path, budget, max_tokens=None))
    ask(opened(server, tmp_path, budget, max_tokens=None, max_output_tokens=500))
    assert "max_tokens" not in server.requests[0].body


# ---- the provider's limit


def _ask_node(model: Model, node: int) -> None:
    ask(model, node=node)


@pytest.mark.slow
def test_the_providers_limit_holds_over_processes(tmp_path: Path) -> None:
    with ModelServer(latency_s=0.05) as server:
        context = multiprocessing.get_context("fork")
        asking = [
            context.Process(
                target=_ask_node, args=(opened(server, tmp_path, concurrency=2), number)
            )
            for number in range(8)
        ]
        for process in asking:
            process.start()
        for process in asking:
            process.join()
        assert len(server.requests) == 8
        assert server.busiest == 2


def test_without_a_limit_calls_go_side_by_side(tmp_path: Path) -> None:
    together = threading.Barrier(4, timeout=20)

    def reply(body: dict[str, Any]) -> str:
        together.wait()
        return "all here"

    with ModelServer(reply) as server:
        model = opened(server, tmp_path)
        threads = [threading.Thread(target=_ask_node, args=(model, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.answered) == 4


def _hold(folder: Path, ready: Any) -> None:
    with slots.slot(folder, "p/q", 1):
        ready.set()
        time.sleep(600)


def test_a_killed_process_frees_its_slot(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(30)
    holder.kill()
    holder.join()
    with slots.slot(tmp_path, "p/q", 1):
        assert [path.name for path in (tmp_path / "p_q").iterdir()] == ["0.lock"]


# ---- the judge


def test_a_judge_spends_the_sweeps_money_and_no_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speedrun.cli import sweep
    from speedrun.stages.judge import Case

    monkeypatch.chdir(tmp_path)
    with ModelServer("marks") as server:
        config = model_config(server.url)
        arm = {key: config[key] for key in ("name", "kind", "model", "max_tokens")}
        plan = SimpleNamespace(
            judge={"kind": "model", "model": arm}, track=SimpleNamespace(name="micro")
        )
        budget = {"trial": {"usd": 0.0}, "sweep": {"usd": 1.0}}
        operation = {"sweep": "grid", "budget": budget, "models": {"m": config}}
        judge = sweep.make_judge(plan, Path("replies"), operation, "r01-r02")  # type: ignore[arg-type]
        answer = judge(Case("r01-r02", "d", "who did what?"))
        assert (answer.text, answer.source) == ("marks", "m")
        assert answer.tokens_in and answer.tokens_out
        judge(Case("r01-r02", "d", "who did what?"))
        assert len(server.requests) == 1
    spent = Ledger(Path("store/ledger.db")).spent(sweep="grid", owner="judge/micro/r01-r02")
    assert spent.usd > 0


# ---- configuration


def test_bad_configuration_fails_before_any_call(
    tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(files.SpeedrunError, match="'none' cannot answer prompts"):
        models.open_model({"name": "none", "kind": "none"}, {}, OWNER, tmp_path)
    with pytest.raises(files.SpeedrunError, match=r"m\.yaml: .*colour"):
        opened(server, tmp_path, colour="red")
    with pytest.raises(files.SpeedrunError, match=r"m\.yaml: .*max_tokens"):
        opened(server, tmp_path, max_tokens="many")
    with pytest.raises(files.SpeedrunError, match="base_url must be the root"):
        opened(server, tmp_path, base_url="localhost:8000")
    with pytest.raises(files.SpeedrunError, match="keys are given by api_key_env") as caught:
        opened(server, tmp_path, base_url=f"http://me:{ms.KEY}@h/v1")
    assert ms.KEY not in str(caught.value)
    monkeypatch.delenv(ms.KEY_VARIABLE)
    with pytest.raises(files.SpeedrunError, match=f"{ms.KEY_VARIABLE} is not set"):
        ask(opened(server, tmp_path))
    assert server.requests == []


BAD_VALUES = [
    {"concurrency": 0},  # would wait for a slot for ever
    {"timeout_s": 0},
    {"timeout_s": float("nan")},
    {"backoff_s": -1},
    {"max_retries": -1},
    {"max_tokens": 0},
    {"max_tokens_field": "model"},
    {"prices": {"usd_per_million_in": -1, "usd_per_million_out": 1}},
    {"prices": {"usd_per_million_in": 1, "usd_per_million_out": float("inf")}},
    {"base_url": "http://[h/v1"},
    {"base_url": "http://h:99999/v1"},
    {"base_url": "http://h /v1"},
    {"extra_body": [1]},
    {"extra_body": {"stream": True}},
    {"extra_body": {"n": 4}},
    {"extra_body": {"max_tokens": 10**6}},  # the ledger knows of another bound
]


@pytest.mark.parametrize("values", BAD_VALUES, ids=str)
def test_a_value_that_no_call_could_work_with_is_named(values: dict[str, Any]) -> None:
    name = "usd_per_million" if "prices" in values else next(iter(values))
    with pytest.raises(files.SpeedrunError, match=rf"m\.yaml: {name}") as caught:
        model_spec.read(model_config("http://h/v1", **values), {})
    assert "\n" not in str(caught.value)


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


def test_every_shipped_model_is_complete(repository: Path) -> None:
    folder = repository / "config"
    names = {path.stem for path in (folder / "model").glob("*.yaml")}
    assert {"o3_mini", "deepseek_r1", "gemini_2_5_pro", "claude_3_7_sonnet"} < names
    for name in sorted(names - {"none", "openai_compatible"}):
        spec = model_spec.read(hydra_config.option(folder, "model", name), {})
        assert spec.name == name
        assert prices.price_source(spec) != "unknown", name
        assert spec.max_tokens and spec.output_bound, name
        assert "not verified" in spec.note


def test_the_template_names_every_field(repository: Path) -> None:
    shown = yaml.safe_load((repository / "config/model/openai_compatible.yaml").read_text())
    assert set(shown) == set(model_spec.ModelSpec.__dataclass_fields__)


def test_store_records_are_plain_json(tmp_path: Path, server: ModelServer) -> None:
    ask(opened(server, tmp_path), seed=3, node=4)
    (path,) = (tmp_path / "replies").rglob("*.json")
    record = json.loads(path.read_text())
    assert path.parent.name == path.stem[:2]
    assert record["key"] == {"seed": 3, "node": 4, "turn": 0, "purpose": "node", "vote": 0}
    assert record["raw"]["choices"][0]["message"]["content"] == "hello"
    assert (record["owner"], record["sweep"]) == (OWNER, "grid")
