"""audit: a track without probes, for real: nano's scripts on noise and on a hold-out shard."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import nano_without_probes as nano
from audit_runs import UNPROBED, result, simulated_bench, stopped
from speedrun import cli, files, trials, views
from speedrun.cli import measure
from speedrun.schema import Outcome
from speedrun.stages import audit


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One block of all programs, three rounds, and each once on noise and once on hold-out."""
    root = tmp_path_factory.mktemp("audit")
    plan = nano.plan_for(root, nano.programs())
    found = nano.audited(root, plan)
    return {one["arm"]: one for one in found["trials"]} | {"root": root, "plan": plan}


VERDICTS = {
    "honest": ("confirmed", "mean loss"),
    "peeks": ("failed", "on random tokens, where no causal, normalised model ends below"),
    "trains_on_validation": ("failed", "it sees its targets, or trains on validation data"),
    "carries_validation": ("failed", "carries or is tuned to validation data"),
    "scaled": ("review", "a scaled or leaked loss?"),
    "trains_on_noise_only": ("failed", "tells the data apart"),
    "crashes_on_noise": ("failed", "noise run 1: candidate_error"),
    # It trains as ever and scales its print where the data are no noise: no run of it shows that.
    "knows_noise": ("confirmed", "mean loss"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VERDICTS)
def test_real_programs_end_as_they_should(product: dict[str, Any], name: str) -> None:
    word, said = VERDICTS[name]
    assert product[name]["verdict"] == word, product[name]["evidence"]
    assert said in product[name]["evidence"][0]


@pytest.mark.slow
def test_a_scaled_loss_is_above_the_bound(product: dict[str, Any]) -> None:
    noise = product["scaled"]["noise"]
    assert min(noise["losses"]) > noise["bound"] and noise["rise"] < noise["rise_limit"]
    assert noise["flags"] == ["noise_rise"] and not noise["failures"]


@pytest.mark.slow
def test_a_person_accepts_or_rejects_the_held_flag(product: dict[str, Any]) -> None:
    """And no run is made again: each has a key of its own in the store."""
    root = product["root"]
    before = sorted((root / "store" / "retimings").glob("*/timing.json"))
    for decision, word in (("accepted", "confirmed"), ("rejected", "failed")):
        trial = reviewed(product["scaled"]["trial"])
        made = {"rule": "audit", "key": "noise_rise", "by": "ann", "why": "looked"}
        trial["decisions"] = [made | {"decision": decision}]
        files.write_json(root / "review.json", {"trials": [trial]})
        data = nano.audited(root, product["plan"], root / "review.json")
        (found,) = [one for one in data["trials"] if one["arm"] == "scaled"]
        assert found["verdict"] == word
        assert any(f"{decision} by ann: looked" in said for said in found["evidence"])
    assert sorted((root / "store" / "retimings").glob("*/timing.json")) == before


@pytest.mark.slow
def test_the_verb_makes_the_views_and_runs_on_them(tmp_path: Path) -> None:
    nano.plan_for(tmp_path, {"honest": nano.record("r02")}, rounds=2)
    nano.write_shards(tmp_path / "shards")
    given = {"plan": "sweep/plan.json", "shards": "shards", "store": "store/retimings"}
    words = [word for name, at in given.items() for word in (f"--{name}", str(tmp_path / at))]
    words += ["--task", "r01-r02", "--out", str(tmp_path / "a.json"), "--lanes", "1"]
    assert cli.main(["audit", *words, "--spec", json.dumps(nano.SPEC)]) == 0
    (found,) = files.read_json(tmp_path / "a.json")["trials"]
    assert found["noise"]["losses"][0] > found["noise"]["bound"] > 6
    assert len(found["holdout"]["records_difference"]) == 2
    assert len(list((tmp_path / "store" / "views").iterdir())) == 2


def reviewed(trial: str, winner: int = 1, **changes: Any) -> dict[str, Any]:
    return {"trial": trial, "winner": winner, "violations": [], "held": []} | changes


class Counted:
    """Runs on noise or hold-out that were never made; they remember their solutions."""

    def __init__(self, loss: float, stop_after: int | None = None) -> None:
        self.loss, self.stop_after, self.calls = loss, stop_after, list[str]()

    def run(self, solution: Path, entry: str, out: Path, seed: int, cpu: int | None):
        if self.stop_after is not None and len(self.calls) >= self.stop_after:
            raise KeyboardInterrupt
        self.calls.append((solution / entry).read_text())
        return result(Outcome.MISSED_TARGET, 10.0, self.loss + seed % 7 / 1e4)


def ordinary(solution: Path, entry: str, out: Path, seed: int, cpu: int | None):
    return result(Outcome.OK, 10.0 + seed % 5 / 100, 3.2 + seed % 97 / 5000)


def prepared(root: Path, **settings: Any) -> trials.Plan:
    plan = nano.plan_for(root, {"honest": nano.record("r02"), "other": "# another\n"}, **settings)
    return dataclasses.replace(plan, track=dataclasses.replace(UNPROBED, target_loss=3.3))


def benches(root: Path, noise: Counted, holdout: Counted) -> dict[str, audit.Bench]:
    runs = {"noise": noise, "holdout": holdout}
    return {
        kind: audit.Bench(views.View(kind, root, 50257, 10**7, 0.0), one.run, kind)
        for kind, one in runs.items()
    }


def audited(root: Path, plan: trials.Plan, unseen: dict[str, audit.Bench], run: Any = ordinary):
    store, out = root / "store", root / "a.json"
    return audit.audit_task(plan, "r01-r02", run, store, out, "spec", unseen=unseen)


def test_each_run_is_kept_by_itself_and_a_record_is_run_once(tmp_path: Path) -> None:
    plan = prepared(tmp_path, noise_runs=2, holdout_runs=1)
    cut, late = Counted(14.0, stop_after=3), Counted(3.25)
    with pytest.raises(KeyboardInterrupt):
        audited(tmp_path, plan, benches(tmp_path, cut, late))
    noise, holdout = Counted(14.0), Counted(3.25)
    data = audited(tmp_path, plan, benches(tmp_path, noise, holdout), stopped)
    # start, target and another; the honest winner is the target's code
    assert len(cut.calls) + len(noise.calls) == 2 * 3
    assert len(late.calls) + len(holdout.calls) == 3
    assert {one["verdict"] for one in data["trials"]} == {"confirmed"}
    again = benches(tmp_path, Counted(0, 0), Counted(0, 0))
    assert audited(tmp_path, plan, again, stopped) == data
    # more runs, or another sweep with other winners: what is paid for stays
    more = prepared(tmp_path / "other", noise_runs=2, holdout_runs=1)
    runs = [Counted(14.0), Counted(3.25)]
    fewer = [one for one in more.trials if one.arm == "honest"]
    store, out = tmp_path / "store", tmp_path / "b.json"
    more = dataclasses.replace(more, trials=fewer)
    audit.audit_task(more, "r01-r02", ordinary, store, out, "spec", unseen=benches(tmp_path, *runs))
    assert not runs[0].calls and not runs[1].calls


def test_a_winner_that_failed_is_not_run_on_noise(tmp_path: Path) -> None:
    def run(solution: Path, entry: str, out: Path, seed: int, cpu: int | None):
        crash = "trials" in solution.parts
        return result(Outcome.OOM if crash else Outcome.OK, 10.0, 3.2 + seed % 97 / 5000)

    never = benches(tmp_path, Counted(0, 0), Counted(0, 0))
    data = audited(tmp_path, prepared(tmp_path), never, run)
    assert {one["verdict"] for one in data["trials"]} == {"failed"}
    assert data["trials"][0]["noise"] is None


def test_a_bench_on_a_view_is_another_bench(tmp_path: Path) -> None:
    bench = simulated_bench(tmp_path)
    files.write_bytes(
        bench.shards / "private" / "fineweb_holdout_000000.bin",
        (bench.shards / "public" / "fineweb_val_000000.bin").read_bytes(),
    )
    made = {kind: bench.unseen(kind, tmp_path / "views") for kind in views.KINDS}
    digests = {other.digest for _, other in made.values()} | {bench.digest}
    assert len(digests) == 3
    later = dataclasses.replace(bench.track, rules=["network"], validation_tokens=4, records=["r9"])
    assert dataclasses.replace(bench, track=later).digest == bench.digest
    held = dataclasses.replace(bench.track, rules=["files"])
    assert dataclasses.replace(bench, track=held).digest != bench.digest
    view, other = made["noise"]
    assert (view.tokens, view.vocab_size, other.vocab_size) == (8, 50257, 50257)
    assert isinstance(other, measure.Bench) and other.shards == view.shards


@pytest.mark.parametrize(("rules", "word"), [(["files"], "rule_violation"), ([], "missed_target")])
def test_a_re_run_is_held_to_what_was_seen_of_its_files(
    tmp_path: Path, rules: list[str], word: str
) -> None:
    bench = simulated_bench(tmp_path)
    track = dataclasses.replace(bench.track, rules=rules)
    spec = {**bench.spec, "trainer": "real", "launch": "python", "disk_mb": 10}
    line = "step:1/1 val_loss:9.0 train_time:500ms step_avg:1.0ms"
    code = f"open('train.py', 'a').write('# more')\nprint('{line}', flush=True)\n"
    files.write_tree(tmp_path / "code", {"train.py": code})
    watched = dataclasses.replace(bench, track=track, spec=spec)
    _, found = watched.run(tmp_path / "code", "train.py", tmp_path / "out", 1, None)
    assert found.outcome == word
