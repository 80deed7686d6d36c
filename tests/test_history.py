"""The history's tables against registry and labels, calculated here from the files alone."""

from __future__ import annotations

import csv
import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats as distributions

from speedrun import cli

Row = dict[str, Any]
FIELDS = ("depth", "provenance", "kind")
SCOPES = {"1-77": (2, 77), "78-89": (78, 89), "1-89": (2, 89)}
DOUBTED = {"high": 0.05, "medium": 0.20, "low": 0.50}
SCALES = {
    "depth": ["shallow", "moderate", "deep", "breakthrough"],
    "provenance": ["imported", "adapted", "invented"],
}


@pytest.fixture(scope="module")
def made(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the verb writes, from the repository's own files."""
    out = tmp_path_factory.mktemp("history")
    assert cli.main(["history", "--repository", str(repository), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def table(made: Path) -> Callable[[str], list[dict[str, str]]]:
    return lambda name: read(made / "tables" / f"{name}.csv")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def chain(repository: Path) -> list[Row]:
    """Every step as a plain row: the last time of a number to the first time of the next."""
    track = repository / "tracks/nanogpt"
    text = (track / "registry.yaml").read_text(encoding="utf-8")
    rows = yaml.load(text, Loader=yaml.BaseLoader)["records"]
    labels = {row["record"]: row for row in read(track / "classification/labels.csv")}
    numbers = sorted({int(row["number"]) for row in rows})
    timed = {n: [row for row in rows if int(row["number"]) == n] for n in numbers}
    steps = []
    for before, after in itertools.pairwise(numbers):
        start, target = timed[before][-1], timed[after][0]
        first, last = float(start["time_minutes"]), float(target["time_minutes"])
        steps.append(
            {
                "record": after,
                "first": first,
                "last": last,
                "gain": math.log(first) - math.log(last),
                "date": target["date"],
                "people": target.get("contributors") or ["(nobody named)"],
                "ai": target.get("ai_system", ""),
                **{field: labels[str(after)][field] for field in (*FIELDS, "confidence")},
            }
        )
    return steps


def within(chain: list[Row], scope: str) -> list[Row]:
    low, high = SCOPES[scope]
    return [step for step in chain if low <= step["record"] <= high]


def about(value: float) -> Any:
    return pytest.approx(value, rel=1e-5, abs=1e-9)


def half_year(step: Row) -> str:
    return step["date"][:4] + ("H1" if step["date"][5:7] < "07" else "H2")


def test_the_chain_has_88_steps_and_starts_again_after_a_new_timing(chain: list[Row]) -> None:
    assert len(chain) == 88
    assert [s["first"] for s in chain if s["record"] == 22] == [3.014]
    assert [s["last"] for s in chain if s["record"] == 21] == [2.933]


def test_steps(table: Callable[[str], list[dict[str, str]]], chain: list[Row]) -> None:
    total = 0.0
    for row, step in zip(table("steps"), chain, strict=True):
        total += step["gain"]
        assert (int(row["record"]), row["date"]) == (step["record"], step["date"])
        assert float(row["gain_percent"]) == about(100 * (1 - step["last"] / step["first"]))
        assert float(row["speedup"]) == about(math.exp(total))
        assert [row[field] for field in FIELDS] == [step[field] for field in FIELDS]
        assert row["contributors"].split("; ") == step["people"]
        assert row["ai_system"] == step["ai"]


def test_shares(table: Callable[[str], list[dict[str, str]]], chain: list[Row]) -> None:
    rows = table("shares")
    for row in rows:
        mine = within(chain, row["scope"])
        word: Callable[[Row], str] = (
            half_year if row["field"] == "half_year" else lambda s, f=row["field"]: s[f]
        )
        gains = [step["gain"] for step in mine if word(step) == row["word"]]
        assert int(row["n"]) == len(gains)
        assert float(row["factor"]) == about(math.exp(sum(gains)))
        assert float(row["share"]) == about(sum(gains) / sum(s["gain"] for s in mine))
    for scope, field in itertools.product(SCOPES, (*FIELDS, "half_year")):
        shares = [float(r["share"]) for r in rows if (r["scope"], r["field"]) == (scope, field)]
        assert sum(shares) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("field", ["depth", "provenance"])
def test_label_noise_is_that_of_draws_of_our_own(
    table: Callable[[str], list[dict[str, str]]], chain: list[Row], field: str
) -> None:
    drawn, random_source, scale = defaultdict(list), random.Random(7), SCALES[field]
    whole = sum(step["gain"] for step in chain)
    for _ in range(4000):
        parts = dict.fromkeys(scale, 0.0)
        for step in chain:
            parts[flipped(step, field, scale, random_source)] += step["gain"] / whole
        for word, part in parts.items():
            drawn[word].append(part)
    for row in table("shares"):
        if (row["scope"], row["field"]) == ("1-89", field):
            low, high = np.quantile(drawn[row["word"]], [0.025, 0.975])
            assert float(row["doubted_low"]) == pytest.approx(low, abs=0.02)
            assert float(row["doubted_high"]) == pytest.approx(high, abs=0.02)


def flipped(step: Row, field: str, scale: list[str], random_source: random.Random) -> str:
    place = scale.index(step[field])
    if random_source.random() >= DOUBTED[step["confidence"]]:
        return scale[place]
    near = [scale[i] for i in (place - 1, place + 1) if 0 <= i < len(scale)]
    return random_source.choice([word for word in near if word != "breakthrough"])


def test_contributors(table: Callable[[str], list[dict[str, str]]], chain: list[Row]) -> None:
    for scope in SCOPES:
        parts: defaultdict[str, float] = defaultdict(float)
        for step in within(chain, scope):
            for person in step["people"]:
                parts[person] += step["gain"] / len(step["people"])
        rows = [row for row in table("contributors") if row["scope"] == scope]
        assert {row["word"]: float(row["ln_gain"]) for row in rows} == {
            name: about(part) for name, part in parts.items()
        }
        shares = [float(row["share"]) for row in rows]
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-4)


def test_half_years_and_years(
    table: Callable[[str], list[dict[str, str]]], chain: list[Row]
) -> None:
    whole = sum(step["gain"] for step in chain)
    for row in table("half_years"):
        mine = [s for s in chain if half_year(s) == row["half_year"] and s["depth"] == row["depth"]]
        assert int(row["n"]) == len(mine)
        assert float(row["share"]) == about(sum(s["gain"] for s in mine) / whole)
    for row in table("years"):
        year = [s for s in chain if s["date"].startswith(row["year"])]
        gains = [s["gain"] for s in year if s["kind"] == row["kind"]]
        assert (int(row["n"]), int(row["of"])) == (len(gains), len(year))
        assert float(row["share_of_year"]) == about(sum(gains) / sum(s["gain"] for s in year))


def test_totals_and_largest(table: Callable[[str], list[dict[str, str]]], chain: list[Row]) -> None:
    for row in table("totals"):
        mine = within(chain, row["scope"])
        assert float(row["first_over_last"]) == about(mine[0]["first"] / mine[-1]["last"])
        assert float(row["product"]) == about(math.prod(s["first"] / s["last"] for s in mine))
        retimed = 3.014 / 2.933 if mine[0]["record"] < 22 else 1.0
        assert float(row["retimed"]) == about(retimed)
    largest = sorted(chain, key=lambda s: s["last"] / s["first"])[:10]
    assert [int(row["record"]) for row in table("largest")] == [s["record"] for s in largest]


def choices(k: int, n: int) -> list[int]:
    """How many choices of k places out of 1..n have each sum, from 0 up."""
    ways = [[1, *[0] * (k * n)], *([0] * (k * n + 1) for _ in range(k))]
    for place, j in itertools.product(range(1, n + 1), range(k, 0, -1)):
        for total in range(place, k * n + 1):
            ways[j][total] += ways[j - 1][total - place]
    return ways[k]


def test_order_is_a_permutation_test_of_the_mean_place(
    table: Callable[[str], list[dict[str, str]]], chain: list[Row]
) -> None:
    """Against the count of all choices of k places."""
    for row in table("order"):
        since = [s for s in chain if s["date"] >= "2025"]
        mine = since if row["scope"] == "since 2025" else within(chain, row["scope"])
        deep = [i for i, s in enumerate(mine, 1) if s["depth"] in ("deep", "breakthrough")]
        ways = choices(len(deep), len(mine))
        low = [part / sum(ways) for part in itertools.accumulate(ways)]
        assert float(row["mean_place"]) == about(sum(deep) / len(deep))
        assert float(row["p_front"]) == about(low[sum(deep)])
        both = 2 * min(low[sum(deep)], 1 - low[sum(deep) - 1])
        assert float(row["p_two_sided"]) == about(min(1, both))
        called = max((s for s, p in enumerate(low) if 0 < p <= 0.05), default=0)
        assert float(row["critical"]) == about(called / len(deep))
        assert float(row["p_front_low"]) <= low[sum(deep)] <= float(row["p_front_high"])
        rank = distributions.spearmanr(range(len(mine)), [s["gain"] for s in mine])
        assert float(row["trend_rho"]) == about(rank.statistic)


def test_ai(table: Callable[[str], list[dict[str, str]]], chain: list[Row]) -> None:
    credited = [step for step in chain if step["ai"]]
    assert [step["record"] for step in credited] == [32, 60, 69, 72, 87]
    whole = sum(step["gain"] for step in chain)
    for row, step in zip(table("ai"), credited, strict=True):
        assert (row["ai_system"], row["depth"]) == (step["ai"], step["depth"])
        assert float(row["share"]) == about(step["gain"] / whole)
