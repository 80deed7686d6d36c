"""The digest of a run that died: which exception of which rank is told, with which frames."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from digest_runs import CRASHED, ENDED, GOOD, analyzed, told
from running import PROTOCOL, make_spec, run_code, text_of
from speedrun.schema import Outcome
from speedrun.stages.analyze.tracebacks import Crash, Frame, Tracebacks

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


def test_endless_output_is_held_in_little_memory() -> None:
    seen = Tracebacks()
    for index in range(20_000):
        seen.take(f"[rank{index % 9999}]: Traceback (most recent call last):")
        seen.take(f'  File "a.py", line {index}, in f')
    assert len(seen._open) <= 64
    assert all(len(block.frames) <= 64 for block in seen._open.values())
