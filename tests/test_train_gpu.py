"""Runs on graphics cards, as far as a machine without one can show: a stand-in for nvidia-smi."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import speedrun
from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.runner import clock, gpu, sandbox
from speedrun.schema import RunExit
from train_bench import SPEC, Bench

CARDS = [
    "0, GPU-aa11, NVIDIA H200, 580.1, 3, 00000000:1B:00.0",
    "1, GPU-bb22, NVIDIA H200, 580.1, [N/A], 00000000:9C:00.0",
]
GPU: dict[str, Any] = {"device": "cuda", "gpu": "NVIDIA H200"}
Smi = Callable[..., Path]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    """Put an nvidia-smi with these cards first on the PATH, and no variable about cards."""
    for name in list(os.environ):
        if name in gpu.PASSED or name.startswith(gpu.PASSED_PREFIX):
            monkeypatch.delenv(name)

    def install(*lines: str) -> Path:
        folder = tmp_path / "driver" / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        script = "#!/bin/sh\ncat <<'X'\n" + "\n".join(lines) + "\nX\n"
        (folder / "nvidia-smi").write_text(script)
        (folder / "nvidia-smi").chmod(0o755)
        if str(folder) not in os.environ["PATH"]:
            monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return folder

    return install


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


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("1", "B"),
        ("1,0", "BA"),
        ("GPU-bb", "B"),
        ("", ""),
        (" 0 ", "A"),
        ("7", ""),
        ("0,0", "A"),
        (None, "AB"),
    ],
)
def test_cards_are_those_that_the_scheduler_left(choice: str | None, names: str) -> None:
    listed = [gpu.Card(str(i), uuid, name, "1", 0)
              for i, (uuid, name) in enumerate([("GPU-aa11", "A"), ("GPU-bb22", "B")])]  # fmt: skip
    assert "".join(card.name for card in gpu._visible(listed, choice)) == names


def test_too_few_or_other_cards_are_refused(bench: Bench, smi: Smi) -> None:
    smi(*CARDS)
    with pytest.raises(SpeedrunError, match=r"8 GPUs are needed and 2 are visible.*hardware="):
        bench.train("print('x')", **GPU, world_size=8)
    with pytest.raises(SpeedrunError, match=r"GPU 0 is a NVIDIA H200, not the NVIDIA L4"):
        bench.train("print('x')", device="cuda", gpu="NVIDIA L4")
    assert not (bench.out / "exit.json").exists()


def test_a_node_without_cards_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SpeedrunError, match=r"nvidia-smi does not answer here.*hardware=cpu"):
        bench.train("print('x')", **GPU)


def test_a_broken_driver_is_named(bench: Bench, smi: Smi) -> None:
    folder = smi()
    (folder / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(SpeedrunError, match=r"nvidia-smi does not answer here.*status 9"):
        bench.train("print('x')", **GPU)


def test_what_is_not_run_needs_no_card(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert bench.train(None, **GPU, not_run="the model declined").ran is False


BUSY = "0, GPU-aa11, NVIDIA H200, 580.1, 5000, 00000000:1B:00.0"


def test_a_busy_card_is_never_the_candidates_failure(
    bench: Bench, smi: Smi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "FREE_WAIT_S", 0.0)
    smi(BUSY)
    with pytest.raises(SpeedrunError, match=r"holds 5000 MiB of GPU 0 \(NVIDIA H200\).*wait for"):
        bench.train("raise MemoryError", **GPU)
    assert not (bench.out / "exit.json").exists()


@pytest.mark.parametrize(("line", "why"), [(BUSY, "holds 5000"), ("", "0 are visible")])
def test_a_card_that_is_taken_or_lost_meanwhile_is_not_either(
    bench: Bench, smi: Smi, monkeypatch: pytest.MonkeyPatch, line: str, why: str
) -> None:
    monkeypatch.setattr(gpu, "FREE_WAIT_S", 0.0)
    folder = smi(*CARDS)
    script = f"#!/bin/sh\necho '{line}'\n"
    meanwhile = f"open({str(folder / 'nvidia-smi')!r}, 'w').write({script!r})"
    with pytest.raises(SpeedrunError, match=why):
        bench.train(f"{meanwhile}\nraise MemoryError", **GPU, sandbox="none")
    assert not (bench.out / "exit.json").exists()
    assert not (bench.out / "finished.json").exists()


def test_memory_of_an_ended_program_is_waited_for(
    bench: Bench, smi: Smi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "PAUSE_S", 0.3)
    folder = smi(BUSY)
    threading.Timer(0.8, smi, CARDS).start()
    ended = bench.train("print('x')", **GPU)
    assert (folder / "nvidia-smi").read_text().count("5000") == 0
    assert ended.gpus is not None
    assert ended.gpus.used_mb == [3]


def test_a_run_waits_for_the_card_that_another_uses(bench: Bench, smi: Smi) -> None:
    smi("0, GPU-test-lock, NVIDIA H200, 580.1, 3, 00000000:1B:00.0")
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with gpu.reserved(schema.from_dict(schema.TrainSpec, {**schema.to_dict(SPEC), **GPU})):
            held.set()
            let_go.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(30)
    threading.Timer(1.5, let_go.set).start()
    started_s = time.monotonic()
    ended = bench.train("print('x')", **GPU)
    other.join()
    assert time.monotonic() - started_s > 1.4
    assert ended.wall_s is not None
    assert ended.wall_s < 1.4  # the wait is no part of the run


WAIT = """
import os, pathlib, subprocess, sys
from speedrun import schema
from speedrun.runner import gpu
if len(sys.argv) > 1:
    os.environ["SPEEDRUN_WORKFLOW_PID"] = str(os.getpid())
    subprocess.run([sys.executable, "-c", sys.argv[1]])
