"""What a run on graphics cards sees, as far as a machine without one can show."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from nvidia_smi import CARDS, GPU, Smi
from speedrun import schema
from speedrun.files import SpeedrunError
from speedrun.runner import gpu
from speedrun.schema import RunExit
from train_bench import SPEC, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_run_says_which_cards_it_had(bench: Bench, smi: Smi) -> None:
    smi(*CARDS)
    ended = bench.train("print('x')", **GPU, world_size=2)
    assert ended.gpus == schema.Gpus(["NVIDIA H200", "NVIDIA H200"], "580.1", [3, None], {})
    assert schema.load(RunExit, bench.out / "exit.json").gpus == ended.gpus
    assert bench.train("print('x')").gpus is None


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_a_run_finds_nvidia_smi_its_own_caches_and_what_the_node_says(
    bench: Bench, smi: Smi, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = smi(*CARDS)
    (folder / "secret").write_text("hunter2")
    libraries = bench.folder / "driver" / "lib"
    libraries.mkdir()
    (libraries / "libcuda.so").write_text("")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("NCCL_NVLS_ENABLE", "0")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib0")  # there is no such network in the sandbox
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{libraries}::relative:{libraries}/gone:")
    monkeypatch.setenv("SPEEDRUN_TEST_SECRET", "hunter2")
    code = (
        "import os, shutil, subprocess\n"
        "print(dict(os.environ))\n"
        "print(subprocess.run(['nvidia-smi'], capture_output=True, text=True).stdout)\n"
        f"print(os.path.exists({str(folder / 'secret')!r}))\n"
        f"print(os.listdir({str(libraries)!r}), os.path.exists('/sys/class'), os.getcwd())\n"
    )
    bench.train(code, **GPU, sandbox=kind)
    variables, *shown, last = bench.lines()
    seen = ast.literal_eval(variables)
    work = last.rpartition(" ")[2]
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["NCCL_NVLS_ENABLE"]) == ("GPU-bb22", "0")
    assert "NCCL_SOCKET_IFNAME" not in seen
    # An empty word is the folder that bubblewrap starts in, the candidate's.
    assert seen["LD_LIBRARY_PATH"] == str(libraries)
    assert seen["TORCHINDUCTOR_CACHE_DIR"] == f"{work}/.cache/inductor"
    assert seen["TRITON_CACHE_DIR"].startswith(seen["HOME"])
    assert "SPEEDRUN_TEST_SECRET" not in seen
    assert str(folder) in seen["PATH"]
    assert shown[0] == CARDS[0]
    assert shown[-1] == str(kind == "none")
    assert last.startswith("['libcuda.so'] True")


def test_folders_of_libraries_show_nothing_else(
    bench: Bench, smi: Smi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home, our own folder or another Python's packages may stand in such a variable too."""
    smi(*CARDS)
    home, conda = bench.folder / "home", bench.folder / "conda"
    packages = conda / "lib" / "python3.9" / "site-packages"
    for folder in (home, packages):
        folder.mkdir(parents=True)
        (folder / "secret").write_text("hunter2")
    (conda / "lib" / "libz.so").write_text("")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{bench.folder}/conda/../home:/:{conda}/lib")
    monkeypatch.setenv("CUDA_HOME", str(Path.cwd()))
    paths = [str(path) for path in (home / "secret", Path.cwd() / "pyproject.toml",
                                    packages / "secret", conda / "lib" / "libz.so")]  # fmt: skip
    bench.train(f"import os; print([os.path.exists(path) for path in {paths!r}])", **GPU)
    assert bench.lines() == ["[False, False, False, True]"]


def test_a_run_is_shown_the_devices_of_its_own_cards(
    tmp_path: Path, smi: Smi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on one card of two could compute on both; a file's number is not the card's index."""
    smi(*CARDS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(gpu, "DEVICES", tmp_path / "dev")
    monkeypatch.setattr(gpu, "DRIVER", tmp_path / "gpus")
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / "dev" / name).touch()

    def shown(**changes: Any) -> set[str]:
        spec = schema.from_dict(schema.TrainSpec, {**schema.to_dict(SPEC), **GPU, **changes})
        return {Path(word).name for word in gpu.devices(spec)[1::3]}

    with pytest.raises(SpeedrunError, match="must not see the node's other cards: ask the sched"):
        shown()
    (tmp_path / "gpus" / "0000:9c:00.0").mkdir(parents=True)
    told = "GPU UUID: \t GPU-bb22\nDevice Minor: \t 0\n"
    (tmp_path / "gpus" / "0000:9c:00.0" / "information").write_text(told)
    assert shown() == {"nvidia0", "nvidiactl", "nvidia-uvm"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert shown(world_size=2) == {"nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"}
    assert shown(device="cpu") == set()


def test_a_cpu_run_is_given_none_of_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib")
    bench.train("import os; print(sorted(os.environ), os.path.exists('/sys/class'))")
    assert "CUDA_VISIBLE_DEVICES" not in bench.lines()[0]
    assert "LD_LIBRARY_PATH" not in bench.lines()[0]
    assert bench.lines()[0].endswith("False")
