"""Makes one node: chooses its parent, asks the coder, and writes what came back."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from speedrun import files, schema
from speedrun.files import SpeedrunError
from speedrun.schema import Analysis, Outcome, Parent, Proposal, TaskFacts
from speedrun.search import ROOT, Choice, Seen, choose_parent, earlier_nodes, node_seed
from speedrun.stages.generate.prompt import render_prompt, render_retry
from speedrun.stages.generate.reply import ReplyError, check_solution, clip_memo, read_reply
from speedrun.stages.generate.request import Attempt, Coder, CoderRequest, NodeInputs

MEMO_FILE = "MEMO.md"  # a coding agent's note for the trial's scratchpad
SUMMARY = "digest_model.md"  # of a node, by a language model


def generate(inputs: NodeInputs, coder: Coder, out: Path) -> Parent:
    """Write one node's solution/, prompt.md, replies/, calls.jsonl and, last, parent.json.

    A coder that gives no code leaves an empty solution/ and its outcome in parent.json.
    SpeedrunError means that an input is missing or the coder could not be reached.
    """
    request = build_request(inputs)
    proposal = check_proposal(request, coder(request))
    parent = describe(request, proposal)
    files.write_bytes(out / "prompt.md", _writable(proposal.prompt or request.prompt).encode())
    files.write_tree(out / "replies", _reply_files(proposal))
    files.write_text(out / "calls.jsonl", _call_lines(proposal))
    files.write_tree(out / "solution", proposal.files or {})
    schema.save(out / "parent.json", parent)
    return parent


def check_proposal(request: CoderRequest, proposal: Proposal) -> Proposal:
    """Return the proposal as it may be kept, whatever coder it came from.

    A coding agent's memo is taken out of its files; names that a solution must not hold, or more
    than can be shown again, make it a candidate_error.
    """
    if proposal.files is None:
        return proposal
    solution, memo = dict(proposal.files), proposal.memo
    if request.memory and request.style == "files":
        memo = clip_memo(solution.pop(MEMO_FILE, memo))
    try:
        check_solution(solution)
    except ReplyError as error:
        return replace(
            proposal, files=None, outcome=Outcome.CANDIDATE_ERROR, reason=str(error), memo=memo
        )
    return replace(proposal, files=solution, memo=memo if request.memory else "")


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
    choice = choose_parent(inputs.scaffold, [_seen(a) for a in history], inputs.node, trial)
    return CoderRequest(
        prompt=_render(inputs, facts, history, choice),
        base=_parent_of(choice, history).files,
        facts=facts,
        history=history,
        choice=choice,
        node=inputs.node,
        hints=list(inputs.hints),
        trial_seed=inputs.seed,
        seed=node_seed(trial, inputs.node),
        trial=trial,
        memory=inputs.memory,
        style=inputs.style,
    )


def _render(
    inputs: NodeInputs, facts: TaskFacts, history: Sequence[Attempt], choice: Choice
) -> str:
    first = inputs.mode == "cumulative" and inputs.start is None  # of its chain: the human record
    return render_prompt(
        facts,
        history,
        choice,
        read_hints(inputs),
        read_knowledge(inputs.knowledge),
        style=inputs.style,
        mode="reproduce" if first else inputs.mode,
        passages=inputs.passages,
        memory=inputs.memory,
    )


def _parent_of(choice: Choice, history: Sequence[Attempt]) -> Attempt:
    return next(attempt for attempt in history if attempt.node == choice.parent)


def retrieval_query(inputs: NodeInputs) -> str:
    """Return what a node's passages are searched by: its hints, or else the task and its parent.

    It holds nothing that the prompt does not show: no retrieval can tell more than it is asked.
    """
    hints = read_hints(inputs)
    if hints:
        return "\n".join(hints.values())
    request = build_request(replace(inputs, passages=()))
    parent = _parent_of(request.choice, request.history)
    code = request.base.get(request.facts.entry, "")
    return "\n".join([request.facts.rules, parent.reason, parent.digest, code])


def _trial_name(inputs: NodeInputs, facts: TaskFacts) -> str:
    return f"{facts.track}/{facts.task}/{inputs.trial.parent.name}/s{inputs.seed}"


def _seen(attempt: Attempt) -> Seen:
    return Seen(
        attempt.node,
        attempt.parent,
        attempt.outcome,
        attempt.time_s,
        attempt.val_loss,
        has_code=bool(attempt.files),
    )


def read_history(inputs: NodeInputs) -> list[Attempt]:
    """Return the root and all nodes of earlier generations, in node order."""
    earlier = earlier_nodes(inputs.scaffold, inputs.node)
    folders = [inputs.trial / f"node_{node}" for node in earlier]
    return [read_root(inputs), *[read_attempt(folder, inputs.summary) for folder in folders]]


def read_root(inputs: NodeInputs) -> Attempt:
    """Return what the trial starts from: the start record, or a cumulative trial's own solution."""
    start, analysis = inputs.public / "start", inputs.root_analysis
    if inputs.start is not None:
        start, analysis = inputs.start / "solution", inputs.start / "analysis.json"
    source = files.read_tree(start)
    if not source:
        made_by = "speedrun task" if inputs.start is None else "speedrun chain"
        raise SpeedrunError(f"{start} is missing: run `{made_by}`")
    run = schema.load(Analysis, analysis)
    return Attempt(
        ROOT, ROOT, run.outcome, run.reason, run.time_s, run.val_loss, run.digest, source
    )


def read_attempt(folder: Path, summary: bool = False) -> Attempt:
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
        parent.memo,
        _exact_text(folder / SUMMARY, "run `speedrun summarize`") if summary else "",
    )


def read_hints(inputs: NodeInputs) -> dict[str, str]:
    """Return the hints that the arm is given, exactly as written."""
    found = {level: inputs.public / "hints" / f"{level}.md" for level in inputs.hints}
    for level, path in found.items():
        if not path.is_file():
            raise SpeedrunError(f"hint {level} is not in the task: {path} is missing, write it")
    return {level: _exact_text(path, "write it") for level, path in found.items()}


def read_knowledge(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """Return the documents by file name; a missing one is an error that names it."""
    remedy = "write it or drop it"
    return [(path.name, _exact_text(path, remedy, "knowledge document ")) for path in paths]


def _exact_text(path: Path, remedy: str, what: str = "") -> str:
    """Return a text byte for byte: line ends stay as they are."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise SpeedrunError(f"{what}{path} is missing: {remedy}") from None
    except UnicodeDecodeError as error:
        raise SpeedrunError(f"{path} is not UTF-8 text ({error}): mend it") from error


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
        why=request.choice.why,
        memo=proposal.memo,
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
