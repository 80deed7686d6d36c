"""The join of sweeps with the kind of research that the human's step was; recall; failures."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweep_files
from speedrun import cli, files, schema, trials
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome
from speedrun.stages.history import chain_facts, join, recall, sweeps
from speedrun.stages.history.chain_facts import Facts

STEP = {"depth": "deep", "provenance": "invented", "kind": "kernel"}
FACTS = Facts(
    "nanogpt",
    {"r02": STEP, "r03": STEP | {"kind": "data"}},
    {"r02": "2024-06-06", "r03": "2024-10-04"},
    {"m": "2024-06-30"},
)


def row(task: str, audited: float | None, **changes: Any) -> dict[str, Any]:
    values = {"task": task, "arm": "a", "model": "m", "hints": "none", "outcome": "ok"}
    return values | {"fsr": 0.5, "fsr_audited": audited, "counts": True} | changes


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_means_weigh_tasks_equally_and_leave_out_what_is_not_measurable() -> None:
    rows = [row("r01-r02", 0.2), row("r01-r02", 0.4), row("r02-r03", 1.0), row("r01-r02", None)]
    rows += [row("r01-r02", 9.0, counts=False)]
    made = {(one["field"], one["word"]): one for one in join.fsr_rows(FACTS, rows)}
    both = made["depth", "deep"]
    assert (both["n_tasks"], both["n_trials"], both["n_left_out"]) == (2, 4, 1)
    assert both["fsr_audited"] == pytest.approx((0.3 + 1.0) / 2)
    assert 0.6 <= both["low"] <= both["fsr_audited"] <= both["high"] <= 0.7
    assert made["kind", "data"]["fsr_audited"] == 1.0 and made["kind", "data"]["low"] is None
    assert made["kind", "kernel"]["fsr"] == 0.5


def test_periods_are_by_the_records_date_and_the_models_cutoff() -> None:
    rows = [row("r01-r02", 0.9), row("r02-r03", 0.1), row("r02-r03", 0.3, model="other")]
    rows += [row("r03-r04", 0.3)]
    made = join.contamination_rows(FACTS, rows)
    assert {(one["model"], one["period"]): one["fsr_audited"] for one in made} == {
        ("m", "before cutoff"): 0.9,
        ("m", "after cutoff"): 0.1,
        ("m", "unknown"): 0.3,
        ("other", "unknown"): 0.3,
    }


def test_a_cutoff_of_a_month_holds_the_whole_month() -> None:
    known = Facts("nanogpt", FACTS.words, FACTS.dates, {"m": "2024-10", "n": "2024-09"})
    assert known.period("r02-r03", "m") == "before cutoff"
    assert known.period("r02-r03", "n") == "after cutoff"


def test_a_task_that_starts_at_a_later_timing_has_its_targets_words() -> None:
    known = Facts("nanogpt", {"r22": STEP}, {"r22": "2025-05-24"}, {"m": "2025-05-24"})
    assert known.word("r21c-r22", "kind") == "kernel"
    assert known.period("r21c-r22", "m") == "before cutoff"


def test_a_sweep_without_an_audit_has_no_audited_mean() -> None:
    made = join.fsr_rows(FACTS, [row("r01-r02", None), row("r01-r02", None, fsr=None)])
    assert {(one["fsr"], one["fsr_audited"], one["low"]) for one in made} == {(0.5, None, None)}


def test_failures_are_counted_by_kind() -> None:
    outcomes = ["ok", "oom", "oom", "missed_target", "not_attempted"]
    nodes = [{"task": "r01-r02", "arm": "a", "outcome": one} for one in outcomes]
    made = {(one["field"], one["word"]): one for one in join.failure_rows(FACTS, nodes)}
    kernel = made["kind", "kernel"]
    assert (kernel["nodes"], kernel["failed"], kernel["oom"], kernel["ok"]) == (5, 3, 2, 1)
    assert kernel["share_failed"] == pytest.approx(3 / 5)


def test_the_repositorys_own_facts(repository: Path) -> None:
    known = chain_facts.load(repository, "nanogpt")
    assert known.word("r02-r03", "depth") == "breakthrough"
    assert known.word("r21c-r22", "kind") == "parallelism"
    assert known.period("r02-r03", "claude_3_7_sonnet") == "before cutoff"
    assert known.period("r61-r62", "claude_3_7_sonnet") == "after cutoff"
    assert known.period("r61-r62", "deepseek_r1") == "unknown"
    micro = chain_facts.load(repository, "micro")
    assert micro.word("r01-r02", "kind") == "hyperparameter"
    assert micro.word("r01-r02", "provenance") == "unknown"
    with pytest.raises(SpeedrunError, match="give a --track we have"):
        chain_facts.load(repository, "nowhere")


START = "import time\n\nlr = 0.1\n\n\ndef train(model, data, lr):\n    return model.fit(data, lr)\n"
TARGET = START + "".join(
    f"\n\ndef step_{name}(state, grad, rate):\n    return state.{name}(grad, rate)  # {name}\n"
    for name in ("polar", "norm", "decay", "mix")
)
OWN = START + TARGET.partition("mix")[0].replace("state", "moments").replace("rate", "lr_now")
TUNED = START.replace("lr = 0.1", "lr = 0.3")


def sweep(root: Path) -> Path:
    """A finished sweep whose target has eight telling lines: oracle, null, tuner, and an agent."""
    plan = sweep_files.sweep(root)
    task = Path(plan.tasks[0].folder)
    files.write_tree(task / "public/start", {"train.py": START})
    files.write_tree(task / "private/target", {"train.py": TARGET})
    base = root / "trials/nano/r01-r02"
    codes = {"oracle-aa": TARGET, "null-bb": START, "tuner-dd": TUNED, "replay-cc": OWN}
    for name, code in codes.items():
        ended = sweep_files.analysis(Outcome.OK, 2.0)
        sweep_files.node(base / name / "s0/node_1", code, ended)
    return root / "sweep"


def test_the_oracle_is_a_suspect_and_null_tuner_and_own_words_are_not(tmp_path: Path) -> None:
    made = {one["arm"]: one for one in recall.rows(sweep(tmp_path) / "plan.json")}
    assert {arm: one["state"] for arm, one in made.items()} == {
        "oracle": "suspect",
        "null": "no",
        "tuner": "no",
        "replay": "no",
    }
    assert (made["oracle"]["overlap"], made["oracle"]["target_lines"]) == (1.0, 8)
    assert made["tuner"]["own_lines"] == 0 and made["replay"]["own_lines"] > 4


def test_code_that_is_gone_is_neither_clean_nor_a_suspect(tmp_path: Path) -> None:
    plan = sweep(tmp_path) / "plan.json"
    shutil.rmtree(tmp_path / "trials/nano/r01-r02/oracle-aa/s0/node_1/solution")
    made = {one["arm"]: one["state"] for one in recall.rows(plan)}
    assert made == {"oracle": "no code", "null": "no", "tuner": "no", "replay": "no"}
    shutil.rmtree(Path(trials.load(plan).tasks[0].folder) / "private/target")
    assert {one["state"] for one in recall.rows(plan)} == {"no code"}


def test_what_was_hinted_is_no_suspect_and_few_lines_tell_nothing() -> None:
    human = {"t": {f"a{i}(b, cc, dd)" for i in range(8)}, "few": {"aa = bb(cc)"}}
    assert recall.compare(human["t"], "t", human, without_hints=True)["state"] == "suspect"
    assert recall.compare(human["t"], "t", human, without_hints=False)["state"] == "hinted"
    assert recall.compare(human["few"], "few", human, without_hints=True)["state"] == "too few"
    four = set(sorted(human["t"])[:4])  # half of them, but fewer than five
    assert recall.compare(four, "t", human, without_hints=True)["state"] == "no"
    common = human | {"other": human["t"]}  # lines that another task's human wrote as well
    assert recall.compare(human["t"], "t", common, without_hints=True)["state"] == "no"


def test_recorded_replies_have_hardly_a_line_of_the_humans(repository: Path) -> None:
    """The measurement behind the bar: all of them, most with pseudocode of the very change."""
    records, shares = repository / "tracks/micro/records", []
    for path in sorted((repository / "replies/coder/micro").rglob("reply.md")):
        found = re.findall(r"^### FILE: train\.py\n(`{3,})\w*\n(.*?)^\1", path.read_text("utf-8"),
                           re.DOTALL | re.MULTILINE)  # fmt: skip
        task = path.relative_to(repository / "replies/coder/micro").parts[0]
        start, target = (recall.read_lines(records / name) for name in task.split("-"))
        if found and len(recall.telling(target, start)) >= recall.SHARED_MIN:
            mine = recall.telling({" ".join(x.split()) for x in found[-1][1].splitlines()}, start)
            shares.append(recall.overlap(mine, recall.telling(target, start)))
    assert len(shares) == 13 and max(shares) < 0.1


@given(st.binary(max_size=300))
def test_hostile_code_is_read_without_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("code")
    (folder / "train.py").write_bytes(content * 3)
    found = recall.read_lines(folder)
    assert all(line and len(line) <= recall.LINE_MAX for line in found)


def scores(folder: Path, track: str = "micro") -> None:
    values = [row("r05-r06", 0.5, measurable="true"), row("r05-r06", 0.7, measurable="true")]
    values += [row("r05-r06", 9.0, measurable="unknown", hints="l1")]
    files.write_json(folder / "score" / track / "r05-r06.json", {"track": track, "trials": values})


def test_the_verb_reads_folders_and_csv_alike(repository: Path, tmp_path: Path) -> None:
    scores(tmp_path / "sweep")
    columns = ["task", "arm", "model", "hints", "outcome", "fsr", "fsr_audited", "measurable"]
    values = files.read_json(tmp_path / "sweep/score/micro/r05-r06.json")["trials"]
    text = "\n".join([",".join(columns), *(",".join(str(v[c]) for c in columns) for v in values)])
    files.write_text(tmp_path / "other/report/scores.csv", text + "\n")
    given = ["history", "--track", "micro", "--repository", str(repository), "--sweep"]
    found = []
    for path in ("sweep", "sweep/score", "other/report/scores.csv"):
        out = tmp_path / "out" / path.replace("/", "_")
        assert cli.main([*given, str(tmp_path / path), "--out", str(out)]) == 0
        found.append((out / "fsr.csv").read_text(encoding="utf-8"))
    assert found[0] == found[1] == found[2]
    kept = [one for one in lines(out / "fsr.csv") if one["field"] == "depth"]
    assert [one["word"] for one in kept] == ["deep"] and kept[0]["n_left_out"] == "1"
    assert float(kept[0]["fsr_audited"]) == pytest.approx(fmean([0.5, 0.7]))
    record = schema.load(schema.StageRecord, out / "join.history.record.json")
    assert record.stage == "history" and len(record.inputs) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task,arm\nr05-r06,a\n", "has no column model"),
        (
            "task,arm,model,hints,outcome,fsr,fsr_audited\nt,a,m,none,ok,fast,\n",
            "could not convert",
        ),
        ("task,arm,model,hints,outcome,fsr,fsr_audited\nt,a,m,none,ok,nan,\n", "no finite number"),
        ('task,"arm\n', "is no CSV in UTF-8"),
    ],
)
def test_broken_scores_are_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "scores.csv").write_text(content, encoding="utf-8")
    with pytest.raises(SpeedrunError, match=message):
        sweeps.load(tmp_path / "scores.csv", "micro")


def test_scores_of_another_track_are_one_line(tmp_path: Path) -> None:
    scores(tmp_path, "micro")
    with pytest.raises(SpeedrunError, match="holds no scores of track nanogpt"):
        sweeps.load(tmp_path, "nanogpt")


def test_nodes_without_a_column_are_one_line(tmp_path: Path) -> None:
    scores(tmp_path)
    files.write_text(tmp_path / "report/nodes.csv", "task,arm\nr05-r06,a\n")
    with pytest.raises(SpeedrunError, match="has no column outcome"):
        sweeps.load(tmp_path, "micro")


def test_a_csv_of_another_track_is_one_line(tmp_path: Path) -> None:
    folder = sweep(tmp_path)
    text = "task,arm,model,hints,outcome,fsr,fsr_audited\nr01-r02,a,m,none,ok,0.5,\n"
    files.write_text(folder / "report/scores.csv", text)
    assert len(sweeps.load(folder / "report/scores.csv", "nano").rows) == 1
    with pytest.raises(SpeedrunError, match="is a sweep of track nano, not nanogpt"):
        sweeps.load(folder / "report/scores.csv", "nanogpt")
