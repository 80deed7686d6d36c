"""The harness side of train runs on a bare interpreter: no site-packages, no environment."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import speedrun
from speedrun import files, schema
from speedrun.runner import sandbox

SOURCE = Path(speedrun.__file__).parents[1]
HARNESS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from speedrun.schema import TrainSpec
from speedrun.stages.train import train
here = Path(sys.argv[2])
spec = TrainSpec(timeout_s=20, memory_mb=200, output_mb=1, file_mb=1, processes=9, threads=1,
                 sandbox=sys.argv[3])
ended = train(here / "solution", "train.py", here, here / "probes.npy", here / "run", spec, 7)
print(json.dumps([ended.exit_code, sorted(sys.modules), sys.path]))
"""


def _write_inputs(folder: Path, data: Path) -> None:
    (folder / "solution").mkdir()
    (folder / "solution" / "train.py").write_text("print('hello')\n")
    (folder / "probes.npy").write_bytes(b"contexts")
    shard = struct.pack("<256i", 20240520, 1, 1, *[0] * 253) + b"ab"
    data.mkdir(exist_ok=True)
    (data / "train_000000.bin").write_bytes(shard)


def _bare(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run Python without packages; a bubblewrap that is one of them is found by its PATH."""
    path = f"{Path(sandbox.find_bwrap()).parent}:/usr/bin:/bin"
    return subprocess.run(
        [sys.executable, "-S", "-E", *arguments],
        capture_output=True, text=True, check=False, cwd=SOURCE, env={"PATH": path},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["none", "bubblewrap"])
def test_train_needs_nothing_but_the_standard_library(tmp_path: Path, kind: str) -> None:
    _write_inputs(tmp_path, tmp_path)
    answer = _bare(["-c", HARNESS, str(SOURCE), str(tmp_path), kind])
    assert answer.returncode == 0, answer.stderr
    code, modules, path = json.loads(answer.stdout)
    assert code == 0
    assert not [folder for folder in path if "site-packages" in folder]
    roots = {name.partition(".")[0] for name in modules}
    assert roots - sys.stdlib_module_names == {"speedrun", "__main__"}
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text())["line"]
    assert line == "hello"


@pytest.mark.parametrize("kind", ["none", "bubblewrap"])
def test_the_verb_itself_runs_on_a_bare_node(tmp_path: Path, kind: str) -> None:
    _write_inputs(tmp_path, tmp_path / "public")
    sources = [{"name": name} for name in ("optuna", "mlflow")]  # installed, but not for -S
    files.write_json(tmp_path / "manifest.json", {"corpus": "nano", "sources": sources})
    spec = schema.TrainSpec(
        timeout_s=20, memory_mb=200, output_mb=1, file_mb=1, processes=9, threads=1, sandbox=kind
    )
    given = {
        "entry": "train.py",
        "shards": tmp_path,
        "probes": tmp_path / "probes.npy",
        "manifest": tmp_path / "manifest.json",
        "spec": json.dumps(schema.to_dict(spec)),
        "folder": tmp_path,
    }
    options = [f"--{name}={value}" for name, value in given.items()]
    answer = _bare(["-m", "speedrun", "train", *options])
    assert (answer.returncode, answer.stderr) == (0, "")
    ended = schema.load(schema.RunExit, tmp_path / "run" / "exit.json")
    assert (ended.ran, ended.exit_code, ended.sandbox) == (True, 0, kind)
    record = schema.load(schema.StageRecord, tmp_path / "train.record.json")
    assert record.versions["torch"] == "absent"
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text())["line"] == "hello"
