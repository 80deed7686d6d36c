"""direct: one prompt to a model, its reply read as files and edits, one re-ask if unreadable."""

from __future__ import annotations

from dataclasses import dataclass

from speedrun.adapters.models import CallKey, ContextTooLong, Model
from speedrun.schema import Proposal
from speedrun.stages.generate import Answer, CoderRequest, converse


@dataclass(frozen=True)
class Direct:
    """Asks the arm's model; every call is stored and counted by it."""

    model: Model

    def __call__(self, request: CoderRequest) -> Proposal:
        """Return what the model's reply makes of the parent's files."""
        return converse(request, lambda turn, prompt: self._answer(request, turn, prompt))

    def _answer(self, request: CoderRequest, turn: int, prompt: str) -> Answer | None:
        """Ask one turn in a fresh conversation.

        A first prompt that is too long for the model is ours to mend, and raises. A second one is
        too long through the model's own reply: there is no second turn then.
        """
        key = CallKey(request.trial_seed, request.node, turn, request.purpose)
        try:
            reply = self.model.ask([{"role": "user", "content": prompt}], key)
        except ContextTooLong:
            if turn == 0:
                raise
            return None
        return Answer(reply.text, reply.call, reply.refused)
