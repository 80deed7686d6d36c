"""The sandbox of a coding agent: its folders, its environment, and the command that starts it.

Inside, one folder holds all that is the node's: workspace/, home/ and tmp/, which alone can be
written to, prompt.md, the relay and the gateway's socket. Around it are the system and the agent's
interpreter, read-only; there is no network, no other process and no other node. Without a sandbox
the same folder is used as it is, under the agent's full rights.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speedrun import files
from speedrun.adapters.coders import relay, workspace
from speedrun.files import SpeedrunError
from speedrun.runner import disk, sandbox
from speedrun.runner.start import Command
from speedrun.schema import TrainSpec

WRITABLE = ("workspace", "home", "tmp")
PROMPT, SOCKET, RELAY = "prompt.md", "gateway.sock", "relay.py"
PORT = 8000  # of the sandbox's own loopback: nobody else is there
BINARIES = ("bin", "node_modules/.bin")  # of a tool's folder: pip and others, npm
SANDBOXES = ("bubblewrap", "none")


def demand(kind: str, coder: str) -> None:
    """Raise SpeedrunError unless ``kind`` is a sandbox that an agent can be given."""
    if kind == "apptainer":
        raise SpeedrunError(
            f"coder {coder}: apptainer holds trainings, an agent needs the gateway's socket, which "
            "bubblewrap alone shows it: choose sandbox bubblewrap or none"
        )
    if kind not in SANDBOXES:
        raise SpeedrunError(
            f"coder {coder}: sandbox {kind!r} is unknown: choose {' or '.join(SANDBOXES)}"
        )


@dataclass(frozen=True)
class Box:
    """One node's folders on this machine, and how they are shown to the agent."""

    root: Path  # ours, outside
    python: sandbox.Interpreter
    spec: TrainSpec
    shown: Sequence[str] = ()  # further folders of tools, read-only
    hidden: Sequence[str] = ()  # packages of the interpreter

    @property
    def sandboxed(self) -> bool:
        """Whether bubblewrap is around the agent."""
        return self.spec.sandbox == "bubblewrap"

    @property
    def inside(self) -> str:
        """The folder as the agent sees it."""
        return sandbox.work_folder(self.python) if self.sandboxed else str(self.root)

    @property
    def socket(self) -> Path | None:
        """Where the gateway listens; None for a port of this machine."""
        return self.root / SOCKET if self.sandboxed else None

    def command(self, words: Sequence[str], variables: Mapping[str, str]) -> Command:
        """Return the command that starts the agent."""
        environment = {**self._environment(), **variables}
        workplace = self.root / "workspace"
        started = self._wrap(words) if self.sandboxed else list(words)
        return Command(started, self.root, environment, self.sandboxed, start=workplace)

    def _environment(self) -> dict[str, str]:
        variables = sandbox.environment(self.python, f"{self.inside}/home", self.spec, seed=0)
        del variables["SPEEDRUN_SEED"]  # it is a training script's
        tools = [f"{folder}/{name}" for folder in self.shown for name in BINARIES]
        own = [str(self.python.executable.parent), *tools]
        path = ":".join([*own, "/usr/local/bin", "/usr/bin", "/bin"])
        return {**variables, "PATH": path, "TMPDIR": f"{self.inside}/tmp"}

    def _wrap(self, words: Sequence[str]) -> list[str]:
        inside, root = self.inside, self.root
        writable = ((str(root / name), f"{inside}/{name}") for name in WRITABLE)
        shown = [(str(root / PROMPT), f"{inside}/{PROMPT}"), (relay.__file__, f"{inside}/{RELAY}")]
        shown += [(str(root / SOCKET), f"{inside}/{SOCKET}")]
        shown += [(folder, folder) for folder in self.shown]
        call = [str(self.python.executable), "-I", "-S", f"{inside}/{RELAY}", f"{inside}/{SOCKET}"]
        return [
            *sandbox.opening(sandbox.find_bwrap(), self.python, self._hidden(), self.spec),
            *(word for pair in shown for word in ("--ro-bind", *pair)),
            *(word for pair in writable for word in ("--bind", *pair)),
            *sandbox.closing(f"{inside}/workspace"),
            *("--", *call, str(PORT), *words),
        ]

    def _hidden(self) -> list[str]:
        """Return the packages not to be seen: the harness's own, or those that are named.

        Corpora are made from packages, hold-outs and all.
        """
        folders = [str(folder) for folder in self.python.packages]
        if self.python.prefix == sandbox.interpreter().prefix:
            return folders
        return [f"{folder}/{name}" for folder in folders for name in self.hidden]


@contextlib.contextmanager
def fresh(base: Mapping[str, str], prompt: str) -> Iterator[Path]:
    """Yield new folders for one node, its parent's files and the prompt in them."""
    with disk.own_folder() as root:
        for folder in WRITABLE[1:]:
            (root / folder).mkdir()
        workspace.write(root / WRITABLE[0], base)
        files.write_text(root / PROMPT, prompt)
        yield root


def tool_folders(folders: Sequence[str], install: str) -> list[str]:
    """Return the folders of tools by absolute path; ``install`` is the command that makes them.

    SpeedrunError: one is not there, or shows more than a tool.
    """
    around = (Path.home().resolve(), Path.cwd().resolve(), Path(tempfile.gettempdir()).resolve())
    for folder in map(Path, folders):
        if not folder.is_dir():
            how = install or "give a tool's folder, absolute or from the working folder"
            raise SpeedrunError(f"shown: {folder} is no folder: {how}")
        if any(place.is_relative_to(folder.resolve()) for place in around):
            raise SpeedrunError(f"shown: {folder} holds more than a tool: name a folder below it")
    return [str(Path(folder).absolute()) for folder in folders]
