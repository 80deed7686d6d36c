"""The talk with a language model about one node: one question, one re-ask if it is unreadable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from speedrun.schema import Call, Outcome, Proposal
from speedrun.stages.generate.prompt import render_retry
from speedrun.stages.generate.reply import ReplyError, read_memo, read_reply
from speedrun.stages.generate.request import CoderRequest

TURNS = 2
CUT_OFF = "length"  # the finish_reason of a reply that ended at the limit of tokens


@dataclass(frozen=True)
class Answer:
    """One reply as received, with its line for calls.jsonl."""

    text: str
    call: Call
    refused: bool = False  # as the provider or the recording says, never guessed from the text


def converse(request: CoderRequest, answer: Callable[[int, str], Answer | None]) -> Proposal:
    """Ask ``answer(turn, prompt)`` and read the reply; None from it ends the talk.

    Turn 0 asks the request's prompt. A reply that gives no solution is shown to the model once
    more with what is wrong with it; when that does not help either, the node is a
    candidate_error with the last reason.
    """
    prompt, reason = request.prompt, "no reply"
    received: list[Answer] = []
    for turn in range(TURNS):
        heard = answer(turn, prompt)
        if heard is None:
            break
        received.append(heard)
        if heard.refused:
            return _proposal(request, received, Outcome.REFUSED, "the model declined")
        try:
            solution = read_reply(heard.text, request.base)
        except ReplyError as error:
            reason = explain(str(error), heard.call.finish_reason)
            prompt = render_retry(request.prompt, heard.text, reason)
        else:
            memo = read_memo(heard.text) if request.memory else ""
            return _proposal(request, received, None, "", solution, memo)
    return _proposal(request, received, Outcome.CANDIDATE_ERROR, f"unreadable reply: {reason}")


def explain(reason: str, finish_reason: str) -> str:
    """Return why a reply could not be read; one that was cut off is told so first."""
    if finish_reason != CUT_OFF:
        return reason
    return (
        "it was cut off at the limit of tokens (thinking counts too), so answer more briefly, with "
        f"`### EDIT` blocks where you can. What could be read of it: {reason}"
    )


def _proposal(
    request: CoderRequest,
    received: list[Answer],
    outcome: Outcome | None,
    reason: str,
    solution: dict[str, str] | None = None,
    memo: str = "",
) -> Proposal:
    return Proposal(
        files=solution,
        outcome=outcome,
        reason=reason,
        calls=[answer.call for answer in received],
        prompt=request.prompt,
        replies=[answer.text for answer in received],
        memo=memo,
    )
