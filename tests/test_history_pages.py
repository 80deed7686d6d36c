"""The generated pages: byte for byte from their inputs, links that lead somewhere, figures."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedrun import cli, files, registry
from speedrun.files import SpeedrunError
from speedrun.stages import history
from speedrun.stages.history import markdown, page, summary, tables

LINK = re.compile(r"\]\(([^)#\s]+)\)")
NAMES = ("history.md", "records", "figures")


@pytest.fixture(scope="module")
def made(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `speedrun history --docs` makes of a copy of docs/."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("tracks", "hints", "config"):
        (root / name).symlink_to(repository / name)
    (root / "docs").mkdir()
    shutil.copy(repository / "docs/history.md", root / "docs")
    assert cli.main(["history", "--repository", str(root), "--docs"]) == 0
    return root / "docs"


def test_the_pages_of_docs_are_what_the_verb_makes(made: Path, repository: Path) -> None:
    """Else run `speedrun history --docs`."""
    paths = files.tree_files(made)
    assert len(paths) == 1 + 90 + 5
    for path in paths:
        assert (made / path).read_bytes() == (repository / "docs" / path).read_bytes(), path


def test_the_headlines_follow_the_numbers(repository: Path) -> None:
    """Rows that say the opposite make the sentences say it."""
    track = repository / "tracks/nanogpt"
    known = history.load(registry.load(track / "registry.yaml"), track / "classification")
    rows = {name: make(known) for name, make in tables.TABLES.items()}
    swapped = {"shallow": "deep", "deep": "shallow", "imported": "invented", "invented": "imported"}
    swapped |= {"moderate": "breakthrough", "breakthrough": "moderate"}
    other = rows | {
        "shares": [row | {"word": swapped.get(row["word"], row["word"])} for row in rows["shares"]],
        "steps": [row | {"depth": "shallow"} for row in rows["steps"]],
        "order": [row | {"p_front": 0.01, "trend_rho": 0.5} for row in rows["order"]],
    }
    said, turned = summary.short(rows), summary.short(other)
    for now, then in (
        ("**Most of it was not deep**", "**Deep steps brought most of it**"),
        ("**Most ideas were known before**", "**Most ideas were known before**"),
        ("**Deep ideas are not shown to be early ones**", "**Deep ideas came early**"),
        ("Gains shrank with time", "Gains did not shrink with time"),
    ):
        assert now in said
        assert then in turned
    assert "(number 3)" in said and "number" not in turned.splitlines()[1]


def test_no_page_of_docs_is_left_over(made: Path, repository: Path) -> None:
    for folder in ("records", "figures"):
        kept = {path.name for path in (repository / "docs" / folder).iterdir()}
        left = kept - {path.name for path in (made / folder).iterdir()}
        assert not {name for name in left if folder == "records" or name.startswith("history-")}


def test_every_local_link_leads_to_a_file(repository: Path) -> None:
    pages = [repository / "docs/history.md", *(repository / "docs/records").glob("*.md")]
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text("utf-8"))]
    local = [(page, link) for page, link in links if "://" not in link]
    assert len(local) > 300
    for one, link in local:
        assert (one.parent / link).exists(), (one.name, link)


def test_a_record_page_says_what_the_issue_asks_for(repository: Path) -> None:
    text = (repository / "docs/records/r58.md").read_text(encoding="utf-8")
    assert "1.878 → 1.82" in text and "3.09 % of the time" in text
    assert "**deep**" in text and "**invented**" in text and "**architecture**" in text
    assert "https://github.com/KellerJordan/modded-nanogpt/pull/191" in text
    hint = (repository / "hints/nanogpt/r57-r58/l2_description.md").read_text(encoding="utf-8")
    assert text.endswith(
        "\n## The change in words\n\nThe hint of level 2 for the task r57-r58.\n\n##" + hint
    )
    retimed = (repository / "docs/records/r22.md").read_text(encoding="utf-8")
    assert "3.014" in retimed and "2.933" not in retimed
    assert "3.014 minutes" in (repository / "docs/records/r21.md").read_text(encoding="utf-8")
    linked = (repository / "docs/records/r81.md").read_text(encoding="utf-8")
    assert re.search(r"/tree/\w+/records/track_1_short/2026-04-22_MuddFormer/this_pr_v3\)", linked)
    adopted = (repository / "docs/records/r03.md").read_text(encoding="utf-8")
    assert "**Adopted by**" in adopted and "<https://arxiv.org/abs/" in adopted


def test_a_record_without_a_hint_has_no_description(repository: Path) -> None:
    assert "hint of level 2" not in (repository / "docs/records/r07.md").read_text("utf-8")


def test_a_page_without_its_marks_is_one_line(made: Path, repository: Path, tmp_path: Path) -> None:
    track = repository / "tracks/nanogpt"
    found = history.load(registry.load(track / "registry.yaml"), track / "classification")
    (tmp_path / "page.md").write_text("# Nothing\n", encoding="utf-8")
    with pytest.raises(SpeedrunError, match="the page has no lines"):
        history.write(found, tmp_path / "page.md", repository / "hints/nanogpt", tmp_path)
    with pytest.raises(SpeedrunError, match="it holds the text of the page"):
        history.write(found, tmp_path / "none.md", repository / "hints/nanogpt", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]


def test_an_absent_track_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["history", "--repository", str(tmp_path)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "registry.yaml is missing" in said[0]


@given(st.text(st.characters(exclude_characters="<>"), max_size=60))
def test_parts_replace_what_lies_between_their_marks_alone(around: str) -> None:
    marks = markdown.BEGIN.format("x"), markdown.END.format("x")
    text = f"{around}{marks[0]}\nold\n{marks[1]}{around}"
    once = markdown.into_page(text, {"x": "new"})
    assert once == f"{around}{marks[0]}\n\nnew\n\n{marks[1]}{around}"
    assert markdown.into_page(once, {"x": "new"}) == once


def test_plain_text_is_shown_as_it_is() -> None:
    assert markdown.text("a|b <i> *x* _y_ snake_case\nnext") == (
        r"a\|b \<i\> \*x\* \_y\_ snake_case next"
    )
    assert markdown.number(-0.001) == "0.00" and markdown.number(None) == "-"


def test_the_page_has_a_mark_for_every_part(repository: Path) -> None:
    text = (repository / "docs/history.md").read_text(encoding="utf-8")
    assert re.findall(r"history: ([\w-]+): begin", text) != []
    assert set(re.findall(r"history: ([\w-]+): begin", text)) == set(page.PARTS)
