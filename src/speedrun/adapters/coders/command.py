"""command: any coding agent that is started by a command line, in a sandbox of its own.

Each node is a new start: the parent's files, the prompt, an empty home. The agent edits the files;
what it leaves is the solution. All that it can reach is the arm's model, through the gateway.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import files
from speedrun.adapters import environments
from speedrun.adapters.coders import box, workspace
from speedrun.adapters.coders.ending import Ending
from speedrun.adapters.coders.gateway import Gateway
from speedrun.files import SpeedrunError
from speedrun.runner import log as stamped
from speedrun.runner import process, sandbox
from speedrun.schema import Outcome, Proposal, RunExit, TrainSpec
from speedrun.stages.generate import CoderRequest

if TYPE_CHECKING:
    from speedrun.adapters.models import CallKey, Model

REQUIREMENTS = Path("workflow/envs/coders")
ENVIRONMENTS = Path("results/envs/coders")
LOG, TRANSCRIPT = "coder.log", "coder.requests.jsonl"
# A name in braces, but not a shell's ${name}.
PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z_]+)\}")
PLACEHOLDERS = (
    "prompt_file", "workspace", "home", "model", "base_url", "time_limit_s", "entry",
)  # fmt: skip
FILES = "{files}"  # a word by itself: it becomes one word a file
KEY = "not-a-key"  # what agents are given for one: equal runs ask equal questions


@dataclass(frozen=True)
class Settings:
    """A coder of kind command; config/coder/command.yaml explains each value."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    requirements: str = ""
    python: str = ""
    shown: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    install: str = ""
    time_limit_s: float = 1800.0
    max_requests: int = 100
    sandbox: str = "bubblewrap"
    memory_mb: int = 4096
    processes: int = 256
    threads: int = 2
    output_mb: int = 16
    file_mb: int = 64
    disk_mb: int = 1024
    ignore: list[str] = field(default_factory=lambda: list(workspace.LITTER))
    max_files: int = 100
    max_file_kb: int = 1024
    max_total_kb: int = 4096


