"""The command that starts a solution's entry file: Python alone, or one process a GPU."""

from __future__ import annotations

from pathlib import Path

from speedrun.files import SpeedrunError
from speedrun.runner.sandbox import Interpreter
from speedrun.schema import TrainSpec

ARGUMENTS = "arguments.txt"  # of a solution: the entry file's arguments, one a line
ARGUMENTS_BYTES = 16384


def call(python: Interpreter, spec: TrainSpec, entry: str, arguments: list[str]) -> list[str]:
    """Return the words of the command, run in the solution's folder."""
    if spec.launch not in ("python", "torchrun"):
        raise SpeedrunError(f"launch {spec.launch!r} is unknown: choose python or torchrun")
    words = [str(python.executable)]
    if spec.launch == "torchrun":
        words += ["-m", "torch.distributed.run", "--standalone"]
        words += [f"--nproc_per_node={spec.world_size}"]
    return [*words, entry, *arguments]


def arguments(solution: Path) -> list[str]:
    """Return the lines of the solution's arguments.txt, none without one.

    It is a candidate's file: ValueError says why it cannot be used.
    """
    path = solution / ARGUMENTS
    if path.is_symlink() or not path.is_file():  # a link is not copied either: it could be ours
        return []
    with path.open("rb") as file:
        text = file.read(ARGUMENTS_BYTES + 1)
    if len(text) > ARGUMENTS_BYTES or b"\0" in text:
        raise ValueError(f"{ARGUMENTS} is longer than {ARGUMENTS_BYTES} bytes or not text")
    try:
        return [line for line in text.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{ARGUMENTS} is not UTF-8") from error
