"""The runner's protocol, log and clock, with real processes."""

from __future__ import annotations

import concurrent.futures
import errno
import itertools
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from running import BURN, PROTOCOL, make_spec, run_code, text_of
from speedrun.files import SpeedrunError
from speedrun.runner import clock, protocol
from speedrun.runner import log as stamped

# --- protocol ---


def test_protocol_reads_its_own_line() -> None:
    parsed = protocol.parse("step:250/500 val_loss:3.2791 train_time:1234ms step_avg:4.94ms")
    assert parsed == protocol.ProtocolLine(250, 500, 3.2791, 1234)


@pytest.mark.parametrize(
    "line",
    [
        "",
        " " + PROTOCOL,
        PROTOCOL + "x",
        PROTOCOL.replace("1/1", "1" * 5000 + "/1"),
        PROTOCOL.replace("3.0", "9" * 5000),
        PROTOCOL.replace("3.0", "1_0"),
        PROTOCOL.replace("3.0", "٣"),
        PROTOCOL.replace("train_time:1", "train_time:-1"),
        "\0" + PROTOCOL,
    ],
)
def test_protocol_refuses_what_only_resembles_it(line: str) -> None:
    assert protocol.parse(line) is None


@given(st.text() | st.from_regex(r"step:\S+/\S+ val_loss:\S+ train_time:\S+ms step_avg:\S+ms"))
def test_protocol_never_raises(line: str) -> None:
    parsed = protocol.parse(line)
    assert parsed is None or (parsed.step >= 0 and parsed.train_time_ms >= 0)


@given(st.integers(0, 10**9 - 1), st.floats(width=32), st.integers(0, 10**12))
def test_protocol_keeps_every_printable_figure(step: int, loss: float, time_ms: int) -> None:
    line = f"step:{step}/{step} val_loss:{loss:.6e} train_time:{time_ms}ms step_avg:nanms"
    parsed = protocol.parse(line)
    assert parsed is not None
    assert (parsed.step, parsed.train_time_ms) == (step, time_ms)
    assert f"{parsed.val_loss:.6e}" == f"{loss:.6e}"


# --- log ---


