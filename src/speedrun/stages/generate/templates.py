"""The Markdown templates of speedrun/prompts, and the digest that says which ones were used."""

from __future__ import annotations

import functools
import importlib.resources
import string

from speedrun import files
from speedrun.files import SpeedrunError

STYLES = {  # the templates that differ between a coder that replies and one that edits files
    "reply": {"task": "coder", "answer": "coder_reply", "memo": "coder_memo"},
    "files": {"task": "coder_files", "answer": "coder_files_reply", "memo": "coder_files_memo"},
}
# The prompt of a replying coder stands as it was when replies were recorded (replies/): it tells of
# people's step where there are hints, and says nothing of it where there are none.
MODES = {
    ("reply", "reproduce"): (),
    ("files", "reproduce"): ("coder_reproduce", "coder_reproduce_no_hints"),
    ("reply", "optimize"): ("coder_optimize",),
    ("files", "optimize"): ("coder_optimize",),
    ("reply", "cumulative"): ("coder_cumulative",),
    ("files", "cumulative"): ("coder_cumulative",),
}
SHARED = (
    "coder_hints",
    "coder_no_hints",
    "coder_passages",
    "coder_memory",
    "coder_history",
    "coder_improve",
    "coder_debug_error",
    "coder_debug_missed",
    "coder_retry",
    "preflight",
)


@functools.cache
def read_template(name: str) -> str:
    """Return the text of ``speedrun/prompts/<name>.md``."""
    source = importlib.resources.files("speedrun") / "prompts" / f"{name}.md"
    return source.read_text(encoding="utf-8")


def fill(name: str, **values: object) -> str:
    """Return a template with its ``$names`` replaced; what replaces them is not read again."""
    return string.Template(read_template(name)).substitute(values)


def check(style: str, mode: str) -> None:
    """Raise SpeedrunError unless there are templates for ``style`` and ``mode``."""
    if (style, mode) not in MODES:
        known = ", ".join(sorted({f"{name}/{kind}" for name, kind in MODES}))
        raise SpeedrunError(f"no prompt for style {style!r} in mode {mode!r}; there are: {known}")


def template_digest(style: str = "reply", mode: str = "reproduce") -> str:
    """Return the SHA-256 over the templates that prompts of this style and mode are made from."""
    check(style, mode)
    # A chain's first task starts from the human record, as in reproduce.
    modes = {mode, "reproduce"} if mode == "cumulative" else {mode}
    used = [name for one in sorted(modes) for name in MODES[style, one]]
    names = [*SHARED, *used, *STYLES[style].values()]
    return files.digest_value({name: read_template(name) for name in names})
