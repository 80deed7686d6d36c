"""oracle: gives the target record, so that its FSR must be 1 within the noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speedrun import files
from speedrun.files import SpeedrunError
from speedrun.schema import Proposal
from speedrun.stages.generate import CoderRequest


@dataclass(frozen=True)
class Oracle:
    """The one coder that knows the answer; ``private`` is the task's private folder."""

    private: Path

    def __call__(self, request: CoderRequest) -> Proposal:
        """Return the target record's files."""
        target = self.private / "target"
        if not (target / request.facts.entry).is_file():
            raise SpeedrunError(f"{target / request.facts.entry} is missing: run `speedrun task`")
        return Proposal(files=files.read_tree(target))