else:
    pathlib.Path("waits").write_text(str(os.getpid()))
    with gpu.reserved(schema.from_dict(schema.TrainSpec, SPEC)): pathlib.Path("ran").touch()
"""


def test_a_wait_ends_with_the_workflow_that_asked_for_the_run(tmp_path: Path, smi: Smi) -> None:
    """Otherwise it would take the card for hours when it is free, for nobody."""
    smi("0, GPU-test-orphan, NVIDIA H200, 580.1, 3, 00000000:1B:00.0")
    spec = schema.from_dict(schema.TrainSpec, {**schema.to_dict(SPEC), **GPU})
    code = WAIT.replace("SPEC", repr(schema.to_dict(spec)))
    words = [sys.executable, "-c", code, code]
    source = str(Path(speedrun.__file__).parents[1])
    with gpu.reserved(spec):
        started = subprocess.Popen(
            words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": source}, stderr=subprocess.DEVNULL
        )
        assert _wait_for(lambda: (tmp_path / "waits").is_file() and _pid(tmp_path) > 0)
        time.sleep(0.5)
        started.kill()
        started.wait()
        assert _wait_for(lambda: _ended(_pid(tmp_path)))
    assert not (tmp_path / "ran").exists()


def _pid(folder: Path) -> int:
    return int((folder / "waits").read_text() or 0)


def _ended(pid: int) -> bool:
    process = clock.read_process(pid)
    return process is None or process.ended


def _wait_for(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return condition()


def test_the_key_holds_model_size_and_launch(bench: Bench, smi: Smi) -> None:
    def key(**changes: Any) -> str:
        return bench.train("print('x')", **{**GPU, **changes}).key

    smi(*CARDS)
    keys = {
        key(),
        key(world_size=2),
        key(data_prefix="fineweb10B/"),
        key(gpu=""),
        key(launch="torchrun", timeout_s=0.5),
    }
    smi(CARDS[0].replace("H200", "H100"), CARDS[1])
    assert len(keys | {key(gpu="")}) == 6


def test_an_earlier_runs_key_did_not_know_of_launches(bench: Bench) -> None:
    """Runs that were paid for before there were GPUs stay good: their key has no new part."""
    ended = bench.train("print('x')")
    python = sandbox.interpreter()
    spec = schema.to_dict(SPEC)
    later = ("launch", "world_size", "data_prefix", "gpu", "hub_cache", "train_shards", "image")
    for name in later:
        del spec[name]
    inputs = {name: files.digest_file(bench.data / name) for name in
              ("train_000000.bin", "val_000000.bin")}  # fmt: skip
    parts = {
        "version": 1,
        "interpreter": {"python": python.version, "torch": python.version_of("torch")},
        "solution": files.digest_tree(bench.solution),
        "entry": "train.py",
        "inputs": {**inputs, "probes.npy": files.digest_file(bench.probes)},
        "spec": spec,
        "seed": 1,
        "not_run": "",
    }
    assert ended.key == files.digest_value(parts)


# --- downloads ---


def _hub(folder: Path, *snapshots: str) -> Path:
    for name in snapshots:
        path = folder / "huggingface" / "hub" / name
        path.mkdir(parents=True)
        (path / "kernel.py").write_text("hello")
    (folder / "tiktoken").mkdir(parents=True)
    (folder / "tiktoken" / "6c7e").write_text("{}")
    return folder


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_downloads_are_shown_read_only_and_offline(bench: Bench, kind: str) -> None:
    hub = _hub(bench.folder / "hub", "models--some--flash-attn3/snapshots/abc")
    (hub / "huggingface" / "token").write_text("hf_secret")  # as a log-in leaves it
    code = (
        "import os\n"
        "kernel = os.environ['LOCAL_KERNELS']\n"
        "print(kernel.partition('=')[0], open(kernel.partition('=')[2] + '/kernel.py').read())\n"
        "print(os.listdir(os.environ['TIKTOKEN_CACHE_DIR']), os.environ['HF_HUB_OFFLINE'])\n"
        "try: open(os.environ['HF_HOME'] + '/x', 'w')\n"
        "except OSError: print('read-only')\n"
        "if not os.path.exists(os.environ['HF_HOME'] + '/token'): print('no token')\n"
    )
    bench.train(code, hub_cache=str(hub), sandbox=kind)
    expected = ["some/flash-attn3 hello", "['6c7e'] 1"]
    assert bench.lines()[:2] == expected
    assert (bench.lines()[2:] == ["read-only", "no token"]) == (kind == "bubblewrap")


def test_another_snapshot_is_another_run(bench: Bench, smi: Smi) -> None:
    smi(*CARDS)
    hub = _hub(bench.folder / "hub", "models--a--b/snapshots/one")
    first = bench.train("print('x')", **GPU, hub_cache=str(hub)).key
    (hub / "huggingface/hub/models--a--b/snapshots/one").rename(
        hub / "huggingface/hub/models--a--b/snapshots/two"
    )
    assert bench.train("print('x')", **GPU, hub_cache=str(hub)).key != first


def test_unfit_downloads_are_named(bench: Bench) -> None:
    with pytest.raises(SpeedrunError, match=r"nowhere is missing: .*docs/hardware.md"):
        bench.train("print('x')", hub_cache=str(bench.folder / "nowhere"))
    two = ("models--a--b/snapshots/one", "models--a--b/snapshots/two")
    hub = _hub(bench.folder / "hub", *two)
    with pytest.raises(SpeedrunError, match=r"models--a--b/snapshots holds several"):
        bench.train("print('x')", hub_cache=str(hub))


# --- arguments, data ---


def test_the_entry_gets_the_lines_of_arguments_txt(bench: Bench) -> None:
    (bench.solution / "arguments.txt").write_text("--input\ndata/f/*.bin\n\n--n 3\n")
    bench.train("import sys; print(sys.argv)")
    assert bench.lines() == ["['train.py', '--input', 'data/f/*.bin', '--n 3']"]


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"x" * 16385, "longer than"), (b"a\0b", "not text"), (b"\xff", "not UTF-8")],
)
def test_unusable_arguments_are_the_candidates_failure(
    bench: Bench, content: bytes, why: str
) -> None:
    (bench.solution / "arguments.txt").write_bytes(content)
    ended = bench.train("print('x')")
    assert ended.ran is False
    assert why in ended.reason


def test_arguments_are_not_read_through_a_link(bench: Bench) -> None:
    (bench.solution / "arguments.txt").symlink_to("/etc/passwd")
    bench.train("import sys; print(sys.argv)")
    assert bench.lines() == ["['train.py']"]


def test_unknown_launch_is_our_failure(bench: Bench) -> None:
    with pytest.raises(SpeedrunError, match="launch 'mpi' is unknown: choose python or torchrun"):
        bench.train("print('x')", launch="mpi")


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_shards_are_shown_below_their_prefix(bench: Bench, kind: str) -> None:
    code = "import glob; print(sorted(glob.glob('data/**', recursive=True)))"
    bench.train(code, data_prefix="fineweb10B/", sandbox=kind)
    shown = ["fineweb10B", "fineweb10B/train_000000.bin", "fineweb10B/val_000000.bin", "probes.npy"]
    assert ast.literal_eval(bench.lines()[0]) == ["data/", *(f"data/{name}" for name in shown)]


def test_digests_of_shards_are_not_computed_anew(bench: Bench) -> None:
    """Upstream's shards are 200 MB each: what meta.json says of them stands."""
    names = [path.name for path in bench.data.iterdir()]
    files.write_json(bench.folder / "meta.json", {"sha256": dict.fromkeys(names, "as written")})
    bench.probes.unlink()
    before = bench.train("print('x')", with_probes=False).key
    bench.shard("train", [7, 8, 9])
    assert bench.train("print('x')", with_probes=False).key == before
