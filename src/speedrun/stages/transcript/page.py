"""Lays a trial out as plain text for a terminal or a pager: the tree, then node after node."""

from __future__ import annotations

import io
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from speedrun.files import SpeedrunError
from speedrun.schema import Analysis, Call, Parent
from speedrun.search import ROOT
from speedrun.stages.transcript.reading import Node, Trial

REPLY_LINES, LOG_LINES, CHANGE_LINES = 40, 40, 120  # shown without --full
TREE_COLUMNS = 120
RULE = "=" * 78
ASKED = ("coder", "model", "scaffold", "hints", "mode")  # of generate's parameters, for the head


def render(trial: Trial, number: int | None, full: bool) -> str:
    """Return the page of a trial, or that of one node alone."""
    if number is not None:
        return plain("\n".join(_node(_find(trial, number), trial.best, full)))
    parts = [_head(trial), _tree(trial)]
    parts += ["\n".join(_node(node, trial.best, full)) for node in trial.nodes]
    return plain("\n".join(parts))


def plain(text: str) -> str:
    """Return text without anything that a terminal acts on but line ends and tabs."""
    return "".join(char if char in "\n\t" or _shown(char) else "\N{REPLACEMENT CHARACTER}"
                   for char in text)  # fmt: skip


def _shown(char: str) -> bool:
    return unicodedata.category(char)[0] not in "CZ" or char == " " or char == "\u00a0"


def _find(trial: Trial, number: int) -> Node:
    for node in trial.nodes:
        if node.number == number:
            return node
    known = ", ".join(str(node.number) for node in trial.nodes)
    raise SpeedrunError(f"{trial.name} has no node {number}: it has {known or 'none'}")


def _head(trial: Trial) -> str:
    asked = next((node.asked for node in trial.nodes if node.asked), {})
    facts = [f"{name} {asked[name]}" for name in ASKED if name in asked]
    calls = [call for node in trial.nodes for call in node.calls]
    best = f"node {trial.best}" if trial.best is not None else "no node reached the target"
    lines = [f"Trial {trial.name}", ", ".join(facts), _outcomes(trial.nodes)]
    lines += [f"Best: {best}", _costs(calls)]
    if trial.link:
        kind = "The chain has ended" if trial.link.ended else "Starts from the task before"
        lines.append(f"{kind}: {trial.link.reason}")
    return "\n".join(line for line in lines if line) + "\n"


def _outcomes(nodes: Sequence[Node]) -> str:
    counts = Counter(str(node.analysis.outcome) for node in nodes if node.analysis)
    told = [f"{count} {outcome}" for outcome, count in counts.items()]
    told += [f"node {node.number} is unfinished" for node in nodes if node.unfinished]
    count = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    return ": ".join([count, *([", ".join(told)] if told else [])])


def _tree(trial: Trial) -> str:
    """Draw who came from whom; what has no parent yet stands below the tree."""
    drawn = {ROOT: Tree(Text("the trial's own start" if trial.link else "start record"))}
    waiting: list[Node] = []
    for node in trial.nodes:  # a parent has a lower number than its children
        above = drawn.get(node.parent.parent) if node.parent else None
        if above is None:
            waiting.append(node)
        else:
            drawn[node.number] = above.add(Text(plain(_label(node, trial.best))))
    page = io.StringIO()
    console = Console(file=page, color_system=None, width=TREE_COLUMNS, legacy_windows=False)
    console.print(drawn[ROOT], no_wrap=True, overflow="ellipsis")
    lines = [line.rstrip() for line in page.getvalue().splitlines()]
    lines += [f"node {node.number}: {node.unfinished or 'its parent is gone'}" for node in waiting]
    return "\n".join(lines) + "\n"


def _label(node: Node, best: int | None) -> str:
    action = f"{node.parent.action}, " if node.parent else ""
    mark = "  <== best" if node.number == best else ""
    return f"node {node.number}: {action}{_result(node)}{mark}"


def _result(node: Node) -> str:
    if node.analysis is None:
        return node.unfinished
    parts = [str(node.analysis.outcome), *_figures(node.analysis)]
    return ", ".join(parts)


def _figures(analysis: Analysis) -> list[str]:
    figures = [(analysis.time_s, "{:.2f} s"), (analysis.val_loss, "val_loss {:.4f}")]
    return [form.format(value) for value, form in figures if value is not None]


