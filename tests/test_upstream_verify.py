"""records --verify: one clear line for everything that is not as the registry says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from speedrun import files, registry
from speedrun.adapters import upstream_git
from speedrun.cli import main
from speedrun.stages.records.verify import verify
from upstream_logs import Log
from upstream_repo import (
    ROWS,
    STRICT,
    TASKS,
    UNRELATED,
    Built,
    History,
    build,
    edited,
    without_blob,
)
from upstream_rows import TRACK

COUNTS = f"records {ROWS}, tasks {TASKS}, strict {STRICT}, logs 22, problems 0"


def problems(built: Built, path: Path) -> tuple[str, list[str]]:
    opened = upstream_git.open_repository(str(built.repository), Path("unused"), [built.commit])
    done = verify(opened, registry.load(path))
    assert not [line for line in done.problems if "\n" in line]
    return done.counts(), done.problems


def run(*words: object) -> int:
    return main(["records", "--track", "nanogpt", *map(str, words)])


@pytest.mark.parametrize("through", ["folder", "url"])
def test_the_whole_registry_verifies(
    through: str,
    built: Built,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Twice: the second time a mirror needs no remote any more."""
    monkeypatch.chdir(tmp_path)
    words = ["--verify", "--registry", built.registry]
    words += ["--repo", built.repository] if through == "folder" else []
    for _ in range(2):
        assert run(*words) == 0
        assert capsys.readouterr().out == COUNTS + "\n"
    assert (tmp_path / "store/upstream/nanogpt.git").is_dir() == (through == "url")


def test_an_unrelated_missing_blob_is_no_problem(tmp_path: Path) -> None:
    built = build(tmp_path)
    without_blob(built, UNRELATED)
    assert problems(built, built.registry) == (COUNTS, [])
    mirrored = upstream_git.open_repository(
        built.repository.as_uri(), tmp_path / "m.git", [built.commit]
    )
    assert verify(mirrored, registry.load(built.registry)).counts() == COUNTS


def test_a_missing_blob_that_is_needed_is_told_and_the_rest_is_checked(tmp_path: Path) -> None:
    built = build(tmp_path)
    linked = f"{TRACK}/2025-01-13_Fp8LmHead/c51969c2.txt"  # r08's source
    other = f"{TRACK}/2025-12-11_Optims/00000002.txt"  # a log alone
    for path in (linked, other):
        without_blob(built, path)
    counts, told = problems(built, built.registry)
    assert counts == "records 14, tasks 9, strict 6, logs 20, problems 3"
    assert [line.split(" is listed")[0] for line in told] == [f"r08: {linked}", linked, other]
    assert all("is missing there" in line for line in told)


