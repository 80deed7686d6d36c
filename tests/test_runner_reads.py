"""The harness sees which data files a run opened: real inotify, real sandbox."""

from __future__ import annotations

import concurrent.futures
import os
from pathlib import Path

import pytest

from running import make_spec, run_code
from speedrun.runner import reads, seccomp, workplace
from speedrun.schema import Read, RunExit
from train_bench import Bench

KINDS = pytest.mark.parametrize("kind", ["bubblewrap", "none"])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def seen(ended: RunExit) -> dict[str, Read]:
    assert ended.reads is not None
    return {read.file: read for read in ended.reads}


def test_each_look_stamps_what_was_opened_before_it(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a", "b", "c")}
    for path in files.values():
        path.write_text("x")
    watch = reads.Watch(files, shared=True)
    for now_s, opened in ((1.0, "ab"), (2.0, ""), (2.05, "b"), (3.0, "b"), (4.0, "aaaa")):
        for name in opened:
            files[name].read_text()
        watch.look(now_s)
    watch.look(4.01, at_once=True)
    watch.close()
    assert watch.reads == [
        Read("a", 2, 1.0, 4.0, True),
        Read("b", 2, 1.0, 3.0, True),  # at 2.05 it was too early to look again
        Read("c", 0, None, None, True),
    ]


@KINDS
def test_opens_of_a_run_are_seen_in_their_order(bench: Bench, kind: str) -> None:
    code = (
        "import time\n"
        "open('data/train_000000.bin').close(); time.sleep(0.5)\n"
        "open('data/train_000000.bin').close(); open('data/probes.npy').close()\n"
    )
    ended = bench.train(code, sandbox=kind)
    found = seen(ended)
    train, probes = found["train_000000.bin"], found["probes.npy"]
    assert found["val_000000.bin"] == Read("val_000000.bin", 0, None, None)
    assert (probes.opens, train.shared) == (1, False)
    assert train.first_s is not None and train.last_s is not None and probes.first_s is not None
    assert ended.wall_s is not None
    assert 0 <= train.first_s <= train.last_s <= probes.first_s <= ended.wall_s


@KINDS
def test_looking_around_opens_nothing(bench: Bench, kind: str) -> None:
    code = "import os\nfor name in os.listdir('data'): print(os.stat(f'data/{name}').st_size)"
    assert {read.opens for read in seen(bench.train(code, sandbox=kind)).values()} == {0}


def test_other_ways_to_a_file_are_seen(bench: Bench) -> None:
    """By a link, by another process, by a descriptor's own name, mapped into memory."""
    code = (
        "import mmap, os, subprocess\n"
        "os.symlink('data/train_000000.bin', 'alias'); open('alias').close()\n"
        "subprocess.run(['cat', 'data/val_000000.bin'], stdout=subprocess.DEVNULL)\n"
        "place = os.open('data', os.O_PATH)\n"
        "file = os.open('probes.npy', os.O_PATH, dir_fd=place)\n"
        "mmap.mmap(os.open(f'/proc/self/fd/{file}', os.O_RDONLY), 0, prot=mmap.PROT_READ)\n"
    )
    ended = bench.train(code)
    assert ended.exit_code == 0
    assert [read.opens for read in ended.reads or ()] == [1, 1, 1]


def test_an_open_of_the_last_moment_is_seen(bench: Bench) -> None:
    code = "import os; open('data/val_000000.bin'); os._exit(0)"
    assert seen(bench.train(code))["val_000000.bin"].opens == 1


def test_a_million_opens_neither_fill_the_queue_nor_hide_another(bench: Bench) -> None:
    code = (
        "import os\n"
        "for _ in range(100_000):\n"
        "    for name in ('train_000000.bin', 'probes.npy'):\n"
        "        os.close(os.open(f'data/{name}', os.O_RDONLY))\n"
        "open('data/val_000000.bin').close()\n"
    )
    ended = bench.train(code)
    found = seen(ended)
    assert ended.wall_s is not None
    most = ended.wall_s / reads.INTERVAL_S + 1
    assert 1 <= found["train_000000.bin"].opens <= most
    assert 1 <= found["probes.npy"].opens <= most
    assert found["val_000000.bin"].opens == 1


def test_two_runs_side_by_side_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    one, two = map(Bench, folders)
    two.data, two.probes = one.data, one.probes
    files = ("train_000000.bin", "val_000000.bin")

    def run(bench: Bench, name: str) -> dict[str, int]:
        code = f"import time\nfor _ in range(9): open('data/{name}'); time.sleep(0.05)"
        return {read.file: read.opens for read in seen(bench.train(code)).values()}

    with concurrent.futures.ThreadPoolExecutor(2) as lanes:
        first, second = lanes.map(run, (one, two), files)
    assert (first[files[1]], second[files[0]]) == (0, 0)
    assert first[files[0]] > 0 < second[files[1]]


def test_large_data_is_watched_where_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workplace, "COPIED_BYTES", 100)
    code = "import os; open('data/val_000000.bin'); print(os.stat('data/val_000000.bin').st_ino)"
    found = seen(bench.train(code))
    assert bench.lines() == [str((bench.data / "val_000000.bin").stat().st_ino)]
    assert found["val_000000.bin"].opens == 1
    assert {read.shared for read in found.values()} == {True}


@pytest.mark.parametrize("broken", ["init", "watch"])
def test_where_nothing_can_be_watched_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    if broken == "init":  # as when max_user_instances is reached
        monkeypatch.setattr(reads, "_open", lambda: None)
    path = tmp_path / "there"
    path.write_text("x")
    watch = reads.Watch({"a": path, "b": path if broken == "init" else tmp_path / "gone"}, False)
    watch.look(1.0)
    assert watch.reads is None
    watch.close()


@pytest.mark.skipif(not seccomp.program(), reason="the calls of this machine are not known")
def test_a_run_cannot_use_up_the_queues_of_the_next(bench: Bench) -> None:
    code = (
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "print(libc.inotify_init(), libc.inotify_init1(0), flush=True)\n"
    )
    assert bench.train(code).exit_code == 0
    assert bench.lines() == ["-1 -1"]


def test_two_names_of_one_file_are_both_opened(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("x")
    (tmp_path / "two").symlink_to("one")
    watch = reads.Watch({name: tmp_path / name for name in ("one", "two")}, shared=True)
    for now_s in (1.0, 2.0, 3.0):
        (tmp_path / "one").read_text()
        watch.look(now_s)
    watch.close()
    assert [read.opens for read in watch.reads or ()] == [3, 3]


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_of_data_that_was_replaced_nothing_is_claimed(tmp_path: Path, how: str) -> None:
    """The run has the old file, and our watch would be on the new one."""
    path = tmp_path / "file"
    path.write_text("x")
    watch = reads.Watch({"file": path}, shared=True)
    (tmp_path / "new").write_text("y")
    path.unlink() if how == "removed" else (tmp_path / "new").rename(path)
    watch.look(1.0)
    watch.close()
    assert watch.reads is None


def test_queues_are_given_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(150):  # more than a user may have
        watch = reads.Watch({"file": path}, False)
        assert watch.reads is not None
        watch.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_command_without_data_has_no_reads(tmp_path: Path) -> None:
    assert run_code(tmp_path, "print('x')", make_spec())[0].reads is None
