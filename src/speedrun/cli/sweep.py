"""Verbs over a whole task or sweep: similarity, judge, audit, score, report, publish."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedrun import files, schema, trials
from speedrun.cli import options
from speedrun.cli.options import json_value, path, required
from speedrun.cli.provenance import Draft, recorded

if TYPE_CHECKING:
    from speedrun.adapters.device_hours import DeviceHours
    from speedrun.cli.measure import Bench
    from speedrun.stages.audit import Bench as UnseenBench
    from speedrun.stages.judge import Judge

STORE = Path("store")


def add_verbs(verbs: Any) -> None:
    """Declare this module's verbs."""
    task_verbs = {
        "similarity": (run_similarity, "distance to the human's code that each winner recovered"),
        "judge": (run_judge, "which of the human's changes each winner made"),
        "audit": (run_audit, "re-time start, target and winners, interleaved"),
        "score": (run_score, "fraction of the human speedup that each trial recovered"),
    }
    added = {name: options.verb(verbs, name, *entry) for name, entry in task_verbs.items()}
    for parser in added.values():
        required(
            parser,
            plan=(path, "plan.json, or a stage's slice of it"),
            task=(str, "the task's name"),
            out=(path, "the product, results/SWEEP/STAGE/TRACK/TASK.json"),
        )
    added["judge"].add_argument("--replies", type=path, default=path("replies/judge"))
    added["judge"].add_argument(
        "--operation", type=json_value, default={}, help="caps and how to reach the model, as JSON"
    )
    _add_audit(added["audit"])
    added["score"].add_argument(
        "--frozen", type=path, help="tracks/TRACK/measurable/HARDWARE.yaml, if there is one"
    )
    report = options.verb(verbs, "report", run_report, "tables, figures and one page")
    required(report, plan=(path, "plan.json"), out=(path, "results/SWEEP/report"))
    publish = options.verb(verbs, "publish", run_publish, "mirror a sweep's records into MLflow")
    required(publish, plan=(path, "plan.json"), out=(path, "published.json"))
    publish.add_argument("--uri", default="sqlite:///mlflow.db", help="MLFLOW_TRACKING_URI wins")


def _add_audit(parser: argparse.ArgumentParser) -> None:
    required(
        parser,
        shards=(path, "results/shards/CORPUS"),
        spec=(json_value, "TrainSpec as JSON"),
    )
    parser.add_argument("--manifest", type=path, help="manifest.json of a corpus made of packages")
    parser.add_argument("--store", type=path, default=STORE / "retimings", help="finished re-runs")
    parser.add_argument("--review", type=path, help="the review of the task's winners")
    parser.add_argument("--lanes", type=int, help="rounds side by side; the plan's if absent")
    parser.add_argument("--operation", type=json_value, default={}, help=options.OPERATION)


def product_record(stage: str, out: Path) -> Path:
    """Return where a task product's record lies: TASK.STAGE.record.json beside TASK.json."""
    return out.with_name(f"{out.stem}.{stage}.record.json")


def run_similarity(given: argparse.Namespace) -> None:
    """Write the similarity of every winner of the task."""
    from speedrun.adapters import embedders
    from speedrun.stages import similarity

    plan = trials.load(given.plan)
    embed = embedders.make(plan.embedder, STORE)
    with recorded("similarity", product_record("similarity", given.out)) as record:
        chunk = int(plan.embedder["chunk_lines"])
        result = similarity.measure_task(plan, given.task, embed, chunk, given.out)
        _describe(record, given, {"embedder": plan.embedder["name"]})
        _per_trial(record, result, "recovered_l2")


def run_judge(given: argparse.Namespace) -> None:
    """Write the judgement of every winner of the task."""
    from speedrun.stages import judge

    plan = trials.load(given.plan)
    with recorded("judge", product_record("judge", given.out)) as record:
        asked = make_judge(plan, given.replies, given.operation, given.task)
        result = judge.judge_task(plan, given.task, asked, given.out)
        _describe(record, given, {"judge": plan.judge["name"]})
        _per_trial(record, result, "score")


def make_judge(
    plan: trials.Plan, replies: Path, operation: dict[str, Any] | None = None, task: str = ""
) -> Judge:
    """Return the judge that config/judge names: recorded replies, or a model.

    What the judge spends counts for the sweep, under an owner of its own, and for no trial's cap.
    """
    from speedrun.stages import judge

    if plan.judge["kind"] == "recorded":
        return judge.recorded_judge(replies / plan.track.name)
    from speedrun.adapters import models

    config, given = plan.judge["model"], operation or {}
    budget = {"sweep": given.get("budget", {}).get("sweep")}
    owner = f"judge/{plan.track.name}/{task}"
    model = models.open_model(config, {**given, "budget": budget}, owner, STORE)
    key = models.CallKey(0, 0, 0, "judge")
    return judge.model_judge(
        lambda prompt: model.ask([{"role": "user", "content": prompt}], key), str(config["model"])
    )


