"""judge: which of the human's changes a winner reproduces, change by change.

The task's rubric lists the human's changes with weights. A judge, a recorded reply or a model,
says for each whether the winner carries it out (0, 0.5 or 1); the score is the weighted mean. A
reply that does not parse is a typed failure and a missing one a gap, both with score None: a
score is never guessed. Code equal to the start scores 0 and code equal to the target 1 by
definition, without a judge.

rubric.yaml::

    changes:
      - {id: rope, change: "rotary embeddings replace learned positions", weight: 1}
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedrun import files, material, trials, versions
from speedrun.material import Reply, ReplyError, unified_diff

MARKS = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Change:
    """One item of a rubric; ``weight`` is relative to the other items'."""

    id: str
    change: str
    weight: float


@dataclass(frozen=True)
class Case:
    """One winner to be judged: its digest and the rendered prompt."""

    task: str
    digest: str
    prompt: str


@dataclass(frozen=True)
class Answer:
    """A judge's reply, or None with the reason why there is none."""

    text: str | None
    source: str
    reason: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    notes: dict[str, Any] | None = None


Judge = Callable[[Case], Answer]


def judge_task(plan: trials.Plan, task_name: str, judge: Judge, out: Path) -> dict[str, Any]:
    """Judge the winner of every trial of a task and write ``out``.

    Every rendered prompt is written beside it under prompts/<task>/, so that it can be answered
    later. Without a rubric only code equal to a record's has a score. Errors: SpeedrunError for a
    malformed rubric.
    """
    task = plan.task(task_name)
    path = Path(task.folder) / "private" / "rubric.yaml"
    rubric = read_rubric(path) if path.is_file() else []
    result = {
        "task": task_name,
        "track": plan.track.name,
        "judge": plan.judge,
        "version": versions.JUDGE,
        "rubric": [{"id": c.id, "change": c.change, "weight": c.weight} for c in rubric],
        "trials": [
            {"trial": trial.label, "arm": trial.arm, "seed": trial.seed}
            | _judge_trial(task, trials.winner(trials.nodes(trial)), rubric, judge, out.parent)
            for trial in plan.trials_of(task_name)
        ],
    }
    files.write_json(out, result)
    return result


