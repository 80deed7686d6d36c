"""replay: answers with recorded, unedited replies of a language model.

A recording is found by task, hints, seed, node and turn, not by its prompt: a prompt holds
measured times, which differ from run to run. How far the present prompt is from the recorded one
is kept with the call.
"""

from __future__ import annotations

import datetime
import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.schema import Call, Proposal
from speedrun.stages.generate import Answer, CoderRequest, converse, hints_label


@dataclass(frozen=True)
class Meta:
    """meta.yaml of a recording. What was not recorded stays None."""

    date: str  # ISO 8601
    model_family: str
    model: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    refused: bool = False
    note: str = ""
    parent: int | None = None  # of a whole search: the node whose files this reply changed


@dataclass(frozen=True)
class Replay:
    """Answers from ``replies``/<track>/<task>/<hints>/[<recording>/]s<seed>_n<node>_t<turn>/."""

    replies: Path
    recording: str = ""  # of a whole search; "" for the single nodes of a hint setting

    def __call__(self, request: CoderRequest) -> Proposal:
        """Return the recorded reply, read as a model's would be.

        A reply of a whole search is read against the files that it was written for: where times
        fall out otherwise, the search may give it another parent now.
        """
        if self.recording:
            request = replace(request, base=self._recorded_base(request))
        return converse(request, lambda turn, prompt: self._answer(request, turn, prompt))

    def _recorded_base(self, request: CoderRequest) -> dict[str, str]:
        """Return the files of the recorded parent, made by its own recorded replies."""
        parent = read_meta(self.folder(request, 0) / "meta.yaml").parent
        if not parent:
            return request.start
        earlier = self(replace(request, node=parent)).files
        if earlier is None:
            raise SpeedrunError(
                f"{self.folder(request, 0) / 'meta.yaml'}: parent {parent} gave no files when it "
                "was recorded: name the node whose files this reply changes"
            )
        return earlier

    def folder(self, request: CoderRequest, turn: int) -> Path:
        """Return where the recording of a turn lies."""
        facts, name = request.facts, f"s{request.trial_seed}_n{request.node}_t{turn}"
        setting = self.replies / facts.track / facts.task / hints_label(request.hints)
        return setting / self.recording / name

    def _answer(self, request: CoderRequest, turn: int, prompt: str) -> Answer | None:
        folder = self.folder(request, turn)
        if not (folder / "reply.md").is_file():
            if turn > 0:
                return None  # no second question was asked when this was recorded
            raise SpeedrunError(
                f"no recorded reply {folder / 'reply.md'}: get its prompt with "
                "`speedrun generate --print-prompt` and record one, or lower scaffold.n_nodes"
            )
        meta = read_meta(folder / "meta.yaml")
        reply = _read(folder / "reply.md")
        return Answer(
            reply, _call(turn, prompt, reply, meta, self._drift(folder, prompt)), meta.refused
        )

    def _drift(self, folder: Path, prompt: str) -> float | None:
        """Return how far the prompt is from the recorded one; a search's are not kept.

        They hold the whole history of every node: 2 MB for five trials of 20 nodes.
        """
        return None if self.recording else drift(_read(folder / "prompt.md"), prompt)


def _call(turn: int, prompt: str, reply: str, meta: Meta, prompt_drift: float | None) -> Call:
    return Call(
        turn=turn,
        prompt_sha256=files.digest_text(prompt),
        reply_sha256=files.digest_text(reply),
        tokens_in=meta.tokens_in,
        tokens_out=meta.tokens_out,
        cost_usd=meta.cost_usd,
        seconds=meta.seconds,
        source="replay",
        prompt_drift=prompt_drift,
    )


def drift(recorded: str, present: str) -> float:
    """Return 1 - similarity of two prompts by words, in [0, 1]; 0 is the same prompt.

    Measured times alone make it some thousandths; more is a change of template, task or hints.
    """
    before, after = recorded.split(), present.split()
    if before == after:
        return 0.0
    return round(1.0 - difflib.SequenceMatcher(None, before, after).ratio(), 6)


def read_meta(path: Path) -> Meta:
    """Read a recording's meta.yaml; errors name the file and the key."""
    try:
        data: dict[str, Any] = yaml.safe_load(_read(path)) or {}
        if isinstance(data.get("date"), datetime.date):
            data["date"] = data["date"].isoformat()
        return schema.from_dict(Meta, data)
    except (yaml.YAMLError, AttributeError, SpeedrunError) as error:
        raise SpeedrunError(f"{path}: {error}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SpeedrunError(
            f"{path} is missing: a recording has prompt.md, reply.md, meta.yaml"
        ) from error
