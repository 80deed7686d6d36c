"""models: what a reply costs, what is not known of it, and the worst case of a question."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_asking import USAGE, ask, opened
from model_server import ModelServer, model_config
from speedrun.adapters.models import prices
from speedrun.adapters.models import spec as model_spec

pytestmark = pytest.mark.usefixtures("key")


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
