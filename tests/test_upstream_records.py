"""records of a track with a registry: extracted, verified, compared and pinned, on a real git."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speedrun import files, registry
from speedrun.adapters import upstream_git
from speedrun.cli import main
from speedrun.files import SpeedrunError, read_json, read_tree
from speedrun.registry import Registry
from speedrun.stages.records import extract, newer, pin
from upstream_repo import Built, History, build, edited
from upstream_rows import ROW_LIST


@pytest.fixture(scope="module")
def facts(built: Built) -> Registry:
    return registry.load(built.registry)


@pytest.fixture(scope="module")
def repository(built: Built) -> upstream_git.GitRepository:
    return upstream_git.open_repository(str(built.repository), Path("unused"), [built.commit])


def run(*words: object) -> int:
    return main(["records", "--track", "nanogpt", *map(str, words)])


# --- one record --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [row.id for row in ROW_LIST])
def test_a_record_is_the_timed_source(
    name: str, built: Built, facts: Registry, repository: upstream_git.GitRepository, tmp_path: Path
) -> None:
    extract.extract(repository, facts, name, tmp_path / name)
    written = read_tree(tmp_path / name / "files")
    arguments = "--num_iterations\n200\n" if name in ("r01", "r02", "r03") else None
    assert written.pop("arguments.txt", None) == arguments
    assert written == built.sources[name]
    assert all(text.endswith("\n") and "\r" not in text for text in written.values())


def test_the_card_tells_what_the_files_do_not(
    built: Built, facts: Registry, repository: upstream_git.GitRepository, tmp_path: Path
) -> None:
    extract.extract(repository, facts, "r10", tmp_path)
    card = read_json(tmp_path / "record.json")
    assert (card["id"], card["number"], card["time_minutes"]) == ("r10", 10, 6.05)
    assert card["source"]["kind"] == "git_final" and card["era"] == "late"
    assert card["upstream"]["commit"] == built.commit and card["upstream"]["licence"] == "MIT"
    assert sorted(os.listdir(tmp_path / "files")) == ["train_gpt.py", "triton_kernels.py"]


def test_the_verb_leaves_files_card_and_record(built: Built, tmp_path: Path) -> None:
    out = tmp_path / "results/records/nanogpt/r12"
    repo = ("--repo", built.repository, "--registry", built.registry)
    assert run("--record", "r12", "--out", out, *repo) == 0
    record = read_json(out / "records.record.json")
    assert record["key"] == "records/nanogpt/r12" and record["artifacts"][1] == "files/train_gpt.py"
    assert len(record["inputs"]) == 3
    assert {path.name for path in out.iterdir()} == {"files", "record.json", "records.record.json"}


def test_a_mismatch_says_which_and_shows_the_line(
    built: Built, repository: upstream_git.GitRepository, tmp_path: Path
) -> None:
    """Extracted once, then upstream's log changes: the line that differs is known."""
    facts = registry.load(built.registry)
    extract.extract(repository, facts, "r08", tmp_path)
    wrong = dataclasses.replace(facts.record("r08").source, log=facts.record("r08c").source.log)
    record = dataclasses.replace(facts.record("r08"), source=wrong)
    changed = dataclasses.replace(facts, records=[record])
    with pytest.raises(SpeedrunError) as caught:
        extract.extract(repository, changed, "r08", tmp_path)
    expected = record.sha256["train_gpt.py"]
    found = files.digest_text(built.sources["r08c"]["train_gpt.py"])
    for part in ("r08: train_gpt.py of", wrong.log, expected, found, "lines,", "bytes"):
        assert part in str(caught.value)
    assert "'-learning_rate = 0.06' '+learning_rate = 0.06  # untimed warmup'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert read_tree(tmp_path / "files") == built.sources["r08"]  # what was there stays
    (tmp_path / "files" / "train_gpt.py").write_bytes(b"\xff\xfe")  # a damaged disk
    with pytest.raises(SpeedrunError, match="which lines differ cannot be told"):
        extract.extract(repository, changed, "r08", tmp_path)
    extract.extract(repository, facts, "r08", tmp_path)
    assert read_tree(tmp_path / "files") == built.sources["r08"]


