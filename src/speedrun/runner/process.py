"""Runs one command under the harness's clocks and caps, and leaves no process behind."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

from speedrun.files import SpeedrunError
from speedrun.runner import cgroup, clock, disk, keeper, leash, logfile, reads, seccomp, workflow
from speedrun.runner.log import Stamp, StampedLog
from speedrun.runner.start import SPARE_TASKS, Command, preparation, readable, report_pipe
from speedrun.schema import RunExit, TrainSpec

INTERVAL_S = 0.1  # between two looks at the tree
LOOK_SHARE = 0.1  # of our time at most: two hundred compile workers take 0.2 s to look at
PAUSE_S = 5.0  # between two looks, however many there are
KILL_S = 30.0  # a killed tree that lives longer is stuck in the kernel
CHUNK_BYTES, DRAIN_CHUNKS = 65536, 64  # together more than a pipe can hold
OOM_SHARE = 0.9  # of the memory cap: a kill from outside above it was for memory
SANDBOX_PROCESSES = 2  # bubblewrap itself, outside and as the first process inside


def run(
    command: Command, spec: TrainSpec, log: Path, halt: Callable[[], str] = lambda: ""
) -> RunExit:
    """Run ``command``, writing its output to ``log``; return what was seen of it.

    The tree is ended as soon as ``halt`` returns a reason, the exit's, and is dead in every case.
    Raises SpeedrunError when the sandbox does not start, the log cannot be written or the workflow
    that asked for the run has died.
    """
    clock.adopt_orphans()
    token = os.urandom(16).hex()
    with (
        leash.kept(token) as held,
        cgroup.capped(spec.processes + SPARE_TASKS) as group,
        StampedLog(log, spec.output_mb * 2**20) as lines,
        _Tree(replace(command, token=token, group=group), spec, lines, held) as tree,
    ):
        reason = tree.watch(halt)
        tree.end()
        lines.end_line()
        return tree.result(reason)


class _Tree:
    """One running process tree: its pipes, its clock, its caps."""

    def __init__(
        self, command: Command, spec: TrainSpec, log: StampedLog, held: leash.Leash
    ) -> None:
        self._command, self._spec, self._log, self._held = command, spec, log, held
        self._workflow = workflow.find()
        self._status = b""
        self._peak_rss_mb = 0.0
        self._started_s = self._checked_s = time.monotonic()
        self._pause_s = INTERVAL_S
        folders = [command.folder, *([command.scratch] if command.scratch else [])]
        self._work = disk.WorkFolder(spec.disk_mb, *folders)
        self._opens = reads.Watch(command.data, command.shared)
        self._own_log = logfile.LogFile(command.folder, spec)
        self._process, self._status_fd = self._start()
        self._clock = clock.TreeClock(self._process.pid)
        self._sample = self._clock.sample()
        self._selector = self._select()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill whatever is left and take it out of the kernel's tables."""
        try:
            self._kill()
        finally:
            self._process.wait()
            self._reap_orphans()
            self._own_log.close()
            self._opens.close()
            for key in list(self._selector.get_map().values()):
                os.close(key.fd)
            self._selector.close()

    def _start(self) -> tuple[subprocess.Popen[bytes], int]:
        words, (ours, theirs) = list(self._command.words), report_pipe(self._command)
        free = not self._command.data or self._spec.device != "cpu"  # not tried on a card
        calls = readable(refused := seccomp.program(watches=free))
        if self._command.sandboxed:
            words[1:1] = ["--json-status-fd", str(theirs), "--unsetenv", keeper.RUN_VARIABLE]
            words[1:1] = ["--seccomp", str(calls)] if refused else []
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._command.start or self._command.folder,
                env={**self._command.environment, **leash.mark(self._command)},
                pass_fds=[theirs, calls] if self._command.sandboxed else [],
                start_new_session=True,
                preexec_fn=preparation(self._command, self._spec),
            )
        except (OSError, subprocess.SubprocessError) as error:
            os.close(ours)
            self._opens.close()
            raise SpeedrunError(
                f"cannot start {words[0]} (core {self._command.cpu}): {error}"
            ) from error
        finally:
            os.close(theirs)
            os.close(calls)
        return process, ours

    def _select(self) -> selectors.BaseSelector:
        """Listen to the output, to bubblewrap's own reports and to the end of the process."""
        assert self._process.stdout is not None
        output = os.dup(self._process.stdout.fileno())
        self._process.stdout.close()
        selector = selectors.DefaultSelector()
        for fd, handler in ((output, self._read_output), (self._status_fd, self._read_status)):
            os.set_blocking(fd, False)
            selector.register(fd, selectors.EVENT_READ, handler)
        with contextlib.suppress(OSError):  # Linux before 5.3: then the end is looked for
            selector.register(os.pidfd_open(self._process.pid), selectors.EVENT_READ, None)
        return selector

    def watch(self, halt: Callable[[], str]) -> str:
        """Follow the tree until it ends by itself, breaks a cap or is halted; return which."""
        while True:
            for key, _ in self._selector.select(INTERVAL_S):
                if key.data is not None:
                    self._read(key)
            if self._has_ended():
                return "exited"
            self._own_log.follow(self._log, self._elapsed_s())
            self._opens.look(self._elapsed_s())
            reason = halt() or self._broken_cap()
            if reason:
                return reason

    def _has_ended(self) -> bool:
        """Say whether the first process has ended, which stays in the kernel's tables."""
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, how) is not None

    def _read(self, key: selectors.SelectorKey) -> bool:
        """Hand one chunk to the descriptor's handler; False when there is none now."""
        try:
            chunk = os.read(key.fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        if chunk:
            key.data(chunk)
        else:
            self._selector.unregister(key.fd)
            os.close(key.fd)
        return bool(chunk)

    def _read_output(self, chunk: bytes) -> None:
        arrived_s = self._elapsed_s()
        if self._log.wants_stamp(chunk):
            self._look()
        self._log.feed(chunk, Stamp(arrived_s, self._sample.cpu_s))

    def _read_status(self, chunk: bytes) -> None:
        known, self._status = self._reported("child-pid"), (self._status + chunk)[:CHUNK_BYTES]
        pid = self._reported("child-pid") if self._command.sandboxed else None
        if pid is not None and known is None:
            self._clock.add(pid)
            self._held.hold(pid)

    def _reported(self, name: str) -> int | None:
        """Return a figure of bubblewrap's status reports, one JSON object a line."""
        for line in self._status.splitlines():
            with contextlib.suppress(ValueError, KeyError):
                return int(json.loads(line)[name])
        return None

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def _look(self) -> None:
        """Read the clock and the memory of the tree now."""
        began_s = time.monotonic()
        if not self._command.sandboxed:
            self._follow_orphans()
        self._sample = self._clock.sample()
        self._peak_rss_mb = max(self._peak_rss_mb, self._sample.rss_mb)
        needed_s = time.monotonic() - began_s
        self._pause_s = min(max(INTERVAL_S, needed_s / LOOK_SHARE), PAUSE_S)

    def _follow_orphans(self) -> None:
        """Find the orphans that were re-parented to us before they were seen as descendants."""
        for pid in clock.children([os.getpid()]):
            if keeper.marked(pid, self._command.token):
                self._clock.add(pid)

    def _broken_cap(self) -> str | None:
        if self._log.flooded:
            return "output_flood"
        if self._elapsed_s() > self._spec.timeout_s:
            return "timeout"
        if time.monotonic() - self._checked_s < self._pause_s:
            return None
        self._look()
        self._checked_s = time.monotonic()
        workflow.demand(self._workflow)
        living = [process.pid for process in self._sample.living]
        own = SANDBOX_PROCESSES if self._command.sandboxed else 0
        caps = {
            # Before memory: shared pages count once a process, so that a flood looks like both.
            "process_flood": len(living) > self._spec.processes + own,
            "oom": self._sample.rss_mb > self._spec.memory_mb,
            "disk_flood": self._work.overfull(living),
        }
        return next((reason for reason, broken in caps.items() if broken), None)

    def end(self) -> None:
        """Take in what is still in the pipe, then kill the tree and stop the clock."""
        self._look()
        self._drain()
        self._kill()
        self._drain()
        self._look()
        self._opens.look(self._elapsed_s(), at_once=True)
        self._own_log.finish(self._log, Stamp(self._elapsed_s(), self._sample.cpu_s))

    def _drain(self) -> None:
        for key in list(self._selector.get_map().values()):
            for _ in range(DRAIN_CHUNKS):
                if key.data is None or self._log.flooded or not self._read(key):
                    break

    def _kill(self) -> None:
        deadline_s = time.monotonic() + KILL_S
        self._follow_orphans()  # of a sandbox that did not stand yet, too
        self._look()
        while self._sample.living:
            for process in self._sample.living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            if time.monotonic() > deadline_s:
                pids = [process.pid for process in self._sample.living]
                raise SpeedrunError(f"processes {pids} survive SIGKILL: look at the machine")
            time.sleep(0.002)
            self._follow_orphans()
            self._look()

    def _reap_orphans(self) -> None:
        for process in self._sample.processes:
            if process.pid != self._process.pid:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)

    def result(self, reason: str) -> RunExit:
        """Return what is known of the ended run."""
        code, number = self._exit(reason)
        return RunExit(
            ran=True,
            reason="oom" if self._killed_for_memory(reason, number) else reason,
            exit_code=code,
            signal=number,
            wall_s=round(self._elapsed_s(), 3),
            cpu_s=self._log.clock_s,
            cpu_total_s=round(self._sample.cpu_s, 3),
            peak_rss_mb=round(self._peak_rss_mb, 1),
            output_bytes=self._log.received_bytes,
            output_truncated=self._log.flooded,
            reads=self._opens.reads,
        )

    def _killed_for_memory(self, reason: str, number: int | None) -> bool:
        """Say whether the kernel was faster than our look at the memory."""
        near_mb = OOM_SHARE * self._spec.memory_mb
        killed = reason == "exited" and number == signal.SIGKILL
        return killed and self._peak_rss_mb >= near_mb

    def _exit(self, reason: str) -> tuple[int | None, int | None]:
        """Return exit code and signal; both where a code of 128 + a signal may be either."""
        # Until a container stands the time goes to it: unpacking is no script's fault.
        unborn = self._command.started is not None and not self._status
        if reason != "exited" and not (unborn and reason == "timeout"):
            return None, int(signal.SIGKILL)
        code, started = self._process.wait(), bool(self._status)
        if not (self._command.sandboxed or self._command.started):
            return (code, None) if code >= 0 else (None, -code)
        if self._command.sandboxed:
            started = self._reported("exit-code") is not None
        if not started:
            name, said = Path(self._command.words[0]).name, self._log.last_line
            raise SpeedrunError(f"{name} ended with code {code} before the run: {said}")
        return code, (code - 128 if code > 128 else None)
