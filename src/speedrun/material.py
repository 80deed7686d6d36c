"""Code as a model is shown it, and the one JSON object that it answers with.

What is shown may be hostile: the fence around it is longer than any run of backticks in it, and a
reply is parsed strictly, thoughts left out.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Protocol

from speedrun import thinking

JSON_BLOCK = re.compile(r"^```json[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)


class Answer(Protocol):
    """What a model adapter returns, whatever else is asked of it."""

    @property
    def text(self) -> str:
        """The reply, unedited."""

    @property
    def refused(self) -> bool:
        """Whether the model or its filter declined."""


class Reply(Answer, Protocol):
    """An answer with what it took."""

    @property
    def tokens_in(self) -> int | None:
        """Prompt tokens; None when not reported."""

    @property
    def tokens_out(self) -> int | None:
        """Completion tokens; None when not reported."""


class ReplyError(Exception):
    """A model's reply breaks the asked form; the message says where."""


def unified_diff(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return the unified diff of two folders of text, files in name order, three context lines."""
    parts = [
        difflib.unified_diff(
            before.get(name, "").splitlines(), after.get(name, "").splitlines(), name, name, "", "",
            3, "",
        )
        for name in sorted(before.keys() | after.keys())
    ]  # fmt: skip
    return "\n".join(line for part in parts for line in part)


def render(template: str, shown: Iterable[str], **values: Any) -> str:
    """Render prompts/``template`` with ``fence``, which nothing that is ``shown`` can close."""
    import jinja2

    runs = [len(run) for run in re.findall(r"`+", "\n".join(shown))]
    text = resources.files("speedrun").joinpath(f"prompts/{template}").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False
    )
    fence = "`" * max(3, 1 + max(runs, default=0))
    return environment.from_string(text).render(fence=fence, **values)


def json_block(reply: str) -> Any:
    """Return what the one fenced json block of a reply holds. Errors: ReplyError."""
    blocks = JSON_BLOCK.findall(thinking.answer(reply))
    if len(blocks) != 1:
        raise ReplyError(f"expected one fenced json block, found {len(blocks)}")
    try:
        return _writable(json.loads(blocks[0]))
    except (ValueError, RecursionError) as error:
        raise ReplyError(f"the json block is not JSON ({error})") from error


def _writable(value: Any) -> Any:
    """Return JSON without halves of characters, which no file can hold."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
