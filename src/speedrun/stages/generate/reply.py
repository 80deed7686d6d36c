"""Reads a model's reply: whole files and SEARCH/REPLACE blocks, and nothing else of it.

The format that prompts/coder_reply.md asks for: a heading ``### FILE: <path>`` followed by a
fenced block with the whole file, or ``### EDIT: <path>`` followed by one or more SEARCH/REPLACE
blocks. A section under ``### MEMO`` is for the trial's scratchpad. Text around them is ignored, and
so is all that a leading section of thoughts holds.
Pure: a reply can raise nothing but ``ReplyError``, and what is read of it costs time in proportion
to its length (the blocks, each of which searches a file, are limited in number).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from speedrun import thinking

HEADING = re.compile(r"#{1,6}[ \t]*(?:(FILE|EDIT):(.*)|MEMO:?[ \t]*)")
AROUND_PATH = " \t`*"  # Markdown that models put around a file name
FENCE = re.compile(r"(`{3,})[^`]*")
SEARCH, DIVIDER, REPLACE = "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE"
PATH_BYTES_MAX = 200
# What a run finds or leaves in its working folder: a solution must not bring it along.
RESERVED = ("data", "probe_logits.npy")
ODD_MARKS = ("\\", "->")  # another system's separator; how listings show a link
SHOWN_LINES = 6
REASON_CHARS = 1500
MEMO_CHARS = 2000
BLOCKS_MAX = 400  # SEARCH/REPLACE blocks of a reply
FILES_MAX = 200  # of a solution
# Of all its files: some hundred thousand tokens. It stands in the prompts that follow it.
SOLUTION_CHARS = 400_000


class ReplyError(Exception):
    """The reply gives no solution; the message tells the model what is wrong with it."""

    def __init__(self, reason: str) -> None:
        """Keep a reason short, however long the line is that it quotes."""
        super().__init__(clip(reason, REASON_CHARS))


@dataclass(frozen=True)
class WholeFile:
    """Replace or create ``path`` with ``text``."""

    path: str
    text: str


@dataclass(frozen=True)
class Edit:
    """Replace the one place in ``path`` where the lines ``search`` stand."""

    path: str
    search: list[str]
    replace: list[str]
    number: int  # of the block in the reply, from 1


Change = WholeFile | Edit


def clip(text: str, limit: int) -> str:
    """Return ``text``, or its beginning and end with a word on how much was left out."""
    if len(text) <= limit:
        return text
    end = limit // 4
    left = len(text) - limit
    return f"{text[: limit - end]}\n[... {left} characters are left out here ...]\n{text[-end:]}"


def read_reply(reply: str, base: Mapping[str, str]) -> dict[str, str]:
    """Return ``base`` with the reply's changes applied in order, or raise ReplyError."""
    return apply(base, parse(reply))


def parse(reply: str) -> list[Change]:
    """Return the reply's changes in order; at least one, else ReplyError."""
    if not thinking.answer(reply).strip():
        raise ReplyError(
            "the reply is empty but for its thinking" if reply.strip() else "the reply is empty"
        )
    changes, _ = _scan(reply)
    if not changes:
        raise ReplyError("the reply holds no `### FILE: <path>` or `### EDIT: <path>` block")
    return changes


def read_memo(reply: str) -> str:
    """Return what a readable reply says under ``### MEMO``, clipped; "" without such a section."""
    return clip_memo(_scan(reply)[1])


def clip_memo(text: str) -> str:
    """Return a memo as the scratchpad keeps it: valid Unicode and of a bounded length."""
    return clip(text.encode("utf-8", "replace").decode("utf-8").strip(), MEMO_CHARS)


def _scan(reply: str) -> tuple[list[Change], str]:
    lines = thinking.answer(reply).replace("\r\n", "\n").split("\n")
    changes: list[Change] = []
    memo: list[str] = []
    position = 0
    while position < len(lines):
        heading = HEADING.fullmatch(lines[position])
        position += 1
        if heading and not heading[1]:
            position = _read_memo(lines, position, memo)
        elif heading:
            reader = _read_file if heading[1] == "FILE" else _read_edits
            path = _checked_path(heading[2].strip(AROUND_PATH))
            position = reader(lines, position, path, changes)
    return changes, "\n".join(memo)


def _read_memo(lines: Sequence[str], position: int, memo: list[str]) -> int:
    while position < len(lines) and not HEADING.fullmatch(lines[position]):
        memo.append(lines[position])
        position += 1
    return position


def check_solution(solution: Mapping[str, str]) -> None:
    """Raise ReplyError where a solution, however it came, cannot be kept and shown again."""
    check_names(solution)
    size = sum(map(len, solution.values()))
    if size > SOLUTION_CHARS:
        raise ReplyError(f"the solution has {size} characters, more than {SOLUTION_CHARS}")


def check_names(names: Iterable[str]) -> None:
    """Raise ReplyError where a solution, however it came, holds a name that it must not."""
    found = list(names)
    if len(found) > FILES_MAX:
        raise ReplyError(f"a solution has at most {FILES_MAX} files, this one {len(found)}")
    for name in found:
        _checked_path(name)
    _check_folders(found)


