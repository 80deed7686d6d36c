"""report: tables, figures and one self-contained page from a sweep's files.

The CSVs hold no dates and no paths, so that equal results give equal bytes. The page has its
images inside and links to nothing.
"""

from __future__ import annotations

import base64
from importlib import resources
from pathlib import Path
from typing import Any

from speedrun import files, text_files, trials, unseen
from speedrun.stages.report import figures, tables, text
from speedrun.stages.report.tables import Results, Row
from speedrun.stages.report.text import as_text

__all__ = ["as_text", "build", "text_table"]

UNTRUSTED = (
    "Untrusted: candidates ran without a sandbox, and could reach files, network and harness."
)
SIMULATED = "Simulated: no script was run, every time and loss is made up."


def build(plan: trials.Plan, sweep: Path, out: Path) -> list[Path]:
    """Write scores.csv, arms.csv, curves.csv, nodes.csv, figures/*.png and index.html to ``out``.

    ``sweep`` is the folder with the stages' files, score/ and so on. Returns the paths written.
    """
    results = tables.read(plan, sweep)
    arm_rows, node_rows = tables.arms(results), tables.node_rows(results)
    written = {
        "scores.csv": text_files.to_csv(results.rows, trials.SCORE_COLUMNS),
        "arms.csv": text_files.to_csv(arm_rows, tables.ARM_COLUMNS),
        "curves.csv": text_files.to_csv(tables.curves(results), tables.CURVE_COLUMNS),
        "nodes.csv": text_files.to_csv(node_rows, tables.NODE_COLUMNS),
    }
    drawn = _draw(results, arm_rows, node_rows, out / "figures")
    written["index.html"] = _page(results, arm_rows, node_rows, drawn)
    for name, content in written.items():
        files.write_text(out / name, content)
    return [*(out / name for name in written), *drawn.values()]


def text_table(plan: trials.Plan, sweep: Path) -> str:
    """Return the table that a run prints at its end, and which tasks its means leave out."""
    folder = sweep / "score" / plan.track.name
    scores = [files.read_json(folder / f"{task.task}.json") for task in plan.tasks]
    rows = [row for score in scores for row in score["trials"]]
    return "\n".join([as_text(rows), *_flags(plan, rows), *_footer(plan, scores)])


def _footer(plan: trials.Plan, scores: list[dict[str, Any]]) -> list[str]:
    """Return a line a task that does not count: not measurable here, or not run at all."""
    warning = [SIMULATED] if _simulated(plan) else []
    warning += [UNTRUSTED] if _hardware(plan, "sandbox") == "none" else []
    lines = [
        f"left out of means: {score['task']}: {score['measurable']['reason']}"
        for score in scores
        if not tables.counts(score)
    ]
    return [*warning, *lines, *(f"not run: {one.task}: {one.reason}" for one in plan.not_run)]


def _simulated(plan: trials.Plan) -> bool:
    return bool(_hardware(plan, "trainer") == "simulated")


def _hardware(plan: trials.Plan, key: str) -> Any:
    return plan.config.get("hardware", {}).get(key)


def _flags(plan: trials.Plan, rows: list[dict[str, Any]]) -> list[str]:
    """Return a line a winner that waits for a person, with the flags, and how to look at them."""
    waiting = [row for row in rows if row["n_flags"]]
    if not waiting:
        return []
    first = waiting[0]
    trial = next(one for one in plan.trials_of(first["task"]) if one.label == first["trial"])
    words = f"--track {plan.track.name} --task {first['task']}"
    solution = f"{trial.folder}/node_{first['winner']}/solution"
    return [
        *(f"open: {row['task']} {row['trial']}: {row['flags']}" for row in waiting),
        f"decide (docs/report.md), e.g. speedrun review {words} --solution {solution}",
    ]


def _draw(
    results: Results, arm_rows: list[Row], node_rows: list[Row], folder: Path
) -> dict[str, Path]:
    """Draw all figures and return them by name: fsr, curves/<task>, tree/<task>/<trial>."""
    drawn = {"fsr": figures.draw_fsr(arm_rows, folder / "fsr.png")}
    for task in results.plan.tasks:
        path = folder / f"curves_{task.task}.png"
        drawn[f"curves/{task.task}"] = figures.draw_curves(results, task.task, path)
    for trial in results.plan.trials:
        mine = [r for r in node_rows if (r["task"], r["trial"]) == (trial.task, trial.label)]
        path = folder / f"tree_{trial.task}_{trial.label.replace('/', '_')}.png"
        start = "its own" if trial.start_from else results.plan.task(trial.task).start
        drawn[f"tree/{trial.task}/{trial.label}"] = figures.draw_tree(mine, start, path)
    return drawn


def _page(
    results: Results, arm_rows: list[Row], node_rows: list[Row], drawn: dict[str, Path]
) -> str:
    import jinja2

    template = resources.files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": text.short, "words": _words, "probability": _probability}
    environment.filters |= {"mean": _mean, "signed": text.signed, "not_faster": text.is_not_faster}
    kinds, counts = tables.failures(node_rows)
    broken, by_rule = tables.violations(node_rows)
    return environment.from_string(template).render(
        plan=results.plan,
        rows=results.rows,
        arms=arm_rows,
        nodes=node_rows,
        outcomes=kinds,
        counts=counts,
        broken=broken,
        by_rule=by_rule,
        untrusted=UNTRUSTED,
        mixed=text.is_mixed(results.rows),
        cumulative=text.is_cumulative(results.rows),
        own_start=text.own_start,
        colours=figures.OUTCOME_COLOURS,
        caption=figures.caption,
        tasks=[_task(results, task) for task in results.plan.tasks],
        warning=SIMULATED if _simulated(results.plan) else "",
        sandboxes=sorted({row["sandbox"] for row in node_rows if row["sandbox"]}),
        image={name: _inline(path) for name, path in drawn.items()},
    )


def _task(results: Results, task: trials.TaskPlan) -> dict[str, Any]:
    """Return one task's part of the page, trials joined with their audit and judgement."""
    stages = {
        "audit": results.audit,
        "judge": results.judge,
        "similar": results.similarity,
        "review": results.review,
    }
    named = {
        name: {entry["trial"]: entry for entry in stage[task.task]["trials"]}
        for name, stage in stages.items()
    }
    joined = [
        {"row": row} | {name: entries[row["trial"]] for name, entries in named.items()}
        for row in results.score[task.task]["trials"]
    ]
    joined = [one | {"flags": unseen.open_flags(one["audit"])} for one in joined]
    return {
        "plan": task,
        "trials": joined,
        "audit": results.audit[task.task],
        "score": results.score[task.task],
        "rubric": {item["id"]: item for item in results.judge[task.task]["rubric"]},
    }


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _words(value: Any) -> str:
    return text.UNKNOWN if value is None else str(value).replace("_", " ")


def _mean(summary: dict[str, Any] | None, form: str) -> str:
    return text.UNKNOWN if summary is None else form % summary["mean"]


def _probability(value: float | None) -> str:
    if value is None:
        return text.UNKNOWN
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"