@settings(max_examples=50)
@given(output=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_log_does_not_depend_on_how_the_output_was_cut(output: bytes, cuts: list[int]) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"speedrun-test-{os.getpid()}.jsonl"
    edges = sorted({0, len(output), *(min(cut, len(output)) for cut in cuts)})
    with stamped.StampedLog(path, 10**6) as log:
        for start, end in itertools.pairwise(edges):
            log.feed(output[start:end], stamped.Stamp(0.0, 0.0))
        log.end_line()
    lines = text_of(list(stamped.read(path)))
    path.unlink()
    pieces = output.split(b"\n")
    pieces = pieces[:-1] if pieces[-1] == b"" else pieces
    assert lines == [piece.decode("utf-8", "replace") for piece in pieces]


def test_log_stops_keeping_at_its_limit(tmp_path: Path) -> None:
    with stamped.StampedLog(tmp_path / "log", 1000) as log:
        for _ in range(100):
            log.feed(b"\n" * 100, stamped.Stamp(1.0, 1.0))
    assert log.flooded
    assert (tmp_path / "log").stat().st_size < 3000


def test_log_breaks_a_line_that_never_ends(tmp_path: Path) -> None:
    with stamped.StampedLog(tmp_path / "log", 10**6) as log:
        for _ in range(10):
            log.feed(b"x" * 50_000, stamped.Stamp(1.0, 1.0))
        log.end_line()
    lines = text_of(list(stamped.read(tmp_path / "log")))
    assert "".join(lines) == "x" * 500_000
    assert max(map(len, lines)) <= stamped.LINE_BYTES + 50_000


def test_full_disk_is_our_failure_and_kills_the_run(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    started_s = time.monotonic()
    with pytest.raises(SpeedrunError, match=r"cannot write .*log.jsonl \(No space left"):
        run_code(tmp_path, "import time\nprint('x')\ntime.sleep(60)")
    assert time.monotonic() - started_s < 10


def test_broken_log_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("{half")
    with pytest.raises(SpeedrunError, match=r"log\.jsonl is broken"):
        list(stamped.read(tmp_path / "log.jsonl"))


# --- clock ---


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_clock_agrees_with_resource_usage(tmp_path: Path, kind: str) -> None:
    code = BURN + (
        "import os, resource as r\n"
        "burn(0.2)\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        burn(0.1); os._exit(0)\n"
        "    os.wait()\n"
        "use = [r.getrusage(w) for w in (r.RUSAGE_SELF, r.RUSAGE_CHILDREN)]\n"
        "print(sum(u.ru_utime + u.ru_stime for u in use))\n"
        f"print('{PROTOCOL}')\n"
    )
    ended, lines = run_code(tmp_path, code, make_spec(sandbox=kind))
    assert ended.cpu_s is not None
    assert ended.cpu_s == pytest.approx(float(lines[0].line), rel=0.10)
    assert ended.cpu_s > 0.45
    assert ended.cpu_total_s is not None
    assert ended.cpu_s <= ended.cpu_total_s <= ended.cpu_s + 0.2


def test_clock_stamps_the_protocol_line_when_it_comes(tmp_path: Path) -> None:
    code = BURN + f"burn(0.15)\nprint('{PROTOCOL}')\nburn(0.4)\n"
    ended, lines = run_code(tmp_path, code)
    assert ended.cpu_s is not None
    assert ended.cpu_total_s is not None
    assert lines[-1].cpu_s == ended.cpu_s
    assert 0.14 < ended.cpu_s < 0.4
    assert ended.cpu_total_s - ended.cpu_s == pytest.approx(0.4, abs=0.06)


def test_clock_keeps_children_that_nobody_waits_for(tmp_path: Path) -> None:
    """The kernel adds a child to its parent's total only if the parent waits for it."""
    code = BURN + (
        "import os, signal, time\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n"
        "    burn(0.5); os._exit(0)\n"
        "try: os.wait()\n"
        "except ChildProcessError: pass\n"
        "burn(0.4)\n"
    )
    ended, _ = run_code(tmp_path, code)
    assert ended.cpu_total_s is not None
    assert ended.cpu_total_s > 0.7


def test_an_end_is_seen_without_a_descriptor_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)  # Linux before 5.3
    ended, lines = run_code(tmp_path, "print('x'); raise SystemExit(3)", make_spec())
    assert (ended.reason, ended.exit_code, text_of(lines)) == ("exited", 3, ["x"])


def test_clock_never_runs_backwards() -> None:
    code = BURN + (
        "import os\n"
        "for _ in range(5):\n"
        "    if os.fork() == 0:\n"
        "        burn(0.05); os._exit(0)\n"
        "    os.wait()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    tree, seen = clock.TreeClock(child.pid), [0.0]
    while tree.sample().living:
        seen.append(tree.sample().cpu_s)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(used_s, rel=0.1, abs=0.05)  # four figures cut to ticks


def test_children_are_the_same_by_either_way() -> None:
    child = subprocess.Popen(["sleep", "30"])
    try:
        own = {os.getpid()}
        assert child.pid in clock.children(own)
        assert clock.children(own) == clock._children_by_scan(own)
    finally:
        child.kill()
        child.wait()


def test_two_runs_at_once_are_not_mixed_up(tmp_path: Path) -> None:
    def used_s(name: str, burnt_s: float) -> float | None:
        (tmp_path / name).mkdir()
        return run_code(tmp_path / name, f"{BURN}burn({burnt_s})")[0].cpu_total_s

    with concurrent.futures.ThreadPoolExecutor(2) as lanes:
        runs = [lanes.submit(used_s, "short", 0.05), lanes.submit(used_s, "long", 0.5)]
        short_s, long_s = (run.result() for run in runs)
    assert short_s is not None
    assert long_s is not None
    assert short_s < 0.3
    assert 0.5 <= long_s < 0.75


def test_process_name_cannot_confuse_the_clock(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "30"])
    try:
        found = clock.read_process(child.pid)
        assert found is not None
        assert (found.parent, found.ended) == (os.getpid(), False)
    finally:
        child.kill()
        child.wait()
