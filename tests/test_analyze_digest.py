"""The digest: what the next generation reads of a run, whatever the run printed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from running import PROTOCOL, make_spec, run_code, text_of
from speedrun import cli, schema
from speedrun.files import SpeedrunError
from speedrun.runner.log import encode
from speedrun.schema import Analysis, Outcome, Parent, RunExit, TrackSpec
from speedrun.stages import analyze as stage
from speedrun.stages.analyze import digest, reading
from speedrun.stages.analyze.tracebacks import Crash, Frame, Tracebacks

TRACK = TrackSpec(
    name="micro", corpus="c", records=["r01"], entry="train.py", target_loss=3.5, clock="cpu",
    after_clock_s_max=1.0, train_time_ratio_min=0.5,
)  # fmt: skip
ENDED = RunExit(
    ran=True, reason="exited", exit_code=0, wall_s=11.0, cpu_s=10.0, cpu_total_s=10.5,
    peak_rss_mb=99.4, seed=1, solution_digest="d" * 64, device="cpu", sandbox="bubblewrap",
)  # fmt: skip
CRASHED = dataclasses.replace(ENDED, exit_code=1)


def point(step: int, loss: float, cpu_s: float, steps: int = 20) -> tuple[float, str]:
    time_ms = round(cpu_s * 980)
    return cpu_s, f"step:{step}/{steps} val_loss:{loss} train_time:{time_ms}ms step_avg:1.0ms"


GOOD = [point(10, 4.0, 4.0), point(20, 3.4, 10.0)]
SLOWER = [point(10, 4.2, 5.0), point(15, 3.8, 8.0), point(20, 3.45, 12.5)]
Lines = list[tuple[float, str]]


def analyzed(
    folder: Path, lines: Lines, ended: RunExit = ENDED, before: Analysis | None = None
) -> Analysis:
    run = folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    log = [{"wall_s": at + 0.5, "cpu_s": at, "line": line} for at, line in lines]
    (run / "log.jsonl").write_bytes(b"".join(map(encode, log)))
    schema.save(run / "exit.json", ended)
    return stage.analyze(run, TRACK, None, before=stage.Before(1, before) if before else None)


def told(folder: Path, output: str, *first: tuple[float, str]) -> list[str]:
    """The digest of a run that printed ``output`` and died."""
    lines = [*first, *[(11.0, line) for line in output.splitlines()]]
    return analyzed(folder, lines, CRASHED).digest.splitlines()


# --- the digest of a run that came to its end ---


def test_a_good_run_without_a_parent(tmp_path: Path) -> None:
    assert analyzed(tmp_path, GOOD).digest.splitlines() == [
        "outcome: ok",
        "time: 10.00 s to the target",
        "memory at most: 99 MB of main memory",
        "val_loss by step, of 20: 10: 4.0000 at 4.0 s; 20: 3.4000 at 10.0 s",
    ]


def test_a_run_is_held_against_its_parent(tmp_path: Path) -> None:
    parent = analyzed(tmp_path, SLOWER)
    lines = analyzed(tmp_path, GOOD, before=parent).digest.splitlines()
    assert lines[1] == "time: 10.00 s to the target, 0.800 times that of attempt 1 (12.50 s)"
    assert lines[-2:] == [
        "val_loss less that of attempt 1 at the same steps: 10: -0.2000; 20: -0.0500",
        "last val_loss: 3.4000 at step 20, attempt 1 had 3.4500 at step 20 (-0.0500)",
    ]


def test_a_run_that_missed_the_target_is_compared_too(tmp_path: Path) -> None:
    parent = analyzed(tmp_path, SLOWER)
    missed = analyzed(tmp_path, [point(7, 5.0, 4.0, 14), point(14, 3.6, 10.0, 14)], before=parent)
    lines = missed.digest.splitlines()
    assert lines[:3] == [
        "outcome: missed_target",
        "reason: the last val_loss is 3.6, the target 3.5",
        "time: 10.00 s to its end, 0.800 times that of attempt 1 (12.50 s)",
    ]
    assert lines[-2].endswith("at the same steps: no step in common")
    assert lines[-1].endswith("3.6000 at step 14, attempt 1 had 3.4500 at step 20 (+0.1500)")


def test_a_parent_without_a_curve_is_not_compared(tmp_path: Path) -> None:
    parent = analyzed(tmp_path, [], CRASHED)
    assert "attempt 1" not in analyzed(tmp_path, GOOD, before=parent).digest


def test_printed_gpu_memory_is_told(tmp_path: Path) -> None:
    lines = [*GOOD, (10.0, "peak memory allocated: 30141 MiB reserved: 45096 MiB")]
    found = analyzed(tmp_path, lines).digest
    assert "30141 MiB allocated on a GPU, as printed, 45096 MiB reserved there" in found


@pytest.mark.parametrize(
    ("reason", "outcome"), [("timeout", Outcome.TIMEOUT), ("oom", Outcome.OOM)]
)
def test_a_cap_is_told_with_how_far_the_run_came(
    tmp_path: Path, reason: str, outcome: Outcome
) -> None:
    ended = dataclasses.replace(ENDED, reason=reason, exit_code=None, signal=9)
    lines = analyzed(tmp_path, GOOD[:1], ended).digest.splitlines()
    assert lines[0] == f"outcome: {outcome}"
    assert "time: ended after 11.0 s" in lines
    assert lines[-1] == "val_loss by step, of 20: 10: 4.0000 at 4.0 s"


def test_a_run_that_never_began_quotes_nothing(tmp_path: Path) -> None:
    ended = RunExit(ran=False, reason="not_run: solution has no train.py")
    found = analyzed(tmp_path, [], ended).digest
    assert found == "outcome: candidate_error\nreason: solution has no train.py"


# --- where the parent's analysis lies ---


def node(trial: Path, number: int, parent: int, lines: Lines) -> Path:
    folder = trial / f"node_{number}"
    analyzed(folder, lines)
    schema.save(
        folder / "parent.json", Parent(number, parent, 1, "draft", None, "", "d" * 64, 0, 0)
    )
    return folder


def test_the_parents_analysis_lies_beside_or_is_the_roots(tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    schema.save(root, analyzed(tmp_path / "reference", SLOWER))
    first = stage.analyze_node(node(tmp_path, 1, 0, GOOD), TRACK, None, root_analysis=root)
    assert "0.800 times that of the start record (12.50 s)" in first.digest
    second = stage.analyze_node(node(tmp_path, 2, 1, SLOWER), TRACK, None, root_analysis=root)
    assert "1.250 times that of attempt 1 (10.00 s)" in second.digest
    assert "times that" not in stage.analyze_node(tmp_path / "node_1", TRACK, None).digest


def test_a_parent_that_is_not_analysed_is_our_failure(tmp_path: Path) -> None:
    folder = node(tmp_path, 2, 1, GOOD)
    with pytest.raises(SpeedrunError, match=r"node_1/analysis\.json is missing"):
        stage.analyze_node(folder, TRACK, None)


def test_the_command_line_takes_the_roots_analysis(tmp_path: Path) -> None:
    schema.save(tmp_path / "root.json", analyzed(tmp_path / "reference", SLOWER))
    (tmp_path / "meta.json").write_text('{"vocab_size": null}')
    folder = node(tmp_path, 1, 0, GOOD)
    words = ["analyze", "--track", json.dumps(schema.to_dict(TRACK)), "--shards", str(tmp_path)]
    words += ["--folder", str(folder), "--root-analysis", str(tmp_path / "root.json")]
    assert cli.main(words) == 0
    assert "times that of the start record" in (folder / "summary.md").read_text()


# --- exceptions ---

CHAINED = """\
Traceback (most recent call last):
  File "/candidate/model.py", line 4, in run
    return {}["x"]
           ~~^^^^^
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/candidate/train.py", line 8, in <module>
    main()
  File "/candidate/kernels/model.py", line 6, in run
    return torch.nn.functional.linear(a, b.reshape(2,2))
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/x/.venv/lib/python3.11/site-packages/torch/nn/functional.py", line 12, in linear
    return handle()
