"""The sections of a log: embedded sources, header and run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

ENTRY = "train_gpt.py"
RULE = "=" * 100
_RULE_LINE = re.compile(rf"\n{RULE}(?=\n|\Z)")
_DASHES = "-" * 40
_FILE = re.compile(rf"\n{_DASHES}\n# ([A-Za-z_][\w.-]{{0,99}}\.py)\n{_DASHES}(?=\n|\Z)", re.ASCII)
_VERSIONS = re.compile(r"\s{0,9}Running (?:[Pp]ython|pytorch|PyTorch) ")
_SOURCE = re.compile(r"\n(?:import|from) \w")
_LOADER = re.compile(r"\s*Training [Dd]ata[Ll]oader")


@dataclass(frozen=True)
class Sections:
    """A log taken apart; ``layout`` is "" for one that embeds no source: all of it is the run."""

    layout: str
    run: str
    header: str = ""
    files: dict[str, str] = field(default_factory=dict)


def split(text: str) -> Sections:
    """Take a log apart by its lines of 100 "=".

    Source may hold such lines too, so the header is the last part that is one.
    """
    text = "\n" + text.replace("\r\n", "\n")
    parts = _RULE_LINE.split(text)
    place = max((index for index, part in enumerate(parts) if _is_header(part)), default=0)
    leading_rule = not parts[0].strip()
    code, run = parts[leading_rule:place], parts[place + 1 :]
    if not code or not run:
        return _without_source(text, parts)
    files = sources(f"\n{RULE}".join(code))
    layout = _layout(leading_rule, has_loader=bool(_LOADER.match(run[0])), files=files)
    return Sections(layout, "\n".join(run), parts[place], files)


def _is_header(part: str) -> bool:
    """Say whether a part begins with versions and has the table that nvidia-smi prints."""
    return bool(_VERSIONS.match(part)) and "NVIDIA-SMI" in part


def _without_source(text: str, parts: list[str]) -> Sections:
    """Return the whole text as the run, unless it is a log that was cut short."""
    if len(parts) > 1 and any(_SOURCE.search(part) for part in parts[:2]):
        raise ValueError("the log is cut short: source, but no header and run behind it")
    return Sections("", text, header=text)


def _layout(leading_rule: bool, has_loader: bool, files: dict[str, str]) -> str:
    name = ("B" if leading_rule else "C") + ("3" if has_loader else "2")
    return name + ("F" if len(files) > 1 else "")


def sources(code: str) -> dict[str, str]:
    """Return the files of a log's code section by name; the first is the main one."""
    main, *rest = _FILE.split("\n" + code)
    others = dict(zip(rest[::2], rest[1::2], strict=True))
    return {ENTRY: normalised(main)} | {
        name: normalised(text) for name, text in others.items() if name != ENTRY
    }


def normalised(text: str) -> str:
    """Return a source as it is hashed, written and run.

    LF newlines, no blank lines before it, exactly one newline at its end, nothing else changed.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    filled = [number for number, line in enumerate(lines) if line.strip()]
    if not filled:
        return ""
    return "\n".join(lines[filled[0] : filled[-1] + 1]) + "\n"
