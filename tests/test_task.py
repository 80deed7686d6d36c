"""task: what is public, what is private, and that the first holds nothing of the second."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.schema import TaskFacts
from speedrun.stages import records, task

START = """\
import torch

LEARNING_RATE = 0.001


def optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)


print("done")
"""
TARGET = START.replace(
    "    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)\n",
    "    hidden, rest = split_by_dimension(model)\n"
    "    return Muon(hidden, lr=LEARNING_RATE, momentum=0.95), torch.optim.AdamW(rest)\n",
)
FACTS = TaskFacts("micro", "r02-r03", "r02", "r03", "train.py", 3.5, "one core", "- be honest\n")
TEXTS = {
    "l1_pseudocode.md": "Split the weights; orthogonalise the update of matrices.\n",
    "l2_description.md": "# Muon\n\nMatrices get an orthogonal step.\n",
    "rubric.yaml": "changes: [{id: muon, change: Muon for matrices}]\n",
}


def _record(folder: Path, name: str, sources: dict[str, str]) -> Path:
    files.write_tree(folder / name / "files", sources)
    files.write_json(folder / name / "record.json", {"record": name, "idea": f"idea of {name}"})
    return folder / name


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path, Path]:
    base = tmp_path / "records"
    start = _record(base, "r02", {"train.py": START})
    target = _record(base, "r03", {"train.py": TARGET, "muon.py": "def orthogonalise(m): ...\n"})
    _record(base, "r04", {"train.py": "the record after the target\n"})
    files.write_tree(tmp_path / "hints", TEXTS)
    return start, target, tmp_path / "hints"


@pytest.fixture
def built(sides: tuple[Path, Path, Path], tmp_path: Path) -> Path:
    task.task(*sides, tmp_path / "out", FACTS, ["l1", "l2"])
    return tmp_path / "out"


def test_public_holds_start_hints_and_facts_alone(built: Path) -> None:
    public = files.read_tree(built / "public")
    assert set(public) == {"start/train.py", "hints/l1.md", "hints/l2.md", "task.json"}
    assert public["start/train.py"] == START
    assert public["hints/l2.md"] == TEXTS["l2_description.md"]  # exactly as written
    assert schema.load(TaskFacts, built / "public" / "task.json") == FACTS


def _secret_lines(built: Path) -> list[str]:
    """The lines of more than 20 characters that the human change adds and the start lacks."""
    diff = (built / "private" / "human.diff").read_text().splitlines()
    added = [line[1:].strip() for line in diff if line.startswith("+") and line[:3] != "+++"]
    start = "".join(files.read_tree(built / "public" / "start").values())
    return [line for line in added if len(line) > 20 and line not in start]


def test_public_holds_no_line_of_the_human_change(built: Path) -> None:
    secret = _secret_lines(built)
    assert len(secret) == 3  # two of train.py and the one of muon.py
    public = files.read_tree(built / "public")
    shown = "".join(text for name, text in public.items() if not name.startswith("hints/"))
    assert [line for line in secret if line in shown] == []
    assert "idea of" not in shown and "the record after" not in shown


def test_private_holds_what_judges(built: Path) -> None:
    private = files.read_tree(built / "private")
    assert set(private) == {
        "target/train.py",
        "target/muon.py",
        "human.diff",
        "rubric.yaml",
        "record.json",
    }
    cards = files.read_json(built / "private" / "record.json")
    assert cards["r03"]["idea"] == "idea of r03" and cards["r02"]["idea"] == "idea of r02"


@pytest.mark.parametrize("ending", ["", "\n"])
def test_the_human_diff_turns_start_into_target(tmp_path: Path, ending: str) -> None:
    start = {"train.py": START + "last = 1" + ending, "gone.py": "x = 1\n"}
    target = {"train.py": TARGET + "last = 2\n", "new.py": "form\x0cfeed = 2\n"}
    files.write_tree(tmp_path / "work", start)
    subprocess.run(
        ["git", "apply", "-"],
        cwd=tmp_path / "work",
        input=task.human_diff(start, target).encode(),
        check=True,
    )
    assert files.read_tree(tmp_path / "work") == target


def test_a_hint_that_no_arm_needs_may_be_missing(
    sides: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    task.task(sides[0], sides[1], tmp_path / "no hints yet", tmp_path / "out", FACTS)
    assert not (tmp_path / "out" / "public" / "hints").exists()
    assert not (tmp_path / "out" / "private" / "rubric.yaml").exists()


@pytest.mark.parametrize("text", [None, " \n"])
def test_a_needed_hint_that_is_missing_or_empty_is_named(
    sides: tuple[Path, Path, Path], tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (sides[2] / "l3_paper.md").write_text(text)
    with pytest.raises(SpeedrunError, match=r"hint l3 is missing or empty: write .*/l3_paper.md"):
        task.task(*sides, tmp_path / "out", FACTS, ["l1", "l3"])
    assert not (tmp_path / "out").exists()


def test_an_unknown_level_names_the_nearest(sides: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SpeedrunError, match="no hint level 'l22': did you mean 'l2'"):
        task.task(*sides, tmp_path / "out", FACTS, ["l22"])


def test_a_record_without_its_entry_names_the_next_command(
    sides: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    (sides[1] / "files" / "train.py").unlink()
    with pytest.raises(SpeedrunError, match="run `speedrun records` for r03"):
        task.task(*sides, tmp_path / "out", FACTS)


def _shipped_tasks(repository: Path) -> list[tuple[str, str, str]]:
    tracks = sorted(path for path in (repository / "tracks").iterdir() if path.is_dir())
    chains = {
        track.name: sorted(path.name for path in (track / "records").glob("r*")) for track in tracks
    }
    return [
        (track, start, target)
        for track, chain in chains.items()
        for start, target in itertools.pairwise(chain)
    ]


def _build(repository: Path, track: str, start: str, target: str, out: Path) -> Path:
    """Build a shipped task under ``out``."""
    name, chain = f"{start}-{target}", repository / "tracks" / track / "records"
    for record in (start, target):
        records.records(chain, record, "train.py", out / record)
    facts = TaskFacts(track, name, start, target, "train.py", 3.5, "one core", "")
    hints = repository / "hints" / track / name
    task.task(out / start, out / target, hints, out / "task", facts)
    return out / "task"


def test_shipped_tasks_show_no_line_of_their_target(repository: Path, tmp_path: Path) -> None:
    """Nothing public shows a line that the human change adds; hints may name things, not paste."""
    shipped = _shipped_tasks(repository)
    assert ("nano", "r01", "r02") in shipped and ("micro", "r01", "r02") in shipped
    for track, start, target in shipped:
        built = _build(repository, track, start, target, tmp_path / track / f"{start}-{target}")
        secret = _secret_lines(built)
        assert secret, f"{track}/{start}-{target}: the human change adds nothing"
        for name, text in files.read_tree(built / "public").items():
            shortest = 40 if name.startswith("hints/") else 20
            pasted = [line for line in secret if len(line) > shortest and line in text]
            assert pasted == [], f"{track}/{start}-{target}: {name}"
