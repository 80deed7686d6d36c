"""Reading replies: the work and the reasons stay bounded, however large a reply is."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from reply_blocks import BASE, edit
from speedrun.stages.generate.reply import (
    BLOCKS_MAX,
    FILES_MAX,
    REASON_CHARS,
    ReplyError,
    read_memo,
    read_reply,
    render_file,
)


@pytest.mark.parametrize(
    "reply",
    [
        edit("".join(f"{'x' * 10**5}\n" for _ in range(10)), "y\n"),
        "### FILE: " + "x" * 10**6 + "\n```\n```\n",
        edit("a = 1\n", "b\n", "x" * 150),
    ],
)
def test_a_reason_stays_short(reply: str) -> None:
    with pytest.raises(ReplyError) as error:
        read_reply(reply, {**BASE, **{f"file_{i}.py": "" for i in range(FILES_MAX - 3)}})
    assert len(str(error.value)) < REASON_CHARS + 100


def _operations(reply: str) -> int:
    """Lines of our code that reading a reply runs, whatever comes of it."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., object]:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(ReplyError):
            read_reply(reply, BASE)
            read_memo(reply)
    finally:
        sys.settrace(before)
    return count


SHAPES: dict[str, Callable[[int], str]] = {
    "text": lambda size: "no block at all\n" * size,
    "one line": lambda size: "#" * size * 16,
    "one file": lambda size: render_file("train.py", "x = 1\n" * size),
    "files": lambda size: "### FILE: x\n```\n```\n" * size,
    "names": lambda size: "".join(f"### FILE: {i}\n```\n```\n" for i in range(size)),
    "edits": lambda size: "### FILE: train.py\n```\nx\n```\n" + edit("x\n", "x\n") * size,
    "one edit": lambda size: edit("a = 1\n" * size, "b = 1\n" * size),
    "open edits": lambda size: "### EDIT: train.py\n<<<<<<< SEARCH\n" * size,
    "memos": lambda size: "### MEMO\nnote\n" * size,
    "fences": lambda size: "### FILE: x\n" + "```\n" * size,
    "headings": lambda size: "### EDIT: train.py\n" * size,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_reading_takes_operations_in_proportion_to_the_length(shape: str) -> None:
    few, many = (_operations(SHAPES[shape](size)) for size in (1000, 4000))
    assert many < 4.5 * few + 100


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reply_of_a_megabyte_is_read(shape: str) -> None:
    reply = SHAPES[shape](60_000)
    reply += "\n" * max(0, 2**20 - len(reply))
    try:
        assert read_reply(reply, BASE)
    except ReplyError as error:
        assert len(str(error)) < REASON_CHARS + 100


def test_a_large_file_is_searched_a_bounded_number_of_times() -> None:
    base = {"train.py": "".join(f"line {i}\n" for i in range(30_000))}
    most = "".join(edit(f"line {i}\n", f"new {i}\n") for i in range(BLOCKS_MAX))
    assert read_reply(most, base)["train.py"].count("new") == BLOCKS_MAX
    with pytest.raises(ReplyError, match=f"more than {BLOCKS_MAX} SEARCH/REPLACE blocks"):
        read_reply(most + edit("line 29999\n", "x\n"), base)