def test_an_unknown_record_names_the_nearest(
    built: Built, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = ("--repo", built.repository, "--registry", built.registry)
    assert run("--record", "r8", "--out", "x", *repo) == 1
    assert "no record 'r8'" in capsys.readouterr().err
    assert run("--record", "r08", *repo) == 1 and "--out is missing" in capsys.readouterr().err
    assert run() == 1 and "nothing to do" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_half_written(built: Built, tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk; the sources are larger than it."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)); "
    program = f"{limit}import sys; from speedrun.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "records", "--track", "nanogpt", "--record", "r12"]
    command += ["--repo", str(built.repository), "--registry", str(built.registry)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "r12")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "free space" in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# --- a newer commit ------------------------------------------------------------------------------
def test_new_and_changed_rows_are_listed(
    built: Built,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for repo in ([], ["--repo", built.repository]):
        for name in ("next", built.newer):
            assert run("--check-upstream", name, "--registry", built.registry, *repo) == 0
            lines = capsys.readouterr().out.splitlines()
            assert lines[0] == "changed r07: time_minutes 10.41 -> 10.57"
            assert lines[1].startswith("new     14: 2026-08-02, 4.9 minutes, #350, log records/")
            assert lines[2] == f"commit {built.newer}: 2 differences"
    assert run("--check-upstream", "--registry", built.registry, "--repo", built.repository) == 0
    assert capsys.readouterr().out == f"commit {built.commit}: 0 differences\n"


def test_words_and_lost_rows_are_listed(
    built: Built, facts: Registry, repository: upstream_git.GitRepository, tmp_path: Path
) -> None:
    again = build(tmp_path)
    page = repository.read(built.commit, "README.md").decode()
    rows = [line for line in page.splitlines() if not line.startswith("13 | 4.98")]
    text = "\n".join(rows).replace("A quicker optimiser", "A slower optimiser")
    commit = History(again.repository, day=50).commit("more", {"README.md": text}, again.commit)
    opened = upstream_git.open_repository(str(again.repository), Path("unused"), [commit])
    assert list(newer.compare(opened, facts, commit)) == [
        "changed r09: description 'A quicker optimiser' -> 'A slower optimiser'",
        "gone    r13: 2026-05-27, 4.98 minutes",
    ]


def test_rows_that_cannot_be_read_are_listed_and_steer_no_terminal(
    built: Built, facts: Registry, repository: upstream_git.GitRepository, tmp_path: Path
) -> None:
    again = build(tmp_path)
    page = repository.read(built.commit, "README.md").decode()
    added = (
        "\n14 | 4.9 minutes | \x1b[2Jclear\x1b] | 08/02/26 | none | @x\n15 | soon | a | - | - | -"
    )
    text = page.replace("\n13 | 4.98", f"{added}\n13 | 4.98")
    commit = History(again.repository, day=50).commit("more", {"README.md": text}, again.commit)
    opened = upstream_git.open_repository(str(again.repository), Path("unused"), [commit])
    new, unread = newer.compare(opened, facts, commit)
    assert new.startswith("new     14: 2026-08-02, 4.9 minutes") and new.isprintable()
    assert unread.startswith("unread  upstream's table has no time in minutes in '15 | soon")


# --- pin ---------------------------------------------------------------------------------------
def test_pin_writes_the_hashes_and_nothing_else(
    built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Comments, order and odd spacing of what people wrote stay."""
    path = edited(built, tmp_path, r04={"sha256": {}}, r10={"sha256": {"old.py": "0" * 64}})
    text = path.read_text().replace("- id: r05\n", "- id: r05\n  # a remark\n")
    path.write_text(text)
    repo = ("--repo", built.repository, "--registry", path)
    assert run("--pin", *repo) == 0
    assert capsys.readouterr().out == f"{path}: 2 records changed r04 r10\n"
    assert registry.load(path) == registry.load(built.registry)

    def others(content: str) -> list[str]:
        return [
            line for line in content.splitlines() if "sha256" not in line and ".py: " not in line
        ]

    assert others(path.read_text()) == others(text)
    assert run("--pin", *repo) == 0 and "0 records changed" in capsys.readouterr().out


def test_pin_refuses_what_it_cannot_place(built: Built, tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("records:\n- id: r01\n  number: 1\n")
    with pytest.raises(SpeedrunError, match="no single sha256 key"):
        pin.write_hashes(path, {"r01": {"train_gpt.py": "0" * 64}})
    with pytest.raises(SpeedrunError, match="has no line `- id: r02`"):
        pin.write_hashes(path, {"r02": {"train_gpt.py": "0" * 64}})
    assert path.read_text() == "records:\n- id: r01\n  number: 1\n"


def test_fetch_brings_the_sources_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After it every record is there without the remote."""
    monkeypatch.chdir(tmp_path)
    built = build(tmp_path)
    assert run("--fetch", "--registry", built.registry, "--mirror", "own.git") == 0
    assert "files fetched" in capsys.readouterr().out
    shutil.rmtree(built.repository)
    for row in ROW_LIST:
        words = ("--record", row.id, "--out", row.id, "--mirror", "own.git")
        assert run(*words, "--registry", built.registry) == 0
    assert not (tmp_path / "store").exists()