def test_a_wrong_commit_ends_with_the_counts_too(
    built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(built, tmp_path, upstream={"commit": "b" * 40})
    with pytest.raises(SystemExit, match="1"):
        run("--verify", "--registry", path, "--repo", built.repository)
    first, last = capsys.readouterr().out.splitlines()
    assert f"commit {'b' * 40} is not in" in first
    assert last == "records 0, tasks 0, strict 0, logs 0, problems 1"


def test_a_records_own_wrong_commit_is_its_problem(built: Built, tmp_path: Path) -> None:
    source = {"kind": "git_final", "commit": "b" * 40, "paths": ["train_gpt.py"]}
    counts, told = problems(built, edited(built, tmp_path, r09={"source": source}))
    assert counts == "records 14, tasks 8, strict 5, logs 22, problems 1"
    assert told[0].startswith(f"r09: commit {'b' * 40} is not in")


def test_a_moved_log_is_told_with_where_it_is(tmp_path: Path) -> None:
    built = build(tmp_path)
    path, moved = (
        f"{TRACK}/2024-10-10_Muon/eb5659d0.txt",
        f"{TRACK}/2024-10-10_Muon/run/eb5659d0.txt",
    )
    changes = {path: None, moved: built.logs[path].content()}
    commit = History(built.repository, day=50).commit("master", changes, built.commit)
    counts, told = problems(built, edited(built, tmp_path, upstream={"commit": commit}))
    expected = f"records {ROWS - 1}, tasks {TASKS - 1}, strict {STRICT}, logs 22, problems 2"
    assert counts == expected
    assert len(told) == 2 and all(line.startswith("r04: ") for line in told)
    assert all(f"it was moved to {moved}" in line for line in told)


def test_a_linked_baseline_as_source_is_a_task_without_a_change(
    built: Built, tmp_path: Path
) -> None:
    """Record 9's linked log holds record 8's code: its own hash would be accepted, the task not."""
    linked = {"kind": "log", "log": f"{TRACK}/2025-12-11_Optims/00000000.txt"}
    same = {name: files.digest_text(text) for name, text in built.sources["r08c"].items()}
    path = edited(built, tmp_path, r09={"source": linked, "sha256": same})
    counts, told = problems(built, path)
    assert told == ["r08c-r09: start and target are the same source: exclude it, or correct one"]
    assert counts.startswith(f"records {ROWS}, tasks {TASKS - 1}, strict {STRICT - 1}")
    _, told = problems(built, edited(built, tmp_path, r09={"source": linked}))
    assert "r09: train_gpt.py of" in told[0] and "the registry expects" in told[0]


def test_a_source_of_the_merge_commit_is_a_mismatch(built: Built, tmp_path: Path) -> None:
    source = {"kind": "git_final", "commit": built.merge, "paths": ["train_gpt.py"]}
    _, told = problems(built, edited(built, tmp_path, r09={"source": source}))
    assert len(told) == 1 and f"of commit {built.merge[:12]}" in told[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"r06": {"sha256": {}}}, "r06: the registry has no hashes"),
        ({"r10": {"sha256": {"train_gpt.py": "0" * 64}}}, "r10: triton_kernels.py .* has no hash"),
        ({"r06": {"time_minutes": 12.2}}, "r06: time_minutes is 12.2 in the registry, 12.1"),
        ({"r06": {"date": "2024-11-20"}}, "r06: date is '2024-11-20'"),
        ({"r12": {"pull_request": 1}}, "r12: pull_request is 1 in the registry, 315"),
        ({"r12": {"log_folder": "records/none"}}, "r12: records/none is not in commit"),
        ({"r13": {"time_minutes": 5.05}}, "r12-r13: the target is not faster"),
        ({"upstream": {"table": "Elsewhere"}}, "no heading 'Elsewhere'"),
        ({"upstream": {"readme": "absent.md"}}, "absent.md is not in commit"),
        (
            {"r04": {"source": {"kind": "log", "log": f"{TRACK}/2024-10-13_llmc/main.log"}}},
            "r04: .*main.log embeds no source",
        ),
        (
            {"r04": {"source": {"kind": "log", "log": UNRELATED}}},
            f"r04: {UNRELATED} does not parse",
        ),
        (
            {
                "r04": {
                    "source": {
                        "kind": "git_final",
                        "commit": "HEAD",
                        "paths": [f"{TRACK}/2024-12-04_ValueEmbed/loss.png"],
                    }
                }
            },
            "r04: .*loss.png is not UTF-8 text",
        ),
    ],
)
def test_every_problem_is_a_line(
    change: dict[str, dict[str, object]], said: str, built: Built, tmp_path: Path
) -> None:
    for values in change.values():
        source = values.get("source")
        if isinstance(source, dict) and source.get("commit") == "HEAD":
            source["commit"] = built.commit
    counts, told = problems(built, edited(built, tmp_path, **change))
    assert re.search(said, "\n".join(told)), told
    assert not counts.endswith("problems 0")


def test_a_name_of_upstreams_stays_on_its_line(tmp_path: Path) -> None:
    built = build(tmp_path)
    quoted = f'"{TRACK}/2024-10-10_Muon/a\\nrecords 0\\033[2J.txt"'  # as fast-import writes it
    commit = History(built.repository, day=50).commit("master", {quoted: "no log"}, built.commit)
    _, (told,) = problems(built, edited(built, tmp_path, upstream={"commit": commit}))
    assert "a\ufffdrecords 0\ufffd[2J.txt does not parse" in told


def test_a_log_that_does_not_parse_is_told(tmp_path: Path) -> None:
    built = build(tmp_path)
    torn = f"{TRACK}/2026-05-27-MuddGated/this_pr/torn.txt"
    content = Log("C2F", built.sources["r12"]).content()[:3000]
    script = {"train_gpt.py": "def broken(:\n"}
    broken = {f"{TRACK}/2024-10-18_PyTorch25/d4bfb25f.txt": Log("B2", script).content()}
    commit = History(built.repository, day=50).commit(
        "master", {torn: content} | broken, built.commit
    )
    hashes = {name: files.digest_text(text) for name, text in script.items()}
    path = edited(built, tmp_path, upstream={"commit": commit}, r05={"sha256": hashes})
    counts, told = problems(built, path)
    assert (
        counts == f"records {ROWS - 1}, tasks {TASKS - 1}, strict {STRICT - 1}, logs 22, problems 2"
    )
    assert told[0].startswith("r05: train_gpt.py is no Python source")
    assert told[1].startswith(f"{torn} does not parse: ")