def read_rubric(path: Path) -> list[Change]:
    """Read rubric.yaml; a malformed one is an error that names the file and the item."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        items = [
            Change(str(c["id"]), str(c["change"]), float(c["weight"])) for c in data["changes"]
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise files.SpeedrunError(
            f"{path}: not a rubric ({error!r}): give changes, each {{id, change, weight}}"
        ) from error
    names = [item.id for item in items]
    if not items or len(set(names)) < len(names) or min(item.weight for item in items) <= 0:
        raise files.SpeedrunError(f"{path}: needs changes with distinct ids and positive weights")
    return items


def _judge_trial(
    task: trials.TaskPlan,
    winner: trials.Node | None,
    rubric: list[Change],
    judge: Judge,
    folder: Path,
) -> dict[str, Any]:
    if winner is None:
        return _unscored("no winner", "no node reached the target")
    agent = files.read_tree(winner.solution)
    for known, score in ((task.start_files, 0.0), (task.target_files, 1.0)):
        if agent == files.read_tree(known):
            marks = [{"id": c.id, "implemented": score, "reason": "equal code"} for c in rubric]
            return _scored(score, marks, "identity") | {"node": winner.number}
    if not rubric:
        return _unscored("no rubric", "the task has no rubric.yaml") | {"node": winner.number}
    case = _case(task, winner.solution, rubric)
    prompt_file = folder / "prompts" / task.task / f"{case.digest[:16]}.md"
    files.write_text_if_changed(prompt_file, case.prompt)
    return {"node": winner.number, "prompt": str(prompt_file)} | _ask(case, rubric, judge)


def _ask(case: Case, rubric: list[Change], judge: Judge) -> dict[str, Any]:
    answer = judge(case)
    notes = {"tokens_in": answer.tokens_in, "tokens_out": answer.tokens_out}
    notes |= answer.notes or {}
    if answer.text is None:
        return _unscored(answer.source, answer.reason) | notes
    try:
        marks = parse_reply(answer.text, rubric)
    except ReplyError as error:
        return _unscored(answer.source, f"unparsed reply: {error}") | notes
    return _scored(score(marks, rubric), marks, answer.source) | notes


def _unscored(source: str, reason: str) -> dict[str, Any]:
    return {"score": None, "changes": None, "source": source, "reason": reason}


def _scored(value: float, marks: list[dict[str, Any]], source: str) -> dict[str, Any]:
    return {"score": value, "changes": marks, "source": source, "reason": ""}


def _case(task: trials.TaskPlan, solution: Path, rubric: list[Change]) -> Case:
    start = files.read_tree(task.start_files)
    human = unified_diff(start, files.read_tree(task.target_files))
    agent = unified_diff(start, files.read_tree(solution))
    return Case(task.task, files.digest_tree(solution), render_prompt(start, human, agent, rubric))


def render_prompt(
    start: Mapping[str, str], human_diff: str, agent_diff: str, rubric: list[Change]
) -> str:
    """Render prompts/judge.md; nothing in the material closes its fence."""
    return material.render(
        "judge.md",
        [*start.values(), human_diff, agent_diff],
        start=dict(sorted(start.items())),
        human_diff=human_diff,
        agent_diff=agent_diff,
        changes=rubric,
    )


def parse_reply(text: str, rubric: list[Change]) -> list[dict[str, Any]]:
    """Return the marks in rubric order from the one json block of a reply, or raise ReplyError."""
    try:
        entries = material.json_block(text)["changes"]
    except (ValueError, KeyError, TypeError) as error:
        raise ReplyError(f"the json block has no list of changes ({error})") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ReplyError("changes is not a list of objects")
    marks = {str(entry.get("id")): _mark(entry) for entry in entries}
    expected = [change.id for change in rubric]
    if sorted(marks) != sorted(expected) or len(entries) != len(expected):
        raise ReplyError(f"ids {sorted(marks)} are not exactly the rubric's {sorted(expected)}")
    return [marks[name] for name in expected]


def _mark(entry: dict[str, Any]) -> dict[str, Any]:
    value, reason = entry.get("implemented"), entry.get("reason")
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in MARKS:
        raise ReplyError(f"{entry.get('id')}: implemented is {value!r:.40}, not 0, 0.5 or 1")
    if not isinstance(reason, str) or not reason.strip():
        raise ReplyError(f"{entry.get('id')}: no reason")
    return {"id": str(entry["id"]), "implemented": float(value), "reason": reason.strip()}


def score(marks: list[dict[str, Any]], rubric: list[Change]) -> float:
    """Return the weighted mean of the marks, in [0, 1]."""
    weights = [change.weight for change in rubric]
    pairs = zip(marks, weights, strict=True)
    return float(sum(mark["implemented"] * weight for mark, weight in pairs) / sum(weights))


def recorded_judge(replies: Path) -> Judge:
    """Return a judge that looks replies up in <replies>/<task>/<16 hex of the solution digest>/.

    ``reply.md`` is the unedited reply; ``prompt.md``, if kept, shows how far today's prompt has
    drifted from the one that was answered; ``meta.yaml`` names who answered and when.
    """

    def judge(case: Case) -> Answer:
        folder = replies / case.task / case.digest[:16]
        reply = folder / "reply.md"
        if not reply.is_file():
            return Answer(None, "recorded", f"no recorded reply for {case.task}/{case.digest[:16]}")
        return _recorded(folder, reply.read_text(encoding="utf-8"), case)

    return judge


def _recorded(folder: Path, text: str, case: Case) -> Answer:
    import yaml

    meta_file, prompt = folder / "meta.yaml", folder / "prompt.md"
    text_of_meta = meta_file.read_text(encoding="utf-8") if meta_file.is_file() else ""
    meta = yaml.safe_load(text_of_meta) or {}
    drift = None
    if prompt.is_file():
        lines = prompt.read_text(encoding="utf-8").splitlines(), case.prompt.splitlines()
        drift = 1.0 - difflib.SequenceMatcher(None, *lines, autojunk=False).ratio()
    notes = {"prompt_drift": drift, "meta": {key: str(value) for key, value in meta.items()}}
    tokens = (meta.get("tokens_in"), meta.get("tokens_out"))
    return Answer(text, "recorded", "", *tokens, notes)


def model_judge(ask: Callable[[str], Reply], model: str) -> Judge:
    """Return a judge that asks a model, which keeps its replies itself."""

    def judge(case: Case) -> Answer:
        reply = ask(case.prompt)
        tokens = reply.tokens_in, reply.tokens_out
        if reply.refused:
            return Answer(None, model, "the model declined", *tokens)
        return Answer(reply.text, model, "", *tokens)

    return judge
