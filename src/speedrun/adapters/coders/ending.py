"""How an agent ended, and whether what it left is an answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from speedrun.schema import Outcome

# How an agent may be stopped so that what it has done by then counts.
LIMITS = {"timeout": "its time limit", "requests": "its limit of requests"}


@dataclass(frozen=True)
class Ending:
    """What was seen of an agent's run, its workspace read."""

    reason: str  # RunExit's, or what halted it
    exit_code: int | None
    changed: bool  # whether its files differ from the parent's
    asked: int  # questions to the model
    refused: bool  # the last reply declined
    has_model: bool

    @property
    def began(self) -> bool:
        """Whether it did anything; if not, its installation or its YAML is at fault."""
        idle = self.reason == "exited" and not self.changed and not self.asked
        return not idle or not (self.exit_code or self.has_model)

    def verdict(self) -> tuple[Outcome | None, str]:
        """Return the outcome, None where the files are an answer, and the reason.

        Unchanged files are one if the agent ended by itself and without an error: the parent's
        code again, as a language model may give it.
        """
        why = self._why_not()
        if why and self.refused and not self.changed:
            return Outcome.REFUSED, "the model declined"
        return (Outcome.CANDIDATE_ERROR, why) if why else (None, "")

    def _why_not(self) -> str:
        if self.reason != "exited" and self.reason not in LIMITS:
            return f"the agent was stopped: {self.reason}"
        if self.changed:
            return ""
        if self.reason in LIMITS:
            return f"the agent reached {LIMITS[self.reason]} and had changed nothing"
        failed = f"the agent ended with code {self.exit_code} and had changed nothing"
        return failed if self.exit_code else ""