torch.OutOfMemoryError: CUDA out of memory.
Tried to allocate 20 GiB.
"""


def test_an_exception_is_told_with_its_own_last_frames(tmp_path: Path) -> None:
    assert told(tmp_path, CHAINED, *GOOD[:1])[:9] == [
        "outcome: oom",
        "reason: died of an exception: out of GPU memory",
        "error: torch.OutOfMemoryError: CUDA out of memory.",
        "  | Tried to allocate 20 GiB.",
        "last frames in its own files:",
        "  | train.py, line 8, in <module>",
        "  |     main()",
        "  | kernels/model.py, line 6, in run",
        "  |     return torch.nn.functional.linear(a, b.reshape(2,2))",
    ]
    assert told(tmp_path, CHAINED)[9] == "raised in: torch/nn/functional.py, line 12, in linear"


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.", Outcome.OOM),
        ("torch.cuda.OutOfMemoryError: Allocation on device", Outcome.OOM),
        ("RuntimeError: CUDA error: out of memory", Outcome.OOM),
        ("RuntimeError: no CUDA device, none out of memory", Outcome.CANDIDATE_ERROR),
        ("MemoryErrorOfMine: x", Outcome.CANDIDATE_ERROR),
    ],
)
def test_a_card_without_memory_left_is_told_from_other_exceptions(
    tmp_path: Path, line: str, outcome: Outcome
) -> None:
    caught = [(11.0, text) for text in f"{_raised(line)}\n{PROTOCOL}".splitlines()]
    assert analyzed(tmp_path, caught).outcome is not Outcome.OOM  # it went on and ended well
    died = [*caught[:-1], (11.0, "bye")]
    assert analyzed(tmp_path, died, CRASHED).outcome is outcome
    killed = dataclasses.replace(ENDED, exit_code=None, signal=6)
    assert analyzed(tmp_path, died, killed).outcome is outcome


def _raised(line: str) -> str:
    return f'Traceback (most recent call last):\n  File "/candidate/train.py", line 1, in f\n{line}'


LAUNCHER = """\
W1122 10:50:53.138000 17299 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process
E1122 10:50:53.174000 17299 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/v/lib/python3.11/site-packages/torch/distributed/launcher/api.py", line 383, in launch_agent
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
Root Cause (first observed failure):
"""  # noqa: E501


def of_rank(rank: int, text: str) -> str:
    return "".join(f"[rank{rank}]: {line}\n" if line else "\n" for line in text.splitlines())


def test_of_many_ranks_the_first_that_failed_is_told(tmp_path: Path) -> None:
    lost = CHAINED.replace("CUDA out of memory.", "Connection closed by peer")
    output = of_rank(3, CHAINED) + of_rank(0, lost) + of_rank(1, lost) + LAUNCHER
    lines = told(tmp_path, output)
    assert lines[2] == (
        "error in rank 3, the first to fail: torch.OutOfMemoryError: CUDA out of memory."
    )
    assert "peer" not in "".join(lines)
    assert "ChildFailedError" not in "".join(lines)


MISSING = """\
Traceback (most recent call last):
  File "/candidate/train.py", line 1, in <module>
    import nothing_here
