"""A reply without the thinking that stands before it.

Servers that do not part a reasoning model's thoughts from its answer (vLLM and llama.cpp without a
reasoning parser, for DeepSeek-R1 or Qwen3) give both as one text: ``<think>``, thoughts,
``</think>``, answer. Where the model's own template has opened the section, its end stands alone.
Thoughts try out blocks that the answer does not mean. Pure.
"""

from __future__ import annotations

import re

OPEN, CLOSE = "<think>", "</think>"
CLOSING_LINE = re.compile(rf"^[ \t]*{CLOSE}[ \t]*\r?$", re.MULTILINE)


def answer(reply: str) -> str:
    """Return what follows a leading section of thoughts; "" where it never ends."""
    if reply.lstrip().startswith(OPEN):
        return reply.partition(CLOSE)[2]
    closing = CLOSING_LINE.search(reply)
    opened = closing is None or OPEN in reply[: closing.start()]
    return reply if closing is None or opened else reply[closing.end() :]
