"""What a call costs: the model's own prices, or those of the package genai-prices; never a guess.

genai-prices carries its data and asks the network only when told to, which is not done here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from speedrun.adapters.models.spec import ModelSpec, Prices
from speedrun.files import canonical_json

TOKENS_A_MESSAGE = 16  # what a provider's template adds, rounded up
COUNT_MOST = 10**12  # tokens of one call: more is no count


@dataclass(frozen=True)
class Tokens:
    """The provider's count of one call; None is what it did not report."""

    given: int | None = None
    cached: int | None = None  # of given
    out: int | None = None  # reasoning included
    reasoning: int | None = None  # of out


def tokens_of(usage: Any) -> Tokens:
    """Read a completion's usage as OpenAI, DeepSeek and Google's endpoint report it.

    Google's does not count reasoning among completion_tokens but in total_tokens alone, and is
    billed for as output: what the total has beyond prompt and completion is reasoning.
    """
    if not isinstance(usage, Mapping):
        return Tokens()
    given, out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    cached = _count(usage.get("prompt_tokens_details"), "cached_tokens")
    if cached is None:
        cached = _count(usage, "prompt_cache_hit_tokens")
    reasoning = _count(usage.get("completion_tokens_details"), "reasoning_tokens")
    if given is None or out is None:
        return Tokens(given, cached, out, reasoning)
    beyond = max(0, (_count(usage, "total_tokens") or 0) - given - out)
    return Tokens(given, cached, out + beyond, reasoning or beyond or reasoning)


def _count(usage: Any, key: str) -> int | None:
    value = usage.get(key) if isinstance(usage, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < COUNT_MOST:
        return None
    return value


def cost_usd(spec: ModelSpec, tokens: Tokens) -> float | None:
    """Return what a call costs; None when its tokens or its price are not known."""
    if tokens.given is None or tokens.out is None:
        return None
    cached = min(tokens.cached or 0, tokens.given)
    if spec.prices is not None:
        return _own(spec.prices, tokens.given, cached, tokens.out)
    return _packaged(spec.model, spec.seller, tokens.given, cached, tokens.out)


def _own(prices: Prices, given: int, cached: int, out: int) -> float:
    price_cached = prices.usd_per_million_cached
    if price_cached is None:
        price_cached = prices.usd_per_million_in
    fresh = (given - cached) * prices.usd_per_million_in
    return (fresh + cached * price_cached + out * prices.usd_per_million_out) / 1e6


def _packaged(model: str, provider: str, given: int, cached: int, out: int) -> float | None:
    """Ask genai-prices for exactly this provider: another one's price would be a guess."""
    import genai_prices

    usage = genai_prices.Usage(input_tokens=given, cache_read_tokens=cached, output_tokens=out)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it warns where it would leave something out
            found = genai_prices.calc_price(usage, model_ref=model, provider_id=provider)
    except (LookupError, ValueError, Warning):
        return None
    return float(found.total_price)


def price_source(spec: ModelSpec) -> str:
    """Return where a model's prices come from: "yaml", "genai-prices" or "unknown"."""
    if spec.prices is not None:
        return "yaml"
    return "unknown" if cost_usd(spec, Tokens(given=1, out=1)) is None else "genai-prices"


def worst_tokens(spec: ModelSpec, body: Mapping[str, Any]) -> Tokens:
    """Return the most tokens that a call can take; ``out`` is None where nothing bounds it.

    A token stands for a byte at least: digits and odd characters come close to that.
    """
    asked = {key: body[key] for key in ("messages", "tools", "response_format") if key in body}
    size = len(canonical_json(asked).encode("utf-8", "surrogatepass"))
    estimate = size + TOKENS_A_MESSAGE * len(body["messages"])
    given = min(estimate, spec.context_tokens or estimate)
    return Tokens(given=given, out=spec.output_bound)