def _node(node: Node, best: int | None, full: bool) -> list[str]:
    mark = "  (best)" if node.number == best else ""
    facts = [
        ("unfinished", node.unfinished),
        *(_origin(node.parent) if node.parent else []),
        ("told", _told(node)),
        ("preflight", str(node.preflight.get("reason", ""))),
        ("outcome", _outcome(node)),
        ("device", _device(node.analysis)),
        ("cost", _costs(node.calls)),
    ]
    lines = [RULE, f"Node {node.number}{mark}", RULE]
    lines += [f"{name + ':':<12}{text}" for name, text in facts if text]
    return [*lines, "", *_texts(node, full)]


def _origin(parent: Parent) -> list[tuple[str, str]]:
    source = f"node {parent.parent}" if parent.parent != ROOT else "the start"
    notes = ", ".join(f"{name} = {value}" for name, value in parent.notes.items())
    return [
        ("generation", str(parent.generation)),
        ("action", f"{parent.action}, from {source}"),
        ("why", parent.why),
        ("notes", notes),
        ("memo", " ".join(parent.memo.split())),
    ]


def _told(node: Node) -> str:
    hints = node.asked.get("hints")
    told = [f"hints {hints}"] if hints else []
    told += [f"a prompt of {len(node.prompt):,} characters"] if node.prompt else []
    return ", ".join(told)


def _outcome(node: Node) -> str:
    if node.analysis:
        reason = f": {node.analysis.reason}" if node.analysis.reason else ""
        return ", ".join([f"{node.analysis.outcome}{reason}", *_figures(node.analysis)])
    if node.parent and node.parent.outcome:
        return f"{node.parent.outcome}: {node.parent.reason}"
    return ""


def _device(analysis: Analysis | None) -> str:
    known = analysis is not None and analysis.device_seconds is not None
    return f"{analysis.device_seconds:.1f} s of its time" if analysis and known else ""


def _costs(calls: Sequence[Call]) -> str:
    """Return tokens, dollars and seconds of the calls; what is not known is said."""
    if not calls:
        return ""
    stored = sum(call.stored for call in calls)
    return ", ".join(
        [
            f"{len(calls)} call" + ("s" if len(calls) > 1 else ""),
            f"tokens {_sum(call.tokens_in for call in calls)} in, "
            f"{_sum(call.tokens_out for call in calls)} out",
            f"USD {_sum((call.cost_usd for call in calls), '{:.4f}')}",
            f"{_sum((call.seconds for call in calls), '{:.1f}')} s",
            *([f"{stored} from the store, not paid again"] if stored else []),
        ]
    )


def _sum(values: Iterable[float | None], form: str = "{:,}") -> str:
    every = list(values)
    known = [value for value in every if value is not None]
    missing = len(every) - len(known)
    if not known:
        return "unknown"
    return form.format(sum(known)) + (f" (unknown for {missing})" if missing else "")


def _texts(node: Node, full: bool) -> list[str]:
    """Return the long texts of a node, each under its heading."""
    prompt = _lines(node.prompt) if full else []
    parts = [*_part("prompt", prompt, None)]
    if node.agent_log:
        parts += _part("end of the agent's log", node.agent_log, None if full else -LOG_LINES)
    if full or not node.agent_log:  # an agent's many replies are in its log
        for turn, reply in enumerate(node.replies):
            parts += _part(f"reply {turn}", _lines(reply), None if full else REPLY_LINES)
    parts += _part("preflight", _lines(str(node.preflight.get("finding", ""))), None)
    parts += _changed(node, full)
    parts += _part("digest", _lines(node.analysis.digest if node.analysis else ""), None)
    return parts + _part("summary by a model", _lines(node.summary), None)


def _changed(node: Node, full: bool) -> list[str]:
    if node.parent is None or not node.parent.solution_digest:
        return []
    title = f"change: +{node.parent.lines_added} -{node.parent.lines_removed} lines"
    if node.change is None:
        return _part(
            title, ["(the files that it is made from are not at hand: give --start)"], None
        )
    return _part(title, node.change or ["(none)"], None if full else CHANGE_LINES)


def _lines(text: str) -> list[str]:
    return text.rstrip("\n").split("\n") if text.strip() else []


def _part(title: str, lines: Sequence[str], shown: int | None) -> list[str]:
    """Return a heading and its lines: the first ``shown``, the last if negative, or all (None)."""
    if not lines:
        return []
    left = max(len(lines) - abs(shown), 0) if shown is not None else 0
    more = [f"... {left} more lines: see --full"] if left else []
    if shown is not None and shown < 0:
        return [f"--- {title} ---", *more, *lines[shown:], ""]
    return [f"--- {title} ---", *lines[:shown], *more, ""]