ModuleNotFoundError: No module named 'nothing_here'
"""


@pytest.mark.parametrize(
    "output",
    [
        MISSING * 2,
        "".join(line * 2 for line in MISSING.splitlines(keepends=True)),  # printed in lockstep
    ],
)
def test_ranks_that_failed_before_they_met_are_told_once(tmp_path: Path, output: str) -> None:
    assert told(tmp_path, output + LAUNCHER)[2:6] == [
        "error: ModuleNotFoundError: No module named 'nothing_here'",
        "last frames in its own files:",
        "  | train.py, line 1, in <module>",
        "  |     import nothing_here",
    ]


def test_without_a_traceback_the_end_of_the_output_is_told(tmp_path: Path) -> None:
    lines = told(tmp_path, "".join(f"line {i}\n" for i in range(9)) + LAUNCHER)
    assert lines[2] == "last lines of the output:"
    assert lines[3:9] == [f"  | line {i}" for i in range(3, 9)]


def test_an_exception_that_was_caught_long_before_the_end_is_not_the_error(tmp_path: Path) -> None:
    lines = told(tmp_path, MISSING + "".join(f"line {i}\n" for i in range(200)))
    assert lines[2:4] == ["last lines of the output:", "  | line 194"]


def test_real_exceptions_in_the_sandbox(tmp_path: Path) -> None:
    code = "import json\ndef main():\n    json.loads('{')\nmain()\n"
    ended, lines = run_code(tmp_path, code, make_spec())
    assert told(tmp_path, "\n".join(text_of(lines)))[2:7] == [
        "error: json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
        "last frames in its own files:",
        "  | train.py, line 4, in <module>",
        "  |     main()",
        "  | train.py, line 3, in main",
    ]
    assert ended.exit_code == 1


def test_a_real_syntax_error_has_no_header(tmp_path: Path) -> None:
    _, lines = run_code(tmp_path, "print(1)\ndef f(:\n", make_spec(sandbox="none"))
    assert told(tmp_path, "\n".join(text_of(lines)))[2:6] == [
        "error: SyntaxError: invalid syntax",
        "last frames in its own files:",
        "  | train.py, line 2",
        "  |     def f(:",
    ]


def test_a_log_line_is_no_exception() -> None:
    seen = Tracebacks()
    for line in ('  File "a.py", line 1, in f', "step:1/20 val_loss:3.4", "struct.error: short"):
        seen.take(line)
    assert seen.crash() == Crash("struct.error", ["short"], [Frame("a.py", 1, "f")])


# --- nothing that was printed is trusted ---

printed = st.text(max_size=60) | st.sampled_from(
    ["Traceback (most recent call last):", '  File "/candidate/a.py", line 3, in f',
     "ValueError: x", "    source()", "```", "~~~~", "# Task",
     "[rank1]: Traceback (most recent call last):",
     '[rank1]:   File "b.py", line 1, in <module>', "[rank1]: OSError", "", "\x1b[31mred",
     "During handling of the above exception, another exception occurred:", "x" * 5000,
     "E1122 10:50:53.1 17 torch/distributed/elastic/x", PROTOCOL, "A.ChildFailedError: "]
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(printed, max_size=25))
def test_any_output_gives_a_bounded_harmless_digest(tmp_path: Path, lines: list[str]) -> None:
    stamped = [(1.0, line) for line in lines]
    found = analyzed(tmp_path, stamped, CRASHED, before=analyzed(tmp_path, SLOWER)).digest
    assert found == analyzed(tmp_path, stamped, CRASHED, before=analyzed(tmp_path, SLOWER)).digest
    shown = found.split("\n")
    assert len(shown) <= digest.LINES
    assert max(map(len, shown)) <= reading.COLUMNS
    assert all(line.isprintable() for line in shown)
    assert "```" not in found
    assert "~~~" not in found
    starts = ("outcome: ", "reason: ", "error", "  | ", "last ", "raised in: ", "time: ",
              "memory ", "val_loss ")  # fmt: skip
    assert all(line.startswith(starts) for line in shown)


def test_endless_output_is_held_in_little_memory() -> None:
    seen = Tracebacks()
    for index in range(20_000):
        seen.take(f"[rank{index % 9999}]: Traceback (most recent call last):")
        seen.take(f'  File "a.py", line {index}, in f')
    assert len(seen._open) <= 64
    assert all(len(block.frames) <= 64 for block in seen._open.values())


def test_a_coders_reason_stays_one_line(tmp_path: Path) -> None:
    folder = node(tmp_path, 1, 0, [])
    reason = "unreadable reply:\n```python\n\x07" + "y" * 900
    unreadable = Parent(1, 0, 1, "draft", Outcome.CANDIDATE_ERROR, reason, "", 0, 0)
    schema.save(folder / "parent.json", unreadable)
    schema.save(folder / "run" / "exit.json", RunExit(ran=False, reason="not_run"))
    lines = stage.analyze_node(folder, TRACK, None).digest.split("\n")
    assert len(lines) == 2
    assert lines[1].startswith("reason: unreadable reply: '''python \N{REPLACEMENT CHARACTER}yyy")
    assert lines[1].endswith("y...")
