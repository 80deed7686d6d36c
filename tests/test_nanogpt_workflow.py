"""The DAG of a track with a registry: what it plans and misses, and one whole simulated run."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import yaml

import upstream_repo
from hub_shards import shard
from speedrun import files, plan
from speedrun.adapters import sweep
from workflow_runs import REPOSITORY, planned, run

pytestmark = pytest.mark.dag

TASKS = ["r03-r04", "r08c-r09", "r11-r12"]
PAGE = "results/nanogpt/report/index.html"


def said(text: str, kind: str) -> list[str]:
    start = f"speedrun: {kind}: "
    return [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]


def test_a_dry_run_of_paper19_plans_the_set_and_names_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "-n", sweep="paper19")
    assert done.returncode == 0, done.stderr[-2000:]
    jobs = planned(done.stdout + done.stderr)
    assert (jobs["upstream"], jobs["records"], jobs["task"]) == (1, 21, 19)
    assert jobs["generate"] == jobs["train"] == 2 * 19
    plan = json.loads((tmp_path / "results/paper19/plan.json").read_text())
    steps = [*range(1, 6), *range(7, 21)]
    assert [entry["task"] for entry in plan["tasks"]] == [f"r{k:02d}-r{k + 1:02d}" for k in steps]
    missing = said(done.stderr, "missing")
    for start in ("the upstream records", "shards: ", "GPU: hardware 8xh100 needs 8"):
        assert len([line for line in missing if line.startswith(start)]) == 1
    assert not (tmp_path / "store").exists()


def test_a_run_without_a_gpu_stops_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "-c1", sweep="paper19")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("speedrun:")]
    assert len(lines) == 1 and lines[0].startswith("speedrun: missing: GPU: hardware 8xh100 needs")
    assert "Traceback" not in done.stderr


def test_a_dry_run_of_every_task_says_what_will_not_run(tmp_path: Path) -> None:
    done = run(tmp_path, "-n", sweep="nanogpt", overrides=["hardware=1xh200"])
    assert done.returncode == 0, done.stderr[-2000:]
    plan = json.loads((tmp_path / "results/nanogpt/plan.json").read_text())
    assert len(plan["tasks"]) + len(plan["not_run"]) == 85
    listed = [f"{row['task']}: {row['reason']}" for row in plan["not_run"]]
    assert said(done.stderr, "not run") == listed
    assert planned(done.stdout + done.stderr)["task"] == len(plan["tasks"])
    assert any(line.startswith("r21c-r22: ") for line in listed)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tasks=r06-r07", "r06-r07 is no task: only PyTorch was upgraded"),
        ("tasks='gain > 5'", "unknown column 'gain'; nearest is 'gain_percent'"),
        ("+arms.told={coder: 'null', hints: l4}", "unknown hints 'l4'"),
    ],
)
def test_a_wrong_choice_ends_in_one_line(tmp_path: Path, override: str, message: str) -> None:
    done = run(tmp_path, "-n", sweep="nanogpt", overrides=[override])
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("speedrun:")]
    assert len(lines) == 1 and message in lines[0]


# --- a whole run over a generated upstream repository ---
@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A sweep over the generated repository and a text of a few pages, without a GPU."""
    base = tmp_path_factory.mktemp("upstream")
    built = upstream_repo.build(base)
    pages = base / "pages.jsonl"
    texts = [f"Page {k} tells of ship {k * k} and of the {k} seas it sailed." for k in range(400)]
    pages.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return [
        f"track.registry={built.registry}",
        f"track.upstream.repository={built.repository}",
        f"tasks=[{','.join(TASKS)}]",
        "corpus=text",
        f"corpus.paths=[{pages}]",
        "corpus.val_tokens=256",
        "corpus.val_share=0.2",
        "corpus.holdout_share=0.2",
        "hardware.trainer=simulated",
        "embedder=lexical",
        "references.runs=2",
        "audit.rounds=2",
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, overrides: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    done = run(folder, "-c2", PAGE, sweep="nanogpt", overrides=overrides)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_a_registry_track_runs_from_fetch_to_report(finished: Path) -> None:
    text = (finished / "results/nanogpt/report/scores.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["task"], row["arm"]) for row in rows] == [
        (task, arm) for task in TASKS for arm in ("oracle", "null")
    ]
    assert (finished / PAGE).stat().st_size > 10_000


def test_the_coders_were_given_the_records_as_upstream_has_them(finished: Path) -> None:
    built = upstream_repo.ROW_LIST
    sources = {row.id: row.files for row in built}
    for task in TASKS:
        start, target = task.split("-")
        base = finished / "results/trials/nanogpt" / task
        for arm, record in (("oracle", target), ("null", start)):
            (solution,) = base.glob(f"{arm}-*/s0/node_1/solution")
            found = files.read_tree(solution)
            found.pop("arguments.txt", None)
            assert found == sources[record]


def test_no_job_is_left_after_a_run(finished: Path, overrides: list[str]) -> None:
    done = run(finished, "-n", PAGE, sweep="nanogpt", overrides=overrides)
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_wider_or_narrower_sweep_repeats_no_training(tmp_path: Path) -> None:
    """The shards lie in the store already; the early task of which nothing is known needs all."""
    built = upstream_repo.build(tmp_path)
    facts = yaml.safe_load(built.registry.read_text(encoding="utf-8"))
    for record in facts["records"]:
        record["train_tokens"] = 100 if record["id"] in ("r11", "r12") else None
    built.registry.write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")
    store = tmp_path / "store/hub/kjj0--fineweb10B-gpt2"
    for seed, name in enumerate(("val_000000", *(f"train_{k:06d}" for k in (1, 2, 3, 103)))):
        files.write_bytes(store / f"fineweb_{name}.bin", shard(seed))
    chosen = [
        f"track.registry={built.registry}",
        f"track.upstream.repository={built.repository}",
        "hardware.trainer=simulated",
        "references.runs=1",
        "corpus.offline=true",
        "corpus.available_shards=3",
        "corpus.shard_steps=[2]",
        "corpus.shard_tokens=1000",
    ]
    narrow, wide = ([*chosen, f"tasks=[{names}]"] for names in ("r11-r12", "r03-r04,r11-r12"))
    config = sweep.load(REPOSITORY / "config", "nanogpt", narrow)
    made = [f"{trial.folder}/node_1/analysis.json" for trial in plan.trials(config)]
    done = run(tmp_path, "-c2", "references", *made, sweep="nanogpt", overrides=narrow)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "results/shards/fineweb10B/public/fineweb_train_000003.bin").exists()
    logs = {tmp_path / path.replace("analysis.json", "run/log.jsonl") for path in made}
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in logs}
    done = run(tmp_path, "-c2", "references", *made, sweep="nanogpt", overrides=wide)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "results/shards/fineweb10B/public/fineweb_train_000003.bin").exists()
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in logs} == before
    for path in made:
        (tmp_path / path).unlink()
    done = run(tmp_path, "-c2", *made, sweep="nanogpt", overrides=narrow)
    assert done.returncode == 0 and all((tmp_path / path).is_file() for path in made)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in logs} == before
    other = sweep.load(REPOSITORY / "config", "nanogpt", [*narrow, "corpus.revision=abc"])
    folders = ({trial.folder for trial in plan.trials(one)} for one in (config, other))
    assert not set.intersection(*folders)


def test_a_changed_hash_makes_that_record_again(
    finished: Path, overrides: list[str], tmp_path: Path
) -> None:
    """A record whose entry changed is extracted anew, and what was made from it; no other is."""
    registry = Path(overrides[0].partition("=")[2])
    text = registry.read_text(encoding="utf-8")
    entry = text[text.index("- id: r12") :]
    digest = entry[entry.index("train_gpt.py: ") :].split()[1]
    other = tmp_path / "registry.yaml"
    other.write_text(text.replace(digest, "f" * 64), encoding="utf-8")
    changed = [f"track.registry={other}", *overrides[1:]]
    done = run(finished, "-n", PAGE, sweep="nanogpt", overrides=changed)
    jobs = planned(done.stdout + done.stderr)
    assert (jobs["records"], jobs["task"], jobs.get("upstream", 0)) == (1, 1, 0)
