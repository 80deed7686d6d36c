"""Scripts that run as agents on one node's request, and what they printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent_coders import run_agent
from speedrun.runner import log as stamped
from speedrun.schema import Proposal
from speedrun.stages.generate import CoderRequest, build_request
from trial_builder import START, Trial

APPEND = "echo '# agent' >> train.py"
CHANGED = {"train.py": START["train.py"] + "# agent\n"}


class Agents:
    """Runs scripts as agents and keeps what they printed."""

    def __init__(self, request: CoderRequest, repository: Path, place: Path) -> None:
        self.request, self.repository, self.place = request, repository, place

    def __call__(self, *words: str, **changes: Any) -> Proposal:
        return run_agent(self.request, self.repository, *words, place=self.place, **changes)

    def shell(self, script: str, **changes: Any) -> Proposal:
        return self("bash", "-c", script, **changes)

    def python(self, code: str, **changes: Any) -> Proposal:
        return self("python", "-c", code, **changes)

    @property
    def printed(self) -> list[str]:
        return [line.line for line in stamped.read(self.place / "coder.log")]


def agents_in(folder: Path, repository: Path) -> Agents:
    """Agents that are given a trial's first node, all below one folder."""
    request = build_request(Trial(folder).start().inputs(1))
    return Agents(request, repository, folder / "place")
