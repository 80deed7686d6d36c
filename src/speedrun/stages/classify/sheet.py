"""What a reader is shown of a step: facts, upstream's words and the change, nobody's name in it.

Who made a step, and whether it was an AI system, must not sway a label. Names that the registry
credits are replaced everywhere, users in links too; in prose also handles, lines of credit, AI
assistants' names and all links but those to papers. A name that is written out in the middle of a
sentence, and that the registry does not have, is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from speedrun import material
from speedrun.registry import Record, Registry

DIFF_CHARS, README_CHARS, ROW_CHARS = 30_000, 6_000, 1_000
LEAST_STEM = 6  # letters of a handle whose digits are left out: kellerjordan0 is KellerJordan
HIDDEN = "(name)"
PAPERS = ("arxiv.org", "openreview.net", "doi.org", "aclanthology.org", "pytorch.org")
LINK = re.compile(r"https?://(?:www\.)?([^/\s)\]>]+)[^\s)\]>]*")
HANDLE = re.compile(r"(?<![\w@/.])@[A-Za-z0-9][\w.-]*")
PROFILE = re.compile(r"(https?://(?:www\.)?(?:x|twitter|github)\.com/)[^/\s)\]]+")
CREDITS = re.compile(
    r"^\W*(?:co-authored-by|authors?|credits?|contributors?|made by|signed-off-by)\b\W*:.*$",
    re.IGNORECASE | re.MULTILINE,
)
FOUND_BY = re.compile(
    r"\b((?:record|PR|work|written|made|found|discovered|proposed|suggested|developed) by )"
    r"(?:[A-Z][\w-]+(?: [A-Z][\w-]+){0,3}|(?:our|an?|the) (?:AI |agents?\b|agentic )[\w ]*)"
)
ASSISTANTS = re.compile(
    r"\b(?:AI(?:[- ](?:systems?|agents?|scientists?|researchers?|assistants?))?|[Aa]gents?|"
    r"Claude(?: Code)?|Codex|ChatGPT|Gemini|Copilot|AlphaEvolve|OpenEvolve)\b"
)


@dataclass(frozen=True)
class Sheet:
    """One step, ready to be shown."""

    number: int  # of the record that it ends at
    title: str
    date: str
    minutes_before: float
    minutes_after: float
    row: str
    readme: str
    diff: str


def make(
    registry: Registry,
    pair: tuple[Record, Record],
    sources: tuple[Mapping[str, str], Mapping[str, str]],
    row: str,
    readme: str,
) -> Sheet:
    """Return the sheet of the step from the first record of ``pair`` to the second."""
    start, target = pair
    named = names(registry.records)
    return Sheet(
        number=target.number,
        title=prose(target.title, named),
        date=target.date,
        minutes_before=start.time_minutes,
        minutes_after=target.time_minutes,
        row=prose(row, named)[:ROW_CHARS],
        readme=prose(readme, named)[:README_CHARS],
        diff=bounded(_without(material.unified_diff(*sources), named)),
    )


def names(records: Sequence[Record]) -> re.Pattern[str]:
    """Return what matches every name that upstream credits, as a word of its own.

    Systems are matched in their own spelling: Recursive is a name, recursive is a word of code.
    """
    people = {name for record in records for name in record.contributors if name}
    people |= {stem for name in people if len(stem := name.rstrip("0123456789")) >= LEAST_STEM}
    systems = {record.ai_system for record in records if record.ai_system}
    words = [f"(?i:{re.escape(one)})" for one in sorted(people, key=_longest)]
    words += [re.escape(one) for one in sorted(systems, key=_longest)]
    return re.compile(rf"(?<![A-Za-z0-9])@?(?:{'|'.join(words) or '(?!)'})(?![A-Za-z0-9])")


def _longest(word: str) -> tuple[int, str]:
    return -len(word), word


def prose(text: str, named: re.Pattern[str]) -> str:
    """Return upstream's words without names."""
    text = CREDITS.sub("", LINK.sub(_paper, text))
    text = FOUND_BY.sub(rf"\1{HIDDEN}", ASSISTANTS.sub(HIDDEN, named.sub(HIDDEN, text)))
    return _printable(HANDLE.sub(HIDDEN, text)).strip()


def _paper(link: re.Match[str]) -> str:
    return link[0] if link[1].endswith(PAPERS) else "(link)"


def _without(text: str, named: re.Pattern[str]) -> str:
    return _printable(named.sub(HIDDEN, PROFILE.sub(rf"\1{HIDDEN}", text)))


def _printable(text: str) -> str:
    return re.sub(r"[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f]", " ", text)


def bounded(diff: str) -> str:
    """Return a diff of at most about DIFF_CHARS characters.

    Whole if it fits; else without the unchanged lines around the changes; else of that the
    beginning, up to a line's end. A last line says what was left out.
    """
    if len(diff) <= DIFF_CHARS:
        return diff
    bare = "".join(line for line in diff.splitlines(keepends=True) if not line.startswith(" "))
    if len(bare) <= DIFF_CHARS:
        return f"{bare.rstrip()}\n... the unchanged lines around the changes are left out"
    shown = bare[:DIFF_CHARS].rpartition("\n")[0]
    rest = len(bare.splitlines()) - len(shown.splitlines())
    return f"{shown}\n... {rest} further changed lines and all unchanged lines are left out"
