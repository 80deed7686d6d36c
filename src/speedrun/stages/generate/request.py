"""What a coder is asked, and the protocol that every coder implements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from speedrun.schema import Outcome, Proposal, TaskFacts
from speedrun.search import Choice, Scaffold


@dataclass(frozen=True)
class NodeInputs:
    """Everything that decides what a node is asked. Paths are read, never written."""

    public: Path  # tasks/<track>/<task>/public
    trial: Path  # trials/<track>/<task>/<arm>/s<seed>, holding the earlier nodes
    node: int  # from 1
    scaffold: Scaffold
    root_analysis: Path  # analysis.json of a reference run of the start record
    seed: int  # the trial's
    hints: Sequence[str] = ()  # levels, e.g. ["l1", "l2"]; none is no hint
    knowledge: Sequence[Path] = ()  # documents shown in full
    style: str = "reply"  # or "files": a coding agent, which edits files in a working folder
    mode: str = "reproduce"  # or "optimize", "cumulative"
    passages: Sequence[tuple[str, str]] = ()  # retrieved, as (source, text), best first
    memory: bool = False  # the trial has a scratchpad: memos of earlier generations are shown
    summary: bool = False  # digest_model.md of earlier nodes is shown after their digest
    start: Path | None = None  # cumulative: start/ of the trial, in place of the start record


@dataclass(frozen=True)
class Attempt:
    """An earlier node as a coder sees it; node 0 is the start record with its reference run."""

    node: int
    parent: int
    outcome: Outcome
    reason: str
    time_s: float | None
    val_loss: float | None
    digest: str  # of its run, as analyze wrote it
    files: dict[str, str]  # empty when the coder gave no code
    notes: dict[str, Any] = field(default_factory=dict)
    memo: str = ""  # what was written into the scratchpad with it
    summary: str = ""  # of its run, by a language model


@dataclass(frozen=True)
class CoderRequest:
    """One node's question. ``history`` holds the root first, then all earlier generations."""

    prompt: str
    base: dict[str, str]  # the parent's files, which the reply changes
    facts: TaskFacts
    history: list[Attempt]
    choice: Choice
    node: int
    hints: list[str]
    trial_seed: int
    seed: int  # of this node's random choices, derived from the trial and the node
    trial: str = ""  # <track>/<task>/<arm>-<digest>/s<seed>: with node and turn the key of a reply
    memory: bool = False  # a memo in the reply is kept
    style: str = "reply"
    purpose: str = "node"  # of its calls; "preflight" where a draft that failed is mended

    @property
    def start(self) -> dict[str, str]:
        """The start record's files."""
        return self.history[0].files


class Coder(Protocol):
    """Anything that answers a request; a candidate's failure is an outcome in the Proposal.

    Raising SpeedrunError leaves the node unfinished, to be tried again.
    """

    def __call__(self, request: CoderRequest) -> Proposal:
        """Return the whole solution, or why there is none."""
        ...


def hints_label(hints: Sequence[str]) -> str:
    """Return the name of a hint setting, as in config/hints: ``none``, ``l1``, ``l1+l2``."""
    return "+".join(hints) or "none"