@dataclass(frozen=True)
class CommandCoder:
    """Runs the agent ``name`` for each node. ``place`` keeps its log and what it asked."""

    name: str
    settings: Settings
    model: Model | None
    place: Path | None = None
    repository: Path = Path(".")

    def __post_init__(self) -> None:
        """Errors of the YAML are the user's, and come before anything is run."""
        if not self.settings.command:
            raise SpeedrunError(f"coder {self.name}: command is empty: give the agent's words")
        box.demand(self.settings.sandbox, self.name)

    def __call__(self, request: CoderRequest) -> Proposal:
        """Start the agent on the parent's files and return what it made of them.

        SpeedrunError: the sandbox, the model or the agent's installation fails, or a budget is
        spent; the node stays unfinished.
        """
        python = self._interpreter()
        tools = box.tool_folders(self.settings.shown, self.settings.install)
        with box.fresh(request.base, request.prompt) as root:
            own = box.Box(root, python, self._spec(), tools, self.settings.hidden)
            return self._run(request, own)

    def _run(self, request: CoderRequest, place: box.Box) -> Proposal:
        log = (self.place or place.root) / LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with self._gateway(request) as gateway:
            values = self._values(request, place, gateway.listen(place.socket) or box.PORT)
            command = place.command(self._words(request, values), self._variables(values, gateway))
            ended = process.run(command, place.spec, log, gateway.halted)
        self._keep(gateway)
        if gateway.failure is not None:
            raise gateway.failure
        return self._judge(request, gateway, ended, place, log)

    def _gateway(self, request: CoderRequest) -> Gateway:
        def key_of(turn: int) -> CallKey:
            from speedrun.adapters.models import CallKey

            return CallKey(
                seed=request.trial_seed, node=request.node, turn=turn, purpose=request.purpose
            )

        complete = None if self.model is None else self.model.complete
        # The sandbox has its own loopback; without one, others of this machine reach the port.
        secret = KEY if self.settings.sandbox == "bubblewrap" else secrets.token_hex(16)
        return Gateway(complete, key_of, self._model_name(), self.settings.max_requests, secret)

    def _model_name(self) -> str:
        return "none" if self.model is None else self.model.spec.model

    def _interpreter(self) -> sandbox.Interpreter:
        """Return the Python that the agent is installed in, made on first use."""
        if not self.settings.requirements:
            return sandbox.interpreter(self.settings.python)
        wanted = self._installation()
        folder = ENVIRONMENTS / wanted.requirements.stem
        environments.build(wanted, folder)
        return sandbox.interpreter(str(folder.resolve() / "bin" / "python"))

    def _installation(self) -> environments.Request:
        requirements = self.repository / REQUIREMENTS / self.settings.requirements
        python = self.settings.python or sandbox.interpreter().version
        advice = (
            "run this where the package index can be reached: speedrun environment "
            f"--era {requirements.stem} --requirements {requirements} --python {python} "
            f"--out {ENVIRONMENTS / requirements.stem}"
        )
        return environments.Request(requirements, python, advice=advice)

    def _spec(self) -> TrainSpec:
        """Return the agent's caps in the runner's words; it has no GPU."""
        own = self.settings
        return TrainSpec(
            timeout_s=own.time_limit_s,
            memory_mb=own.memory_mb,
            output_mb=own.output_mb,
            file_mb=own.file_mb,
            processes=own.processes + (own.sandbox == "bubblewrap"),  # the relay
            threads=own.threads,
            sandbox=own.sandbox,
            disk_mb=own.disk_mb,
        )

    def _values(self, request: CoderRequest, place: box.Box, port: int) -> dict[str, str]:
        return {
            "prompt_file": f"{place.inside}/{box.PROMPT}",
            "workspace": f"{place.inside}/workspace",
            "home": f"{place.inside}/home",
            "model": self._model_name(),
            "base_url": f"http://127.0.0.1:{port}/v1",
            "time_limit_s": f"{self.settings.time_limit_s:.0f}",
            "entry": request.facts.entry,
        }

    def _words(self, request: CoderRequest, values: Mapping[str, str]) -> list[str]:
        words: list[str] = []
        for word in self.settings.command:
            words += sorted(request.base) if word == FILES else [self._fill(word, values)]
        return words

    def _fill(self, text: str, values: Mapping[str, str]) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                names = ", ".join(["files", *values])
                raise SpeedrunError(
                    f"coder {self.name}: no placeholder {match[0]}; there are {names}"
                )
            return values[match[1]]

        return PLACEHOLDER.sub(value, text)

    def _variables(self, values: Mapping[str, str], gateway: Gateway) -> dict[str, str]:
        """Return what an agent finds in its environment besides the system's; no key of ours."""
        own = {name: self._fill(text, values) for name, text in self.settings.environment.items()}
        url = {name: values["base_url"] for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE")}
        return {**url, "OPENAI_API_KEY": gateway.secret, **own}

    def _keep(self, gateway: Gateway) -> None:
        """Leave what the agent asked in the node's folder; the replies go there with the calls."""
        if self.place is not None:
            files.write_text(self.place / TRANSCRIPT, "".join(f"{one}\n" for one in gateway.asked))

    def _judge(
        self, request: CoderRequest, gateway: Gateway, ended: RunExit, place: box.Box, log: Path
    ) -> Proposal:
        solution: dict[str, str] | None = None
        try:
            solution = workspace.read(place.root / "workspace", self._limits(), request.base)
        except workspace.WorkspaceError as error:
            outcome: Outcome | None = Outcome.CANDIDATE_ERROR
            reason = f"the agent's workspace: {error}"
        else:
            end = self._ending(gateway, ended, solution != request.base)
            if not end.began:
                raise SpeedrunError(self._broken(ended, log))
            outcome, reason = end.verdict()
        return Proposal(
            files=None if outcome else solution,
            outcome=outcome,
            reason=reason,
            calls=[reply.call for reply in gateway.replies],
            notes=self._notes(gateway, ended, unchanged=solution == request.base),
            prompt=request.prompt,
            replies=list(gateway.said),
            reach=self._reach(),
        )

    def _ending(self, gateway: Gateway, ended: RunExit, changed: bool) -> Ending:
        return Ending(
            reason=ended.reason,
            exit_code=ended.exit_code,
            changed=changed,
            asked=len(gateway.asked),
            refused=bool(gateway.replies) and gateway.replies[-1].refused,
            has_model=self.model is not None,
        )

    def _limits(self) -> workspace.Limits:
        own = self.settings
        return workspace.Limits(own.ignore, own.max_files, own.max_file_kb, own.max_total_kb)

    def _broken(self, ended: RunExit, log: Path) -> str:
        last = [line.line for line in stamped.read(log) if line.line.strip()][-1:]
        where = f"{log}" if self.place else "its log"
        return (
            f"coder {self.name} ended with code {ended.exit_code} before it did anything "
            f"({ascii(last[0][:300]) if last else 'no output'}): read {where}, correct "
            f"config/coder/{self.name}.yaml and run again"
        )

    def _notes(self, gateway: Gateway, ended: RunExit, unchanged: bool) -> dict[str, Any]:
        """Return what parent.json keeps of the agent's run; nothing that a clock decides."""
        return {
            "agent": self.name,
            "ended": ended.reason,
            "exit_code": ended.exit_code,
            "requests": len(gateway.asked),
            "unserved_requests": gateway.unserved,
            "unchanged": unchanged,
            "sandbox": self.settings.sandbox,
            "installed": self._installation().digest() if self.settings.requirements else "",
        }

    def _reach(self) -> list[str]:
        if self.settings.sandbox == "none":
            return ["everything that this machine reaches: sandbox=none"]
        return [] if self.model is None else [f"model {self._model_name()} through the gateway"]
