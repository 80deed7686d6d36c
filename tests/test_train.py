"""train: from a solution folder to a run folder, with real processes."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.runner import disk, sandbox
from speedrun.schema import RunExit
from train_bench import LINE, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_run_finds_its_data_and_leaves_its_answer(bench: Bench, kind: str) -> None:
    code = (
        "import os\n"
        "print(sorted(os.listdir('data')), open('data/probes.npy').read())\n"
        "print(len(open('data/val_000000.bin', 'rb').read()), os.environ['SPEEDRUN_SEED'])\n"
        "open('probe_logits.npy', 'wb').write(b'logits')\n"
        f"print({LINE!r})\n"
    )
    ended = bench.train(code, seed=5, sandbox=kind)
    assert bench.lines() == [
        "['probes.npy', 'train_000000.bin', 'val_000000.bin'] contexts",
        "1030 5",
        LINE,
    ]
    assert (ended.ran, ended.reason, ended.exit_code) == (True, "exited", 0)
    assert (ended.seed, ended.sandbox, ended.trainer) == (5, kind, "real")
    assert ended.solution_digest == files.digest_tree(bench.solution)
    assert ended.cpu_s is not None
    assert schema.load(RunExit, bench.out / "exit.json") == ended
    assert (bench.out / "probe_logits.npy").read_bytes() == b"logits"


def test_data_is_read_only_and_solution_is_a_copy(bench: Bench) -> None:
    code = (
        "for path in ('data/train_000000.bin', 'data/new'):\n"
        "    try: open(path, 'wb'); print('written', path)\n"
        "    except OSError as error: print(error.errno)\n"
        "open('train.py', 'w').write('changed')\n"
    )
    bench.train(code)
    assert bench.lines() == ["30", "30"]
    assert (bench.solution / "train.py").read_text() == code


def test_missing_entry_is_an_outcome_without_a_run(bench: Bench) -> None:
    (bench.solution / "main.py").write_text("print('x')")
    ended = bench.train(None)
    assert (ended.ran, ended.reason) == (False, "not_run: solution has no train.py")
    assert bench.lines() == []


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
@pytest.mark.parametrize("make", ["write_text", "mkdir", "symlink_to"])
def test_solution_that_brings_data_along_is_not_run(bench: Bench, kind: str, make: str) -> None:
    arguments = {"write_text": ["x"], "mkdir": [], "symlink_to": ["nowhere"]}[make]
    getattr(bench.solution / "data", make)(*arguments)
    ended = bench.train("print('x')", sandbox=kind)
    assert ended.ran is False
    assert ended.reason == "not_run: solution holds data/, which the harness provides"


@pytest.mark.parametrize("name", ["python", "torch"])
def test_run_of_an_older_interpreter_or_torch_is_made_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    changes = {"trainer": "simulated", "environment": {"SIMULATED_TARGET": "3.5"}}
    real, simulated = bench.train(CHANCE).key, bench.train(CHANCE, **changes).key
    now = sandbox.interpreter()
    if name == "python":
        then = dataclasses.replace(now, version="3.0.1")
    else:
        package = bench.folder / "site-packages" / "torch-0.1.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.1\n")
        then = dataclasses.replace(now, packages=(package.parent, *now.packages))
        assert then.version_of("torch") == "0.1"
    monkeypatch.setattr(sandbox, "interpreter", lambda python="": then)
    assert bench.train(CHANCE, **changes).key == simulated
    assert bench.train(CHANCE).key != real


def test_deep_and_locked_folders_are_removed(bench: Bench, places: Path) -> None:
    code = (
        "import os\nos.mkdir('locked'); open('locked/x', 'w'); os.chmod('locked', 0)\n"
        "for _ in range(1100): os.mkdir('d'); os.chdir('d')\n"
    )
    assert bench.train(code).exit_code == 0
    assert os.listdir(places) == []


def test_refusal_of_the_coder_is_passed_on(bench: Bench) -> None:
    ended = bench.train("print('x')", not_run="the model declined")
    assert (ended.ran, ended.reason) == (False, "not_run: the model declined")
    bench.solution.rename(bench.folder / "gone")
    assert bench.train(None, not_run="the model declined").solution_digest == ""


def test_shard_of_another_format_names_file_and_command(bench: Bench) -> None:
    path = bench.shard("val", [1], magic=7)
    with pytest.raises(SpeedrunError, match=rf"{path} is no shard .*`rm {path} && snakemake`"):
        bench.train("print('x')")
    assert not bench.out.exists()


@pytest.mark.parametrize("size", [0, 11, 1023, 1024, 1029])
def test_truncated_shard_names_file_and_command(bench: Bench, size: int) -> None:
    path = bench.shard("train", [1, 2, 3])
    os.truncate(path, size)
    with pytest.raises(SpeedrunError, match=rf"{path} is .*`rm {path} && snakemake`"):
        bench.train("print('x')")


def test_missing_data_or_probes_names_the_command(bench: Bench) -> None:
    bench.probes.unlink()
    with pytest.raises(SpeedrunError, match=r"contexts.npy is missing.*snakemake"):
        bench.train("print('x')")
    (bench.data / "train_000000.bin").unlink()
    with pytest.raises(SpeedrunError, match=r"holds 0 training shards of 1.*snakemake"):
        bench.train("print('x')")
    (bench.data / "val_000000.bin").unlink()
    with pytest.raises(SpeedrunError, match=r"holds no shard.*snakemake"):
        bench.train("print('x')")


CHANCE = "import os; print(os.urandom(8).hex())"


def test_shards_beyond_those_asked_for_are_not_seen(bench: Bench) -> None:
    listing = "import os; print(sorted(os.listdir('data')), os.urandom(8).hex())"
    for index in (1, 2):
        bench.shard(f"train_00000{index}", [index])
    bench.train(listing, train_shards=2)
    before = bench.contents()
    bench.shard("train_000003", [3])
    bench.train(listing, train_shards=2)
    assert bench.contents() == before  # a wider sweep's shard is other data to nobody
    assert b"train_000001" in before["log.jsonl"] and b"train_000002" not in before["log.jsonl"]
    with pytest.raises(SpeedrunError, match=r"holds 4 training shards of 5: .*snakemake"):
        bench.train(listing, train_shards=5)


def test_finished_run_is_restored_not_repeated(bench: Bench) -> None:
    bench.train(CHANCE)
    before = bench.contents()
    (bench.out / "exit.json").unlink()
    bench.train(CHANCE)
    assert bench.contents() == before


@pytest.mark.parametrize("change", ["seed", "spec", "code", "data", "probes", "log", "unfinished"])
def test_run_of_other_inputs_or_unfinished_is_made_anew(bench: Bench, change: str) -> None:
    bench.train(CHANCE)
    before, code = bench.lines(), CHANCE
    options: dict[str, Any] = {}
    if change == "seed":
        options["seed"] = 2
    elif change == "spec":
        options["threads"] = 2
    elif change == "code":
        code += "\n"
    elif change == "data":
        bench.shard("train", [4, 5, 6])
    elif change == "probes":
        bench.probes.write_bytes(b"others")
    else:
        name = {"log": "log.jsonl", "unfinished": "finished.json"}[change]
        (bench.out / name).unlink()
    bench.train(code, **options)
    assert len(bench.lines()) == 1
    assert bench.lines() != before


def test_leftovers_of_a_killed_run_are_removed(bench: Bench, places: Path) -> None:
    bench.train("open('probe_logits.npy', 'w').write('old')")
    (places / f"{disk.PREFIX}left" / "work").mkdir(parents=True)
    bench.train("print('new')")
    assert not (bench.out / "probe_logits.npy").exists()
    assert os.listdir(places) == []


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.symlink('/etc/passwd', 'probe_logits.npy')",
        "import os; os.mkfifo('probe_logits.npy')",
        "import os; os.mkdir('probe_logits.npy')",
        "open('probe_logits.npy', 'wb').truncate(65 * 2**20)",
    ],
)
def test_answer_that_is_no_plain_file_is_left(bench: Bench, code: str) -> None:
    assert bench.train(code).exit_code == 0
    assert not (bench.out / "probe_logits.npy").exists()


def test_links_in_a_solution_are_not_followed(bench: Bench) -> None:
    (bench.solution / "secret.txt").symlink_to("/etc/passwd")
    bench.train("import os; print(os.listdir('.'))")
    assert "secret.txt" not in bench.lines()[0]


@pytest.mark.parametrize("change", [{"sandbox": "docker"}, {"trainer": "imagined"}])
def test_unknown_choice_names_the_valid_ones(bench: Bench, change: dict[str, str]) -> None:
    with pytest.raises(SpeedrunError, match="is unknown: choose"):
        bench.train("print('x')", **change)


def simulate(folder: Path, seeds: list[int], target: str = "3.5") -> list[dict[str, bytes]]:
    folder.mkdir()
    bench, found = Bench(folder), []
    for seed in seeds:
        changes = {"trainer": "simulated", "environment": {"SIMULATED_TARGET": target}}
        bench.train("raise SystemExit(1)", seed=seed, **changes)
        found.append(bench.contents())
    return found


def test_simulated_run_is_the_same_bytes_anywhere(tmp_path: Path) -> None:
    one = simulate(tmp_path / "one", [1, 2])
    assert one == simulate(tmp_path / "two", [1, 2])
    assert one[0]["log.jsonl"] != one[1]["log.jsonl"]


def test_simulated_runs_mostly_reach_the_target(bench: Bench) -> None:
    losses, times = [], []
    changes = {"trainer": "simulated", "environment": {"SIMULATED_TARGET": "3.5"}}
    for index in range(30):
        ended = bench.train(f"# {index}", **changes)
        losses.append(float(bench.lines()[-1].split()[1].removeprefix("val_loss:")))
        times.append(ended.cpu_s)
    assert 17 <= sum(loss < 3.5 for loss in losses) <= 29
    assert all(abs(loss - 3.5) < 0.06 for loss in losses)
    assert all(time_s is not None and 5 <= time_s <= 20.1 for time_s in times)


def test_simulated_seconds_leave_no_trace_in_the_log(bench: Bench) -> None:
    target = {"SIMULATED_TARGET": "3.5"}
    bench.train("", trainer="simulated", environment=target)
    log = bench.contents()["log.jsonl"]
    bench.train("", trainer="simulated", environment=target | {"SIMULATED_SECONDS": "0.01"})
    assert bench.contents()["log.jsonl"] == log


@pytest.mark.parametrize("given", [{}, {"SIMULATED_TARGET": "3.5", "SIMULATED_SECONDS": "long"}])
def test_simulated_run_needs_its_numbers(bench: Bench, given: dict[str, str]) -> None:
    with pytest.raises(SpeedrunError, match="the simulated trainer needs a number"):
        bench.train("", trainer="simulated", environment=given)
