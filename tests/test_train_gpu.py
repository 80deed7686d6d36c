"""Runs on graphics cards, as far as a machine without one can show: a stand-in for nvidia-smi."""

from __future__ import annotations

import ast
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.runner import gpu, sandbox
from speedrun.schema import RunExit
from train_bench import SPEC, Bench

CARDS = ["0, GPU-aa11, NVIDIA H200, 580.1, 3", "1, GPU-bb22, NVIDIA H200, 580.1, [N/A]"]
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
    libraries = bench.folder / "driver" / "lib"
    libraries.mkdir()
    (libraries / "libcuda.so").write_text("")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("NCCL_NVLS_ENABLE", "0")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{libraries}::relative:/")
    monkeypatch.setenv("SPEEDRUN_TEST_SECRET", "hunter2")
    code = (
        "import os, shutil, subprocess\n"
        "print(dict(os.environ))\n"
        "print(subprocess.run(['nvidia-smi'], capture_output=True, text=True).stdout)\n"
        f"print(os.listdir({str(libraries)!r}), os.path.exists('/sys/class'), os.getcwd())\n"
    )
    bench.train(code, **GPU, sandbox=kind)
    variables, *shown, last = bench.lines()
    seen = ast.literal_eval(variables)
    work = last.rpartition(" ")[2]
    assert {name: seen[name] for name in ("CUDA_VISIBLE_DEVICES", "NCCL_NVLS_ENABLE")} == {
        "CUDA_VISIBLE_DEVICES": "1", "NCCL_NVLS_ENABLE": "0",
    }  # fmt: skip
    assert seen["TORCHINDUCTOR_CACHE_DIR"] == f"{work}/.cache/inductor"
    assert seen["TRITON_CACHE_DIR"].startswith(seen["HOME"])
    assert "SPEEDRUN_TEST_SECRET" not in seen
    assert str(folder) in seen["PATH"]
    assert shown[0] == CARDS[0]
    assert last.startswith("['libcuda.so'] True")


def test_a_cpu_run_is_given_none_of_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib")
    bench.train("import os; print(sorted(os.environ), os.path.exists('/sys/class'))")
    assert "CUDA_VISIBLE_DEVICES" not in bench.lines()[0]
    assert "LD_LIBRARY_PATH" not in bench.lines()[0]
    assert bench.lines()[0].endswith("False")


@pytest.mark.parametrize(
    ("choice", "names"),
    [("1", "B"), ("1,0", "BA"), ("GPU-bb", "B"), ("", ""), (" 0 ", "A"), ("7", ""), (None, "AB")],
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


def test_a_busy_card_is_a_note(bench: Bench, smi: Smi, capsys: pytest.CaptureFixture[str]) -> None:
    smi("0, GPU-aa11, NVIDIA H200, 580.1, 5000")
    ended = bench.train("print('x')", **GPU)
    assert "holds 5000 MiB of GPU 0 (NVIDIA H200)" in capsys.readouterr().err
    assert ended.gpus is not None
    assert ended.gpus.used_mb == [5000]


def test_a_run_waits_for_the_card_that_another_uses(bench: Bench, smi: Smi) -> None:
    smi("0, GPU-test-lock, NVIDIA H200, 580.1, 3")
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
    for name in ("launch", "world_size", "data_prefix", "gpu", "hub_cache", "train_shards"):
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
    code = (
        "import os\n"
        "kernel = os.environ['LOCAL_KERNELS']\n"
        "print(kernel.partition('=')[0], open(kernel.partition('=')[2] + '/kernel.py').read())\n"
        "print(os.listdir(os.environ['TIKTOKEN_CACHE_DIR']), os.environ['HF_HUB_OFFLINE'])\n"
        "try: open(os.environ['HF_HOME'] + '/x', 'w')\n"
        "except OSError: print('read-only')\n"
    )
    bench.train(code, hub_cache=str(hub), sandbox=kind)
    expected = ["some/flash-attn3 hello", "['6c7e'] 1"]
    assert bench.lines()[:2] == expected
    assert (bench.lines()[2:] == ["read-only"]) == (kind == "bubblewrap")


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
