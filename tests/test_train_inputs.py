"""What a run is given beside its code: downloads, arguments, shards; and the key that holds it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from nvidia_smi import CARDS, GPU, Smi
from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.runner import sandbox
from train_bench import SPEC, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


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
