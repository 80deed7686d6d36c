"""retrieval: documents into passages, and the passages that a node is shown."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun import files
from speedrun.adapters.retrieval import (
    WORDS_MAX,
    Passage,
    add_passages,
    best,
    documents,
    split_document,
    split_folder,
)
from speedrun.files import SpeedrunError
from speedrun.stages.generate import print_prompt
from trial_builder import Trial

MUON = """\
Opening words.

# Muon

Orthogonalises the momentum.

Uses five iterations.

## Newton and Schulz

```python
# not a heading

a = 1
```
After the code.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    documents = {
        "muon.md": MUON,
        "deep/rotary.txt": "Rotary embeddings turn queries and keys.\n",
        "image.png": "no document",
    }
    files.write_tree(tmp_path / "documents", documents)
    return tmp_path / "documents"


def test_passages_stand_under_their_headings(folder: Path) -> None:
    assert split_folder(folder) == [
        Passage("deep/rotary.txt", "Rotary embeddings turn queries and keys."),
        Passage("muon.md", "Opening words."),
        Passage("muon.md, Muon", "Orthogonalises the momentum.\n\nUses five iterations."),
        Passage(
            "muon.md, Newton and Schulz",
            "```python\n# not a heading\n\na = 1\n```\nAfter the code.",
        ),
    ]


LINES = st.sampled_from(["word", "# title", "```", "", "\n", "two words", "x " * 40, "y " * 600])


@settings(deadline=None)
@given(st.lists(LINES, max_size=40).map("\n".join))
def test_passages_are_short_and_lose_nothing_but_headings(text: str) -> None:
    passages = split_document("a.md", text)
    assert all(0 < len(passage.text.split()) <= WORDS_MAX for passage in passages)
    kept = [word for passage in passages for word in passage.text.split()]
    without_headings = text.replace("# title", "").split()
    assert [word for word in kept if word not in ("#", "title")] == without_headings


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="#"), max_size=300))
def test_any_text_is_split_without_loss(text: str) -> None:
    kept = " ".join(passage.text for passage in split_document("a.txt", text))
    assert kept.split() == text.split()


def test_the_best_passages_come_first(folder: Path) -> None:
    passages = split_folder(folder)
    assert [p.source for p in best(passages, "what does Newton's Schulz iteration do", 9)] == [
        "muon.md, Newton and Schulz"
    ]
    assert best(passages, "rotary momentum", 1)[0].source == "deep/rotary.txt"
    assert len(best(passages, "muon", 2)) == 2
    assert best(passages, "", 3) == best(passages, "the of and", 3) == []
    assert best([], "muon", 3) == []
    with pytest.raises(SpeedrunError, match="top_k must be at least 1"):
        best(passages, "muon", 0)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["muon", "muon norm", "norm", "other words"]), max_size=12),
    st.permutations(["muon", "norm", "unseen"]),
    st.integers(1, 5),
)
def test_equal_passages_stand_in_reading_order(
    texts: list[str], query: list[str], top_k: int
) -> None:
    passages = [Passage("a.md", text) for text in texts]
    places = {id(passage): place for place, passage in enumerate(passages)}
    found = best(passages, " ".join(query), top_k)
    assert len(found) <= top_k and all("other" not in passage.text for passage in found)
    assert [id(p) for p in found] == [id(p) for p in best(passages, "norm muon muon", top_k)]
    for before, after in itertools.pairwise(found):
        assert before.text != after.text or places[id(before)] < places[id(after)]


def test_documents_come_from_the_folder_alone(folder: Path, tmp_path: Path) -> None:
    assert [path.name for path in documents(folder)] == ["rotary.txt", "muon.md"]
    (tmp_path / "secret.md").write_text("the answer\n")
    (folder / "link.md").symlink_to(tmp_path / "secret.md")
    with pytest.raises(SpeedrunError, match=r"link.md leads out of the retrieval folder"):
        split_folder(folder)
    (folder / "link.md").unlink()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.md").write_text("the answer\n")
    (folder / "inside").symlink_to(tmp_path / "outside")
    assert "the answer" not in str(split_folder(folder))


def test_missing_and_broken_documents_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpeedrunError, match=r"retrieval folder .*lost is missing"):
        documents(tmp_path / "lost")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpeedrunError, match=r"holds no .md or .txt file"):
        documents(tmp_path / "empty")
    (folder / "bad.txt").write_bytes(b"\xff")
    with pytest.raises(SpeedrunError, match=r"bad.txt is not UTF-8"):
        split_folder(folder)


def test_a_node_is_shown_what_its_hints_lead_to(tmp_path: Path, folder: Path) -> None:
    trial = Trial(tmp_path).start()
    setting = {"folder": str(folder), "top_k": 1}
    inputs = add_passages(trial.inputs(1, ("l1",)), setting)  # the hint names Muon
    assert [source for source, _ in inputs.passages] == ["muon.md, Muon"]
    prompt = print_prompt(inputs)
    assert "### From muon.md, Muon\n\nOrthogonalises the momentum." in prompt
    assert "Rotary" not in prompt
    assert add_passages(trial.inputs(1), None) == trial.inputs(1)
