"""null: changes nothing, so that its FSR must be 0 within the noise."""

from __future__ import annotations

from speedrun.schema import Proposal
from speedrun.stages.generate import CoderRequest


class Null:
    """Returns the parent's files, which are the start record's."""

    def __call__(self, request: CoderRequest) -> Proposal:
        """Return the files that the request would have changed."""
        return Proposal(files=dict(request.base))
