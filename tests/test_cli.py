"""The command line: every verb has help, errors are one line, products leave their record."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speedrun import cli, files, schema
from speedrun.cli.provenance import recorded
from speedrun.files import SpeedrunError

VERBS = (
    *("corpus", "tokenize", "records", "task", "chain", "generate", "preflight", "train"),
    *("analyze", "summarize", "similarity", "judge", "review"),
    *("audit", "score", "report", "publish", "history"),
)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_the_verbs_are_the_stages(repository: Path) -> None:
    rules = {path.stem for path in (repository / "workflow/rules").glob("*.smk")}
    assert rules - {"plan", "inputs", "environments"} == set(VERBS)


def test_starting_the_command_line_imports_nothing_heavy() -> None:
    script = (
        "import sys; from speedrun import cli; cli.parser(); "
        "heavy = ('numpy', 'torch', 'pandas', 'mlflow', 'hydra', 'yaml'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    assert done.stdout.strip() == b"[]"


def test_an_error_of_ours_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--source", str(tmp_path), "--record", "r07", "--out", str(tmp_path / "out")]
    assert cli.main(["records", *arguments]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("speedrun records: no record 'r07'")


def test_an_arm_by_hand_that_lacks_something_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--public", "p", "--trial", "micro/t/a/s0", "--node", "1", "--root-analysis", "a.json"]
    assert cli.main(["generate", *given, "--arm", '{"coder": {"name": "null"}}']) == 1
    said = capsys.readouterr().err
    assert "--arm has no 'scaffold': take the line that" in said and said.count("\n") == 1


def test_a_broken_slice_of_configuration_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["corpus", "--spec", "{", "--out", str(tmp_path)])
    assert "not valid JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "stage", "key"),
    [
        ("results/corpus/nano/corpus.record.json", "corpus", "corpus/nano"),
        ("results/trials/t/a/s0/node_1/train.record.json", "train", "trials/t/a/s0/node_1"),
        ("results/quick/score/t/r1-r2.score.record.json", "score", "quick/score/t/r1-r2"),
    ],
)
def test_a_record_names_its_product(tmp_path: Path, path: str, stage: str, key: str) -> None:
    with recorded(stage, tmp_path / path) as record:
        record.measured(loss=1.0, unknown=None)
    written = schema.load(schema.StageRecord, tmp_path / path)
    assert (written.key, written.stage, written.metrics) == (key, stage, {"loss": 1.0})
    assert written.versions["torch"] != "absent"


def test_a_failed_stage_leaves_no_record(tmp_path: Path) -> None:
    path = tmp_path / "results/corpus/nano/corpus.record.json"
    with pytest.raises(SpeedrunError), recorded("corpus", path):
        raise SpeedrunError("no")
    assert not path.exists()
    assert not list(tmp_path.rglob("*.json"))


def test_records_measure_says_what_to_run_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    repository: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["records", "--measure", "--track", "nano", "--repository", str(repository)]
    assert cli.main(arguments) == 1
    assert "run `snakemake -c1 results/shards/nano/meta.json" in capsys.readouterr().err
    assert files.tree_files(tmp_path) == []


def test_a_second_measurement_reuses_runs_unless_it_is_fresh(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    repository: Path,
    nano_shards: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = tmp_path / "repository"
    for part in ("config", "tracks"):
        shutil.copytree(repository / part, own / part)
    hardware = own / "config/hardware/cpu.yaml"
    hardware.write_text(hardware.read_text().replace("trainer: real", "trainer: simulated"))
    (tmp_path / "results").symlink_to(nano_shards)
    monkeypatch.chdir(tmp_path)
    command = ["records", "--measure", "--track", "nano", "--repository", str(own)]
    said = []
    for extra in ([], [], ["--fresh"], ["--fresh"]):
        assert cli.main([*command, "--rounds", "2", *extra]) == 0
        said.append("6 finished runs were reused" in capsys.readouterr().err)
    assert said == [False, True, False, False]
    assert len(list(tmp_path.glob("store/retimings/*/timing.json"))) == 18
