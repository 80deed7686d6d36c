"""Makes one node: chooses its parent, asks the coder, and writes what came back."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.schema import Analysis, Parent, Proposal, TaskFacts
from speedrun.search import ROOT, Seen, choose_parent, earlier_nodes, node_seed
from speedrun.stages.generate.prompt import render_prompt, render_retry
from speedrun.stages.generate.reply import ReplyError, read_reply
from speedrun.stages.generate.request import Attempt, Coder, CoderRequest, NodeInputs


def generate(inputs: NodeInputs, coder: Coder, out: Path) -> Parent:
    """Write one node's solution/, prompt.md, replies/, calls.jsonl and, last, parent.json.

    A coder that gives no code leaves an empty solution/ and its outcome in parent.json.
    SpeedrunError means that an input is missing or the coder could not be reached.
    """
    request = build_request(inputs)
    proposal = coder(request)
    parent = describe(request, proposal)
    files.write_text(out / "prompt.md", proposal.prompt or request.prompt)
    files.write_tree(out / "replies", _reply_files(proposal))
    files.write_text(out / "calls.jsonl", _call_lines(proposal))
    files.write_tree(out / "solution", proposal.files or {})
    schema.save(out / "parent.json", parent)
    return parent


def print_prompt(inputs: NodeInputs, reply: str | None = None) -> str:
    """Return what a node would be asked; with its unreadable ``reply``, what it is asked next."""
    request = build_request(inputs)
    if reply is None:
        return request.prompt
    try:
        read_reply(reply, request.base)
    except ReplyError as error:
        return render_retry(request.prompt, reply, str(error))
    raise SpeedrunError("that reply can be read: there is no second question")


def build_request(inputs: NodeInputs) -> CoderRequest:
    """Read the public task and the earlier nodes, choose the parent and render the prompt."""
    facts = schema.load(TaskFacts, inputs.public / "task.json")
    history = read_history(inputs)
    trial = _trial_name(inputs, facts)
    seed = node_seed(trial, inputs.node)
    choice = choose_parent(inputs.scaffold, [_seen(a) for a in history], inputs.node, seed)
    base = next(attempt.files for attempt in history if attempt.node == choice.parent)
    prompt = render_prompt(
        facts, history, choice, read_hints(inputs), read_knowledge(inputs.knowledge)
    )
    hints = list(inputs.hints)
    return CoderRequest(
        prompt, base, facts, history, choice, inputs.node, hints, inputs.seed, seed, trial
    )


def _trial_name(inputs: NodeInputs, facts: TaskFacts) -> str:
    return f"{facts.track}/{facts.task}/{inputs.trial.parent.name}/s{inputs.seed}"


def _seen(attempt: Attempt) -> Seen:
    return Seen(attempt.node, attempt.parent, attempt.outcome, attempt.time_s, attempt.val_loss)


def read_history(inputs: NodeInputs) -> list[Attempt]:
    """Return the root and all nodes of earlier generations, in node order."""
    start = files.read_tree(inputs.public / "start")
    if not start:
        raise SpeedrunError(f"{inputs.public / 'start'} is missing: run `speedrun task`")
    run = schema.load(Analysis, inputs.root_analysis)
    root = Attempt(ROOT, ROOT, run.outcome, run.reason, run.time_s, run.val_loss, run.digest, start)
    earlier = earlier_nodes(inputs.scaffold, inputs.node)
    return [root, *[read_attempt(inputs.trial / f"node_{node}") for node in earlier]]


def read_attempt(folder: Path) -> Attempt:
    """Return an earlier node from its folder; its analysis carries a coder's failure too."""
    parent = schema.load(Parent, folder / "parent.json")
    run = schema.load(Analysis, folder / "analysis.json")
    return Attempt(
        parent.node,
        parent.parent,
        run.outcome,
        run.reason,
        run.time_s,
        run.val_loss,
        run.digest,
        files.read_tree(folder / "solution"),
        parent.notes,
    )


def read_hints(inputs: NodeInputs) -> dict[str, str]:
    """Return the hints that the arm is given, exactly as written."""
    found = {level: inputs.public / "hints" / f"{level}.md" for level in inputs.hints}
    for level, path in found.items():
        if not path.is_file():
            raise SpeedrunError(f"hint {level} is not in the task: {path} is missing, write it")
    return {level: path.read_text(encoding="utf-8") for level, path in found.items()}


def read_knowledge(paths: Sequence[Path]) -> dict[str, str]:
    """Return the knowledge documents by file name; a missing one is an error that names it."""
    for path in paths:
        if not path.is_file():
            raise SpeedrunError(f"knowledge document {path} is missing: write it or drop it")
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def describe(request: CoderRequest, proposal: Proposal) -> Parent:
    """Return parent.json's content; lines are counted against the parent's files."""
    solution = proposal.files
    if solution is None and proposal.outcome is None:
        raise SpeedrunError("the coder returned neither files nor an outcome: mend its adapter")
    added, removed = (0, 0) if solution is None else count_lines(request.base, solution)
    return Parent(
        node=request.node,
        parent=request.choice.parent,
        generation=request.choice.generation,
        action=request.choice.action,
        outcome=proposal.outcome if solution is None else None,
        reason=proposal.reason,
        solution_digest="" if solution is None else digest_solution(solution),
        lines_added=added,
        lines_removed=removed,
        notes=proposal.notes,
    )


def digest_solution(solution: Mapping[str, str]) -> str:
    """Return the digest that ``files.digest_tree`` gives of the written solution."""
    return files.digest_value({name: files.digest_text(text) for name, text in solution.items()})


def count_lines(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[int, int]:
    """Return the lines added and removed over all files."""
    added = removed = 0
    for name in sorted(set(before) | set(after)):
        old, new = _lines(before.get(name, "")), _lines(after.get(name, ""))
        for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new).get_opcodes():
            added += m - k if tag != "equal" else 0
            removed += j - i if tag != "equal" else 0
    return added, removed


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _reply_files(proposal: Proposal) -> dict[str, str]:
    return {f"turn_{turn}.md": _writable(text) for turn, text in enumerate(proposal.replies)}


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be written


def _call_lines(proposal: Proposal) -> str:
    return "".join(files.canonical_json(schema.to_dict(call)) + "\n" for call in proposal.calls)