def _checked_path(name: str) -> str:
    size = len(name.encode("utf-8", "replace"))
    plain = name.isprintable() and not any(mark in name for mark in ODD_MARKS)
    if size > PATH_BYTES_MAX or not plain or name.endswith("/") or not _is_inside(name):
        raise ReplyError(f"{name[:PATH_BYTES_MAX]!r} is no file name inside the solution")
    path = PurePosixPath(name)
    if path.parts[0] in RESERVED:
        raise ReplyError(
            f"{path} cannot be part of the solution: data/ is provided when the script runs, and "
            "probe_logits.npy is written by it"
        )
    return str(path)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return path.parts != () and path.parts[0][0] not in "/~" and ".." not in path.parts


def _read_file(lines: Sequence[str], position: int, path: str, changes: list[Change]) -> int:
    while position < len(lines) and not lines[position].strip():
        position += 1
    fence = FENCE.fullmatch(lines[position]) if position < len(lines) else None
    if not fence:
        raise ReplyError(f"the heading for {path} is not followed by a fenced block")
    end = position + 1
    while end < len(lines) and not _closes(lines[end], fence[1]):
        end += 1
    if end == len(lines):
        raise ReplyError(f"the fenced block of {path} is never closed: was the reply cut off?")
    body = lines[position + 1 : end]
    changes.append(WholeFile(path, _checked_text(path, "".join(line + "\n" for line in body))))
    return end + 1


def _closes(line: str, fence: str) -> bool:
    bare = line.rstrip(" \t")
    return len(bare) >= len(fence) and set(bare) == {"`"}


def _read_edits(lines: Sequence[str], position: int, path: str, changes: list[Change]) -> int:
    before = len(changes)
    while position < len(lines) and not HEADING.fullmatch(lines[position]):
        if lines[position].rstrip() == SEARCH:
            position = _read_block(lines, position + 1, path, changes)
        else:
            position += 1
    if len(changes) == before:
        raise ReplyError(f"the heading for {path} is not followed by a {SEARCH} block")
    return position


def _read_block(lines: Sequence[str], position: int, path: str, changes: list[Change]) -> int:
    number = 1 + sum(isinstance(change, Edit) for change in changes)
    if number > BLOCKS_MAX:
        raise ReplyError(f"more than {BLOCKS_MAX} SEARCH/REPLACE blocks: give the whole file")
    where = f"SEARCH/REPLACE block {number} ({path})"
    divider = _find(lines, position, DIVIDER, where)
    end = _find(lines, divider + 1, REPLACE, where)
    search, replace = list(lines[position:divider]), list(lines[divider + 1 : end])
    _checked_text(path, "\n".join(replace))
    if not any(line.strip() for line in search):
        raise ReplyError(f"{where}: SEARCH is empty; use `### FILE: {path}` for a whole file")
    changes.append(Edit(path, search, replace, number))
    return end + 1


def _find(lines: Sequence[str], position: int, marker: str, where: str) -> int:
    for index in range(position, len(lines)):
        if lines[index].rstrip() == marker:
            return index
    raise ReplyError(f"{where} has no line {marker!r}: was the reply cut off?")


def _checked_text(path: str, text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ReplyError(f"the text for {path} is not valid Unicode") from None
    if "\0" in text:
        raise ReplyError(f"the text for {path} holds a NUL character")
    return text


def apply(base: Mapping[str, str], changes: Sequence[Change]) -> dict[str, str]:
    """Return the files after all changes, each applied to the result of those before it."""
    result = dict(base)
    for change in changes:
        result[change.path] = (
            change.text if isinstance(change, WholeFile) else _edited(result, change)
        )
    check_solution(result)
    return result


def _edited(current: Mapping[str, str], edit: Edit) -> str:
    where = f"SEARCH/REPLACE block {edit.number} ({edit.path})"
    if edit.path not in current:
        raise ReplyError(f"{where}: there is no such file; there are: {', '.join(sorted(current))}")
    text, search = current[edit.path], "\n".join(edit.search)
    place, more = _places(text, search)
    if place < 0 or more:
        shown = "\n".join(edit.search[:SHOWN_LINES])
        raise ReplyError(
            f"{where}: SEARCH must match whole lines of the file exactly once, "
            f"but it matches {'more than once' if more else '0 times'}. It begins:\n{shown}"
        )
    before, after = text[:place], text[place + len(search) :]
    if edit.replace:
        return before + "\n".join(edit.replace) + after
    return before + after[1:] if after else before[:-1]  # the lines go with their line end


def _places(text: str, search: str) -> tuple[int, bool]:
    """Return where ``search`` stands in ``text`` as whole lines (-1: nowhere), and if again."""
    lines, wanted = f"\n{text}\n", f"\n{search}\n"
    place = lines.find(wanted)
    return place, place >= 0 and lines.find(wanted, place + 1) >= 0


def _check_folders(names: Collection[str]) -> None:
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    for name in sorted(folders & set(names)):
        raise ReplyError(f"{name} cannot be both a file and a folder")


def render_file(path: str, text: str) -> str:
    """Return a file as a FILE block, with a fence longer than any in it; parse reads it back."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = text if text.endswith("\n") or not text else text + "\n"
    return f"### FILE: {path}\n{fence}\n{body}{fence}\n"
