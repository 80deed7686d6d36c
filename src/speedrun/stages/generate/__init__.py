"""generate: one node's code, from the public task and the trial's earlier nodes."""

from speedrun.stages.generate.dialogue import Answer, converse
from speedrun.stages.generate.node import build_request, generate, print_prompt, retrieval_query
from speedrun.stages.generate.reply import ReplyError, check_names
from speedrun.stages.generate.request import Attempt, Coder, CoderRequest, NodeInputs, hints_label
from speedrun.stages.generate.templates import template_digest

__all__ = [
    "Answer",
    "Attempt",
    "Coder",
    "CoderRequest",
    "NodeInputs",
    "ReplyError",
    "build_request",
    "check_names",
    "converse",
    "generate",
    "hints_label",
    "print_prompt",
    "retrieval_query",
    "template_digest",
]
