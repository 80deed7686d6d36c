"""generate: one node's code, from the public task and the trial's earlier nodes."""

from speedrun.stages.generate.dialogue import Answer, converse
from speedrun.stages.generate.node import build_request, generate, print_prompt
from speedrun.stages.generate.request import Attempt, Coder, CoderRequest, NodeInputs, hints_label

__all__ = [
    "Answer",
    "Attempt",
    "Coder",
    "CoderRequest",
    "NodeInputs",
    "build_request",
    "converse",
    "generate",
    "hints_label",
    "print_prompt",
]
