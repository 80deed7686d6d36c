"""A run's code is frozen, its place fresh: nothing passes from one run to the next."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.runner import disk, process, workplace
from speedrun.stages import train as stage
from train_bench import Bench

KINDS = pytest.mark.parametrize("kind", ["bubblewrap", "none"])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_source_that_changes_while_it_runs_is_our_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = process.run

    def run(*given: object, **options: object) -> object:
        (bench.solution / "train.py").write_text("print('another')")
        return really(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stage.process, "run", run)
    with pytest.raises(SpeedrunError, match=r"solution changed while it was run: run it again"):
        bench.train("print('one')")
    assert not (bench.out / "exit.json").exists()
    assert not (bench.out / "finished.json").exists()


def test_a_source_that_changes_before_it_runs_is_our_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = workplace._copy

    def copy(source: Path, target: Path) -> None:
        really(source, target)
        target.write_bytes(target.read_bytes() + b"\n")

    monkeypatch.setattr(workplace, "_copy", copy)
    with pytest.raises(SpeedrunError, match="changed while it was run"):
        bench.train("print('one')")


def nest(solution: Path, names: int, depth: int) -> None:
    paths = [f"{number}/{'d/' * depth}" for number in range(names)]
    subprocess.run(["mkdir", "-p", *paths], cwd=solution, check=True)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda solution: nest(solution, 1, 1100), "32 levels"),  # Python would recurse 1,000
        (lambda solution: os.truncate(solution / "train.py", 2**40), "more than 67108864 bytes"),
        (lambda solution: os.truncate(solution / "train.py", 2**26 - 2**20), ""),
        (lambda solution: (solution / "\udcff\n").touch(), ""),
        (lambda solution: nest(solution, 3, 30), ""),
    ],
)
def test_a_solution_of_any_shape_is_run_or_refused(
    bench: Bench, make: Callable[[Path], None], why: str
) -> None:
    (bench.solution / "train.py").touch()
    make(bench.solution)
    ended = bench.train(None)
    assert ended.ran == (why == "")
    assert why in ended.reason
    disk.remove(bench.solution)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["", "train.py", "folder"])
def test_a_locked_solution_is_refused(bench: Bench, name: str) -> None:
    (bench.solution / "train.py").touch()
    (bench.solution / "folder").mkdir()
    (bench.solution / name).chmod(0)
    assert "which cannot be read" in bench.train(None).reason


def test_a_full_disk_is_our_failure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workplace, "_copy", copy)
    with pytest.raises(SpeedrunError, match=r"the disk of .* is full: free some space"):
        bench.train("print('one')")
    assert not (bench.out / "exit.json").exists()


@KINDS
def test_what_a_run_does_to_its_own_files_is_recorded(bench: Bench, kind: str) -> None:
    (bench.solution / "sub").mkdir()
    for name in ("a.py", "b.py", "c.py", "sub/d.py", "kept.py"):
        (bench.solution / name).write_text(name)
    code = (
        "import os, shutil\n"
        "open('train.py', 'a').write('#')\n"
        "os.remove('a.py'); os.mkfifo('a.py')\n"
        "os.remove('b.py'); os.symlink('/etc/hostname', 'b.py')\n"
        "os.remove('c.py')\n"
        "os.rename('sub', 'moved'); os.symlink('moved', 'sub')\n"
        "open('new', 'w').write('x')\n"
    )
    ended = bench.train(code, sandbox=kind)
    assert ended.exit_code == 0, bench.lines()
    assert ended.changed == ["a.py", "b.py", "c.py", "sub/d.py", "train.py"]
    assert files.read_tree(bench.solution)["train.py"] == code


def test_an_honest_run_changes_none_of_its_files(bench: Bench) -> None:
    assert bench.train("open('log.txt', 'w').write('x')").changed == []


@pytest.mark.parametrize("make", ["os.mkdir", "(lambda name: os.symlink(name, name))", "os.mkfifo"])
def test_no_file_of_a_run_can_hang_or_end_the_check(bench: Bench, make: str) -> None:
    (bench.solution / "deep").mkdir()
    (bench.solution / "deep" / "a.py").write_text("x")
    code = f"import os, shutil\nshutil.rmtree('deep'); {make}('deep')"
    assert bench.train(code).changed == ["deep/a.py"]


LEAVE = """
import os, pathlib, sys, tempfile
seen = []
names = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
folders = [os.environ.get(name) for name in names]
folders += [tempfile.gettempdir(), "."] + ["/dev/shm", "/var/tmp"] * CONTAINED
for folder in filter(None, folders):
    note = pathlib.Path(folder, ".cache-of-a-run")
    if note.exists() and folder not in folders[:folders.index(folder)]:
        seen.append(folder)
for folder in filter(None, folders):
    try: pathlib.Path(folder, ".cache-of-a-run").write_text("x")
    except OSError: pass
print(seen)
"""


@KINDS
def test_nothing_is_kept_from_one_run_to_the_next(bench: Bench, kind: str) -> None:
    code = f"CONTAINED = {kind == 'bubblewrap'}\n{LEAVE}"
    found = []
    for seed in (1, 2):
        bench.train(code, seed=seed, sandbox=kind)
        found += bench.lines()
    assert found == ["[]", "[]"]


@KINDS
def test_no_variable_points_outside_the_run(
    bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HOME", "TORCH_HOME", "TRITON_CACHE_DIR", "XDG_CACHE_HOME", "PYTHONPATH"):
        monkeypatch.setenv(name, "/somewhere/of/the/user")
    code = "import json, os; print(json.dumps([dict(os.environ), os.getcwd()]))"
    bench.train(code, sandbox=kind)
    variables, here = json.loads(bench.lines()[0])
    place = here if kind == "bubblewrap" else str(Path(here).parent)
    paths = {name: text for name, text in variables.items() if text.startswith("/")}
    assert variables["HOME"] == here
    assert {name for name, text in paths.items() if not text.startswith(place)} <= {"PATH"}


@pytest.mark.slow
def test_a_compile_cache_is_the_runs_own(bench: Bench) -> None:
    """torch.compile keeps its cache below HOME or the temporary folder: both go with the run."""
    pytest.importorskip("torch")
    code = (
        "import os, tempfile\n"
        "from torch._inductor.runtime.cache_dir_utils import cache_dir\n"
        "print(os.path.relpath(cache_dir(), tempfile.gettempdir())[:2] != '..')\n"
    )
    ended = bench.train(code, sandbox="none", memory_mb=2000, timeout_s=120)
    assert (ended.exit_code, bench.lines()) == (0, ["True"])


@KINDS
def test_the_place_is_removed_and_the_data_unharmed(bench: Bench, places: Path, kind: str) -> None:
    before = (bench.data / "train_000000.bin").read_bytes()
    code = "try: open('data/train_000000.bin', 'wb').write(b'x')\nexcept OSError: pass"
    assert bench.train(code, sandbox=kind).exit_code == 0
    assert (bench.data / "train_000000.bin").read_bytes() == before
    assert os.listdir(places) == []
    assert os.listdir(bench.solution) == ["train.py"]
