"""The second half of a node with a preflight: the draft as it is, or mended by its coder once."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files, schema
from speedrun.schema import Call, Parent, Proposal
from speedrun.stages import preflight
from speedrun.stages.generate import Coder, CoderRequest
from speedrun.stages.generate.prompt import render_files
from speedrun.stages.generate.templates import fill

PURPOSE = "preflight"


@dataclass(frozen=True)
class Drafted:
    """A coder whose first answer is already written: ``draft``, a node folder with its preflight.

    A draft that passed is the answer. One that failed is shown to the coder with the finding, its
    files as the base of what it replies now; that is the answer then, whatever it is.
    """

    coder: Coder
    draft: Path

    def __call__(self, request: CoderRequest) -> Proposal:
        """Return the draft, or what the coder makes of it and of its preflight's finding."""
        first, checked = read_draft(self.draft), preflight.load(self.draft)
        if checked.passed or first.files is None:
            return first
        again = _second(request, first.files, checked.finding)
        return _joined(first, self.coder(again), again.prompt)


def _second(request: CoderRequest, draft: dict[str, str], finding: str) -> CoderRequest:
    changed = {name: text for name, text in draft.items() if request.base.get(name) != text}
    shown = render_files(changed or draft, request.style)
    quoted = "\n".join(f"    {line}" for line in finding.splitlines())
    prompt = fill("preflight", prompt=request.prompt, finding=quoted, files=shown)
    return dataclasses.replace(request, prompt=prompt, base=draft, purpose=PURPOSE)


def _joined(first: Proposal, second: Proposal, prompt: str) -> Proposal:
    """Return the second answer with all that the node was asked and told."""
    return dataclasses.replace(
        second,
        calls=[*first.calls, *second.calls],
        replies=[*first.replies, *second.replies],
        notes={**first.notes, **second.notes, "mended_after_preflight": True},
        prompt=second.prompt or prompt,
        memo=second.memo or first.memo,
        reach=sorted({*first.reach, *second.reach}),
    )


def read_draft(draft: Path) -> Proposal:
    """Return the proposal that a draft's folder was written from."""
    parent = schema.load(Parent, draft / "parent.json")
    return Proposal(
        files=None if parent.outcome else files.read_tree(draft / "solution"),
        outcome=parent.outcome,
        reason=parent.reason,
        calls=_calls(draft / "calls.jsonl"),
        notes=parent.notes,
        prompt=(draft / "prompt.md").read_text(encoding="utf-8"),
        replies=_replies(draft / "replies"),
        memo=parent.memo,
        reach=_reach(draft / "generate.record.json"),
    )


def _calls(path: Path) -> list[Call]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [schema.from_dict(Call, json.loads(line)) for line in lines]


def _replies(folder: Path) -> list[str]:
    turns = range(len(files.tree_files(folder)))
    return [(folder / f"turn_{turn}.md").read_text(encoding="utf-8") for turn in turns]


def _reach(record: Path) -> list[str]:
    params: dict[str, Any] = files.read_json(record)["params"]
    return [name for name in str(params.get("reach", "")).split(", ") if name]
