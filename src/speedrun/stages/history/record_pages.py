"""One page a record, and their table of contents, for docs/records/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from speedrun.classification import FIELDS
from speedrun.registry import FLAGS, Record
from speedrun.stages.history import shares
from speedrun.stages.history.analysis import History
from speedrun.stages.history.markdown import number, table, text, times
from speedrun.stages.history.steps import Step

HEADING = re.compile(r"^(#+ )", re.MULTILINE)
MADE = "<!-- made by `speedrun history` from the registry, the labels and the hints -->"


def pages(history: History, hints: Path) -> dict[str, str]:
    """Return file name to text: README.md, and rNN.md for each record number.

    ``hints`` holds a folder a task; where it has l2_description.md, the page ends with it.
    """
    first = history.steps[0].start
    made = {"README.md": _contents(history), f"{name(first.number)}.md": _baseline(history, first)}
    for step in history.steps:
        made[f"{name(step.number)}.md"] = _page(history, step, hints)
    return made


def name(number_: int) -> str:
    """Return r07 for 7."""
    return f"r{number_:02d}"


def _contents(history: History) -> str:
    heads = ("record", "date", "minutes", "time saved %", "change", *FIELDS)
    rows = [
        (
            f"[{step.number}]({name(step.number)}.md)",
            step.target.date,
            f"{step.target.time_minutes:g}",
            number(_saved(step)),
            text(step.target.title),
            *(step.word(field) for field in FIELDS),
        )
        for step in history.steps
    ]
    first = history.steps[0].start
    opening = (
        f"A page a record: what changed, how it is classified and why, and where it is upstream. "
        f"[Record {first.number}]({name(first.number)}.md), {first.time_minutes:g} minutes, is the "
        "baseline. What it all adds up to is in [history.md](../history.md)."
    )
    return f"# The records\n\n{MADE}\n{opening}\n\n{table(heads, rows)}\n"


def _baseline(history: History, record: Record) -> str:
    lines = [f"{record.time_minutes:g} minutes on {record.date}: where the race starts."]
    return _whole(history, record, [*lines, "", *_upstream(history, record)])


def _page(history: History, step: Step, hints: Path) -> str:
    parts = [*_facts(history, step), "", *_labels(history, step), "", *_adopted(step)]
    parts += ["", *_upstream(history, step.target), *_description(step, hints)]
    return _whole(history, step.target, parts)


def _whole(history: History, record: Record, lines: list[str]) -> str:
    title = f"# Record {record.number}: {text(record.title)}"
    body = re.sub(r"\n{3,}", "\n\n", "\n".join([title, "", MADE, _around(history, record), *lines]))
    return body.rstrip() + "\n"


def _around(history: History, record: Record) -> str:
    """Return links to the neighbours, and to the table of contents."""
    last = history.steps[-1].number
    links = [f"[{n}]({name(n)}.md)" for n in (record.number - 1,) if n >= 1]
    links += ["[all records](README.md)"]
    links += [f"[{n}]({name(n)}.md)" for n in (record.number + 1,) if n <= last]
    return " · ".join(links) + "\n"


def _saved(step: Step) -> float:
    return 100 * (1 - step.target.time_minutes / step.start.time_minutes)


def _facts(history: History, step: Step) -> Iterator[str]:
    before, after = step.start.time_minutes, step.target.time_minutes
    part = 100 * shares.part(history.steps, [step])
    credit = ", ".join(step.contributors)
    credit += f"; AI system: {step.target.ai_system}" if step.target.ai_system else ""
    timed = f" (timed again: {text(step.start.variant)})" if step.start.variant else ""
    rows = [
        ("date", step.target.date),
        ("minutes", f"{before:g}{timed} → {after:g}"),
        ("gain", f"{number(_saved(step))} % of the time, {times(before / after, 4)}, "
                 f"{number(part)} % of the whole log speedup"),
        ("by", text(credit)),
        *((field, f"**{step.word(field)}**") for field in FIELDS),
        ("confidence", step.label.confidence),
    ]  # fmt: skip
    yield table(("", ""), rows)


def _labels(history: History, step: Step) -> Iterator[str]:
    """Yield why the labels are what they are, and who said otherwise."""
    yield f"**Evidence.** {text(step.label.evidence)}"
    first, second = (one[step.number] for one in history.passes)
    for field in FIELDS:
        words = getattr(first, field), getattr(second, field)
        if words[0] != words[1]:
            yield f"\n*Passes differ* in {field}: {words[0]} and {words[1]}."
    if step.label.resolved:
        yield f"\n*Settled:* {text(step.label.resolved)}"
    for one in history.published.labels:
        if one.record == step.number:
            agrees = "as here" if one.word == step.word(one.field) else "not as here"
            yield f"\n*The published analysis* says {one.field} {one.word}, {agrees}."


def _adopted(step: Step) -> Iterator[str]:
    if step.label.adopted_by:
        links = [f"<{link.strip()}>" for link in step.label.adopted_source.split(" ; ") if link]
        yield f"**Adopted by** {text(step.label.adopted_by)} ({', '.join(links) or 'no source'})"


def _upstream(history: History, record: Record) -> Iterator[str]:
    """Yield links to upstream, at the registry's commit."""
    home, commit = history.registry.upstream.url, history.registry.upstream.commit
    yield "## Upstream\n"
    if record.pull_request:
        yield f"- pull request [{record.pull_request}]({home}/pull/{record.pull_request})"
    if record.log:
        folder = record.log == record.log_folder or "log_is_directory" in record.flags
        kind = "tree" if folder else "blob"
        yield f"- [what the table links]({home}/{kind}/{commit}/{record.log})"
    if record.log_folder and record.log_folder != record.log:
        yield f"- [folder of its logs]({home}/tree/{commit}/{record.log_folder})"
    source = record.source
    link = f"{home}/blob/{commit}/{source.log}"
    if source.commit:
        link = f"{home}/blob/{source.commit}/{source.paths[0]}"
    yield f"- [source of the record]({link})"
    for cite in record.cites:
        yield f"- cites {f'[{text(cite.title)}]({cite.url})' if cite.url else text(cite.title)}"
    for flag in record.flags:
        yield f"- note: {FLAGS[flag]}"
    for again in _timed_again(history, record):
        took = f"{again.time_minutes:g} minutes, {text(again.variant)}"
        yield f"- timed again on {again.date}: {took}"


def _timed_again(history: History, record: Record) -> list[Record]:
    records = history.registry.records
    return [one for one in records if one.number == record.number and one.id != record.id]


def _description(step: Step, hints: Path) -> Iterator[str]:
    """Yield the task's hint of level 2, its headings two levels lower."""
    path = hints / step.task / "l2_description.md"
    if path.is_file():
        yield f"\n## The change in words\n\nThe hint of level 2 for the task {step.task}.\n"
        yield HEADING.sub(r"##\1", path.read_text(encoding="utf-8").strip())
