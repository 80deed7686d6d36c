"""The labels: every row checked, two readers' agreement, and what was published beside them."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import math
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from speedrun import classification, registry
from speedrun.classification import COLUMNS, FIELDS, WORDS, Label
from speedrun.files import SpeedrunError
from speedrun.stages import history
from speedrun.stages.history import agreement, analysis, noise, order, published
from speedrun.stages.history import steps as chain

GOOD = {
    "record": "2",
    "depth": "shallow",
    "provenance": "imported",
    "kind": "library",
    "adopted_by": "",
    "adopted_source": "",
    "evidence": "the diff",
    "confidence": "high",
    "resolved": "",
}
ADOPTED = {
    "depth": "breakthrough",
    "adopted_by": "someone",
    "adopted_source": "https://a ; https://b",
}


def as_csv(rows: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([row[name] for name in columns] for row in rows)
    return text.getvalue()


def load(folder: Path, text: str | bytes, numbers: tuple[int, ...] = (2, 3)) -> dict[int, Label]:
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return classification.load(path, numbers)


@pytest.fixture(scope="module")
def found(repository: Path) -> analysis.History:
    track = repository / "tracks/nanogpt"
    return history.load(registry.load(track / "registry.yaml"), track / "classification")


def test_rows_are_read_in_the_records_order(tmp_path: Path) -> None:
    labels = load(tmp_path, as_csv([GOOD | {"record": "3"} | ADOPTED, GOOD]))
    assert list(labels) == [2, 3] and labels[3].adopted_by == "someone"
    plain = tuple(name for name in COLUMNS if name != "resolved")
    assert load(tmp_path, as_csv([GOOD], plain), (2,))[2].resolved == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": "Deep"}, "depth 'Deep' is none of shallow"),
        ({"kind": "data\nx"}, r"kind 'data\\nx' is none of"),
        ({"record": "90"}, "record 90 is no step"),
        ({"record": "2"}, "record 2 stands twice"),
        ({"record": "\u0663"}, "is no record number"),
        ({"record": "9" * 5000}, "is no record number"),
        ({"evidence": " "}, "evidence is empty"),
        (ADOPTED | {"adopted_source": ""}, "a breakthrough needs"),
        (ADOPTED | {"adopted_by": " "}, "a breakthrough needs"),
        (ADOPTED | {"adopted_source": "https://a ; a paper"}, "a breakthrough needs"),
    ],
)
def test_a_wrong_row_is_one_line_that_names_it(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    with pytest.raises(SpeedrunError, match=message) as raised:
        load(tmp_path, as_csv([GOOD, GOOD | {"record": "3"} | change]))
    said = str(raised.value)
    assert " line " in said and "\n" not in said and len(said) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 'record' is unknown, doubled or missing"),
        (as_csv([GOOD], (*COLUMNS, "depth")), "column 'depth'"),
        (as_csv([GOOD]), "has no row for record 3"),
        (as_csv([GOOD]) + "3,shallow\n", "2 cells, not 9"),
        (as_csv([GOOD]) + '"3,shal', "is no CSV in UTF-8"),
        (as_csv([GOOD]).encode() + b"\xff\xfe", "is no CSV in UTF-8"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(SpeedrunError, match=message):
        load(tmp_path, text)


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpeedrunError, match="is missing"):
        classification.load(tmp_path / "labels.csv", (2,))


@given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda t: as_csv([]) + t)))
def test_no_bytes_raise_anything_but_our_error(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    with pytest.raises(SpeedrunError):
        load(tmp_path_factory.mktemp("labels"), raw)


words = {name: st.sampled_from(known) for name, known in WORDS.items() if name != "depth"}
rows = st.fixed_dictionaries(
    words
    | {"depth": st.sampled_from(classification.DEPTHS[:3])}
    | {"evidence": st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)}
)


@given(rows)
def test_every_good_row_comes_back(
    tmp_path_factory: pytest.TempPathFactory, given_row: dict[str, str]
) -> None:
    row = GOOD | given_row
    label = load(tmp_path_factory.mktemp("labels"), as_csv([row]), (2,))[2]
    assert dataclasses.asdict(label) == row | {"record": 2}


def test_the_repositorys_labels_and_passes_are_complete(found: analysis.History) -> None:
    assert list(found.labels) == [*range(2, 90)] == [*found.passes[0]] == [*found.passes[1]]
    differ = list(agreement.differences(*found.passes, found.labels))
    assert differ and all(one.settled in (one.first, one.second) and one.why for one in differ)


def kappa(one: list[str], other: list[str], known: tuple[str, ...], linear: bool) -> float:
    """Cohen 1968, by its definition: 1 - observed over expected disagreement."""
    place = {word: i for i, word in enumerate(known)}

    def cost(a: str, b: str) -> float:
        return abs(place[a] - place[b]) if linear else float(a != b)

    observed = sum(map(cost, one, other)) / len(one)
    left, right = Counter(one), Counter(other)
    pairs = itertools.product(known, known)
    expected = sum(left[a] * right[b] * cost(a, b) for a, b in pairs) / len(one) ** 2
    return 1 - observed / expected


def test_agreement_is_cohens_kappa(found: analysis.History) -> None:
    for made, field in zip(found.agreement, FIELDS, strict=True):
        one, other = ([getattr(label, field) for label in p.values()] for p in found.passes)
        assert made.same == sum(map(str.__eq__, one, other))
        assert made.kappa == pytest.approx(kappa(one, other, WORDS[field], linear=False))
        if field in agreement.WEIGHTED:
            assert made.weighted == pytest.approx(kappa(one, other, WORDS[field], linear=True))


def test_agreement_on_one_word_alone_has_no_kappa() -> None:
    label = Label(2, "deep", "adapted", "data", "", "", "x", "low")
    made = agreement.agreement({2: label}, {2: label})
    assert [(one.raw, one.kappa, one.weighted) for one in made] == [(1.0, None, None)] * 3


def test_published_figures_beside_ours(found: analysis.History, repository: Path) -> None:
    """Ours of the same 77 records, from the labels as they lie there."""
    text = (repository / "tracks/nanogpt/classification/labels.csv").read_text(encoding="utf-8")
    labels = {int(row["record"]): row for row in csv.DictReader(io.StringIO(text))}
    gains = {
        step.number: step.start.time_minutes / step.target.time_minutes for step in found.steps
    }

    def factor(field: str, *words: str) -> float:
        return math.prod(gains[n] for n in range(2, 78) if labels[n][field] in words)

    ours = {one.figure.key: one.ours for one in found.compared}
    assert ours["shallow_and_moderate"] == pytest.approx(factor("depth", "shallow", "moderate"))
    for word in classification.PROVENANCES:
        assert ours[word] == pytest.approx(factor("provenance", word))
    since = [n for n in range(2, 78) if found.registry.record(f"r{n:02d}").date > "2024-12-31"]
    share = sum(labels[n]["provenance"] == "invented" for n in since) / len(since)
    assert ours["invented_since_2025_percent"] == pytest.approx(100 * share)
    assert (ours["records"], ours["ai_credited"], ours["last_minutes"]) == (77, 4, 1.435)


def test_a_published_figure_agrees_to_its_printed_digit(found: analysis.History) -> None:
    figure = published.Figure("product", 32.16, 0.5, "ours", "", "")
    compared = [published.Compared(figure, ours, 0, (30, 33)) for ours in (32.6, 32.7)]
    assert [one.verdict for one in compared] == ["agrees", "within label noise"]
    assert published.Compared(figure, 34.0, 0, (33, 35)).verdict == "differs"
    verdicts = {one.figure.key: one.verdict for one in found.compared}
    for key in ("first_over_last", "product", "shallow_and_moderate", "ai_credited"):
        assert verdicts[key] == "agrees"
    assert all(one.figure.why for one in found.compared if one.verdict != "agrees")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"word": "shalow"}, "is no word of the rubric"),
        ({"status": "rumour"}, "status 'rumour' is none of"),
        ({"record": "3"}, "record: expected int"),
    ],
)
def test_a_wrong_published_label_is_one_line(
    repository: Path, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    path = repository / "tracks/nanogpt/classification/published.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    values["labels"][0] |= change
    (tmp_path / "published.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(SpeedrunError, match=message):
        published.load(tmp_path / "published.yaml")


def test_observed_flips_are_as_rare_as_the_page_says(found: analysis.History) -> None:
    rates = [found.rates[field, "observed"] for field in FIELDS]
    sure = [one[word] for one in rates for word in ("high", "medium")]
    assert min(sure) > 0.015 and max(sure) < 0.065
    assert [round(100 * f(one["low"] for one in rates)) for f in (min, max)] == [14, 23]


def test_flips_keep_to_the_scale_and_never_make_a_breakthrough(found: analysis.History) -> None:
    chances = noise.transitions(found.steps, "depth", {"high": 0.1, "medium": 0.2, "low": 0.4})
    assert chances.sum(axis=1) == pytest.approx(1)
    muon, shallow = chances[1], chances[0]
    assert muon == pytest.approx([0, 0, 0.2, 0.8]) and shallow == pytest.approx([0.9, 0.1, 0, 0])
    deep = next(i for i, step in enumerate(found.steps) if step.word("depth") == "deep")
    assert chances[deep][3] == 0
    still = noise.bands(found.steps, "kind", {"high": 0, "medium": 0, "low": 0})
    assert all(band.low == band.high for band in still.values())


@given(st.lists(st.booleans(), min_size=2, max_size=7))
def test_places_are_tested_exactly(found: analysis.History, deep: list[bool]) -> None:
    """Against all choices of k places, one by one."""
    plain, bold = (
        next(s for s in found.steps if s.word("depth") == word) for word in ("moderate", "deep")
    )
    mine = [bold if one else plain for one in deep]
    made = order.placement(mine)
    k, n = sum(deep), len(deep)
    if k in (0, n):
        assert made is None
        return
    sums = [sum(choice) for choice in itertools.combinations(range(1, n + 1), k)]
    own = sum(place for place, one in enumerate(deep, start=1) if one)
    assert made is not None and made.mean_place == pytest.approx(own / k)
    assert made.p_front == pytest.approx(sum(one <= own for one in sums) / len(sums))
    called = [one for one in sums if sum(other <= one for other in sums) / len(sums) <= 0.05]
    assert made.critical == pytest.approx(max(called, default=0) / k)
    assert chain.product(mine) == pytest.approx(math.prod(math.exp(s.ln_gain) for s in mine))