def run_audit(given: argparse.Namespace) -> None:
    """Re-time and check the task's winners, at the sweep's expense."""
    from speedrun.adapters.device_hours import DeviceHours
    from speedrun.cli.measure import Bench, Charged
    from speedrun.stages import audit

    plan = trials.load(given.plan)
    if plan.track.clock == "cpu" and given.spec["threads"] != 1:
        raise files.SpeedrunError("audit pins one core a lane: set hardware.threads=1")
    if given.lanes:  # fewer cores than the plan has lanes: the same rounds, fewer at a time
        plan = dataclasses.replace(plan, audit=dataclasses.replace(plan.audit, lanes=given.lanes))
    bench = Bench(given.shards, given.manifest, given.spec, plan.track)
    hours = DeviceHours(_for_the_sweep(given.operation), f"audit/{plan.track.name}/{given.task}")
    with recorded("audit", product_record("audit", given.out)) as record:
        result = audit.audit_task(
            plan,
            given.task,
            Charged(bench, hours).run,
            given.store,
            given.out,
            bench.digest,
            _say,
            given.review,
            _unseen(given, plan, bench, hours),
            simulated=bench.train_spec.trainer == "simulated",
        )
        _describe(record, given, dict(schema.to_dict(plan.audit)))
        record.read(*([given.review] if given.review else []))
        _per_trial(record, result, "fsr_audited")


def _unseen(
    given: argparse.Namespace, plan: trials.Plan, bench: Bench, hours: DeviceHours
) -> dict[str, UnseenBench]:
    """Return what runs programs on noise and on the hold-out shard, where the plan asks for it."""
    from speedrun.cli.measure import Charged
    from speedrun.stages import audit

    settings, found = plan.audit, dict[str, audit.Bench]()
    counts = {"noise": settings.noise_runs, "holdout": settings.holdout_runs}
    for kind in [kind for kind, count in counts.items() if count]:
        if bench.train_spec.trainer != "simulated":  # whose losses depend on no data
            view, other = bench.unseen(kind, given.store.parent / "views")
            found[kind] = audit.Bench(view, Charged(other, hours).run, other.digest)
    return found


def _for_the_sweep(operation: dict[str, Any]) -> dict[str, Any]:
    """Return what counts for the sweep's cap and for no trial's."""
    budget = {"sweep": operation.get("budget", {}).get("sweep")}
    return {**operation, "budget": budget} if operation else {}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run_score(given: argparse.Namespace) -> None:
    """Write the scores of the task's trials."""
    from speedrun.stages import score

    plan = trials.load(given.plan)
    track = plan.track.name
    sources = {
        stage: Path("results") / plan.sweep / stage / track / f"{given.task}.json"
        for stage in ("audit", "similarity", "judge", "review")
    }
    with recorded("score", product_record("score", given.out)) as record:
        result = score.score_task(plan, given.task, **sources, out=given.out, frozen=given.frozen)
        found = result["measurable"]
        _say(f"{given.task}: measurable {found['word']} ({found['origin']}): {found['reason']}")
        _describe(record, given, {"measurable": found["word"]})
        record.read(*sources.values(), *([given.frozen] if given.frozen else []))
        for row in result["trials"]:
            for name in ("fsr", "fsr_audited", "similarity", "judge", "device_seconds"):
                record.measured(**{f"{row['arm']}.s{row['seed']}.{name}": row.get(name)})


def _describe(record: Draft, given: argparse.Namespace, params: dict[str, Any]) -> None:
    record.params = {"task": given.task, **params}
    record.read(given.plan)
    record.artifacts = [given.out.name]


def _per_trial(record: Draft, result: dict[str, Any], name: str) -> None:
    """Note one number a trial, where it is known."""
    for entry in result["trials"]:
        value = entry.get(name)
        if isinstance(value, int | float):
            record.measured(**{f"{entry['arm']}.s{entry['seed']}": value})


def run_report(given: argparse.Namespace) -> None:
    """Write the sweep's tables, figures and page."""
    from speedrun.stages import report

    plan = trials.load(given.plan)
    sweep = given.plan.parent
    with recorded("report", given.out / "report.record.json") as record:
        written = report.build(plan, sweep, given.out)
        table = report.text_table(plan, sweep)
        files.write_text(given.out / "table.txt", table + "\n")
        record.params = {"sweep": plan.sweep}
        record.read(given.plan)
        record.artifacts = sorted(str(path.relative_to(given.out)) for path in written)


def run_publish(given: argparse.Namespace) -> None:
    """Mirror the sweep into MLflow and write what was done."""
    from speedrun.adapters import mlflow_store

    done = mlflow_store.publish(given.plan, Path("results"), given.uri)
    files.write_json(given.out, schema.to_dict(done))
    for key in done.unfinished:
        _say(f"not finished, so not published: {key}")
