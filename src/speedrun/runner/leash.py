"""The harness's end of the pipe to a run's keeper (keeper.py)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from speedrun.files import SpeedrunError
from speedrun.runner import keeper
from speedrun.runner.start import Command

# A container's programs get these with the prefix taken off, and none of the rest.
CONTAINER_PREFIXES = ("APPTAINERENV_", "SINGULARITYENV_")


class Leash:
    """What the harness tells the keeper while the run lasts."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Take the keeper's process, whose standard input is a pipe."""
        self._process = process

    def hold(self, pid: int) -> None:
        """Name a process that must die with the harness, mark or not: a sandbox's first one."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the keeper was killed
            self._process.stdin.write(f"{pid}\n".encode())
            self._process.stdin.flush()


@contextlib.contextmanager
def kept(token: str) -> Iterator[Leash]:
    """Have a keeper for a run that is started within and is dead at the end.

    Should the body fail, the run may not be: then the keeper ends it before the failure goes on.
    Errors: SpeedrunError where the keeper cannot be started.
    """
    process = _started(token)
    try:
        yield Leash(process)
    except BaseException:
        _let_go(process)
        raise
    process.kill()
    process.communicate()


def _started(token: str) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if k != keeper.RUN_VARIABLE}
    words = [sys.executable, "-I", "-S", "-B", keeper.__file__, token]
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            start_new_session=True,  # whoever ends our group leaves the keeper
        )
    except OSError as error:
        raise SpeedrunError(f"cannot start {words[0]} beside the run: {error}") from error


def _let_go(process: subprocess.Popen[bytes]) -> None:
    try:
        process.communicate(timeout=2 * keeper.LIMIT_S)
    except subprocess.TimeoutExpired:  # somebody has stopped it
        process.kill()
        process.communicate()


def mark(command: Command) -> dict[str, str]:
    """Return the variables by which the processes of a run are known."""
    prefixes = ["", *(CONTAINER_PREFIXES if command.started else [])]
    return dict.fromkeys([prefix + keeper.RUN_VARIABLE for prefix in prefixes], command.token)
