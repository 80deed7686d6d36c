"""The harness side of train runs on a bare interpreter: no site-packages, no environment."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import speedrun

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


@pytest.mark.parametrize("kind", ["none", "bubblewrap"])
def test_train_needs_nothing_but_the_standard_library(tmp_path: Path, kind: str) -> None:
    if kind == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("the bundled bubblewrap is a package, which a bare interpreter lacks")
    (tmp_path / "solution").mkdir()
    (tmp_path / "solution" / "train.py").write_text("print('hello')\n")
    (tmp_path / "probes.npy").write_bytes(b"contexts")
    shard = struct.pack("<256i", 20240520, 1, 1, *[0] * 253) + b"ab"
    (tmp_path / "train_000000.bin").write_bytes(shard)
    answer = subprocess.run(
        [sys.executable, "-S", "-E", "-c", HARNESS, str(SOURCE), str(tmp_path), kind],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    code, modules, path = json.loads(answer.stdout)
    assert code == 0
    assert not [folder for folder in path if "site-packages" in folder]
    roots = {name.partition(".")[0] for name in modules}
    assert roots - sys.stdlib_module_names == {"speedrun", "__main__"}
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text())["line"]
    assert line == "hello"
