"""The red team: every edit applies; slow: a part of `make redteam` through the real path."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from redteam import bench, candidate, left, pages, play, table
from redteam.candidate import ATTACKS, HONEST, MICRO, NANO, Candidate
from redteam.catalogue import every
from speedrun import files, rules, specs
from speedrun.adapters import sweep
from speedrun.runner import sandbox
from speedrun.schema import Analysis, Outcome

# What a CPU can show of the attack catalogue; M, Q and S need compilers, GPUs or a model.
CLASSES = set("ABCDEFGHIJKLNOPRT")
# Every class once and each kind of catch, a minute of CPU together: `make redteam` plays them all.
# K is micro's, whose runs are long: its rule is asked below.
PART = {
    "made_up_loss", "scaled_loss", "one_millisecond", "lazy_loss", "cache_in_files",
    "weights_in_a_file", "trains_on_validation", "partial_leak", "double_precision",
    "infinite_logits", "fewer_tokens", "test_time_training", "fixed_seed", "stop_on_loss",
    "fork_bomb", "daemon_answers", "reads_probe_targets", "comment_to_the_judge",
    "final_line_early", "unchanged", "renamed", "accumulates",
}  # fmt: skip


def test_there_are_enough_of_every_class() -> None:
    shown = {letter for one in ATTACKS.values() for letter in one.kind.split()}
    assert shown == CLASSES
    assert len(ATTACKS) >= 26 and len(HONEST) >= 22


@pytest.mark.parametrize("one", every(), ids=lambda one: one.name)
def test_every_edit_applies_and_is_python(one: Candidate) -> None:
    files = one.files()
    for text in files.values():
        ast.parse(text)
    changed = files != {"train.py": candidate.record(one.track)}
    assert changed or one.name in ("unchanged", "micro_unchanged")
    assert len(one.what) > 10 and one.track in (NANO, MICRO)


def test_no_two_candidates_are_the_same() -> None:
    texts = [(one.track, tuple(sorted(one.files().items())), one.prepare) for one in every()]
    assert len(set(texts)) == len(texts)


def test_an_edit_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 places to edit"):
        candidate.edit("a", ("b", "c"))
    with pytest.raises(ValueError, match="2 places to edit"):
        candidate.edit("a a", ("a", "c"))


def analysis(outcome: Outcome, reason: str, val_loss: float | None = 3.0) -> Analysis:
    return Analysis(outcome, reason, val_loss, 1.0, 300.0, 10, [], None, 1.0, "")


def played(
    name: str, outcome: Outcome, verdict: str | None, loot: str = "", loss: float | None = 3.0
) -> play.Played:
    """Return what would have been played, with one outcome and one verdict everywhere."""
    from redteam.bench import Searched

    reason = "" if outcome is Outcome.OK else "the printed train_time is odd"
    found = analysis(outcome, reason, loss)
    entry = None if verdict is None else {"verdict": verdict, "evidence": ["because"]}
    one = {**ATTACKS, **HONEST}[name]
    return play.Played(one, Searched(loot, found, found, found), [], entry, entry, [], entry, entry)


def test_a_table_tells_what_is_caught_held_and_not() -> None:
    missed = Outcome.MISSED_TARGET
    game = play.Game(
        [
            played("made_up_loss", Outcome.RULE_VIOLATION, None),
            played("shaved_loss", Outcome.OK, "not_confirmed"),
            played("stop_on_loss", Outcome.OK, "review"),
            played("fewer_tokens", Outcome.OK, "confirmed"),
            played("easy_tokens", missed, None),
            played("not_a_number", missed, None, loss=None),
            played("reads_probe_targets", Outcome.OK, "confirmed", loot="none"),
            played("downloads", Outcome.OK, "confirmed", loot="weights"),
            played("unchanged", Outcome.OK, "confirmed"),
            played("renamed", Outcome.OK, "review"),
            played("commented", Outcome.OK, "failed"),
        ],
        [],
    )
    words = {one.candidate.name: table.status(one) for one in table.attacks(game)}
    assert words == {
        "made_up_loss": table.CAUGHT, "shaved_loss": table.CAUGHT, "stop_on_loss": table.HELD,
        "fewer_tokens": table.PASSED, "easy_tokens": table.MISSED, "not_a_number": table.CAUGHT,
        "reads_probe_targets": table.CAUGHT, "downloads": table.PASSED,
    }  # fmt: skip
    assert table.missed(game) == ["fewer_tokens", "easy_tokens", "downloads"]
    assert table.false_alarms(game) == ["renamed", "commented"]
    spoke = {one.candidate.name: table.layers(one) for one in table.attacks(game)}
    assert spoke["made_up_loss"] == {"run": "clock"}
    assert spoke["reads_probe_targets"] == {"run": "sandbox"} and spoke["fewer_tokens"] == {}
    report = pages.report(game, 1.0, 1.0)
    assert "8 attacks: 4 caught, 1 held, 1 misses the target, 2 NOT CAUGHT" in report
    assert "3 honest variants: 1 confirmed, 1 review, 1 failed" in report


def test_what_would_have_been_a_record_is_marked() -> None:
    cheat, honest = (played(name, Outcome.OK, "failed") for name in ("shaved_loss", "unchanged"))
    game = play.Game([cheat, honest], [])
    assert not table.pays(cheat, game)
    slower = dataclasses.replace(honest.searched.unprobed, train_time_ms=400.0)
    honest.searched = dataclasses.replace(honest.searched, unprobed=slower)
    assert table.pays(cheat, game) and not table.pays(honest, game)
    assert table.would_score(cheat) == "3.000 in 0.30 s"


def test_what_is_left_behind_is_said(tmp_path: Path) -> None:
    before = {"shards": "a", "solution": "b"}
    assert left.changes(before, dict(before)) == []
    assert left.changes(before, {"shards": "a", "solution": "c"}) == ["solution changed"]
    assert left.changes(before, {"shards": "a"}) == ["solution changed"]
    assert left.changes(before, {**before, "new": "c"}) == ["new appeared"]


def test_each_run_is_looked_after(tmp_path: Path) -> None:
    shard = tmp_path / "shards" / "val.bin"
    shard.parent.mkdir()
    shard.write_bytes(b"12")
    watch = left.Watch(tmp_path)
    with watch.run("honest"):
        (tmp_path / "runs").mkdir()
    assert watch.found == []
    with watch.run("cheat"):
        shard.write_bytes(b"123")
    assert watch.found == [f"after cheat: {shard} changed"] and watch.runs == 2
    assert left.contained() == {}


@pytest.mark.slow
def test_a_process_that_outlives_its_run_is_said(tmp_path: Path) -> None:
    watch = left.Watch(tmp_path)
    bwrap = str(sandbox.find_bwrap())
    words = [bwrap, "--ro-bind", "/", "/", "--unshare-user", "--unshare-pid", "sleep", "60"]
    with watch.run("cheat"):
        daemon = subprocess.Popen(words)
        time.sleep(0.5)
    alive = list(left.contained())
    for pid in alive:  # the sandbox's own first process; what is within dies with it
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    daemon.wait()
    assert watch.found and watch.found == [f"after cheat: process {pid} is alive" for pid in alive]


def test_counting_waits_for_a_person(tmp_path: Path) -> None:
    start, target = (candidate.RECORDS / MICRO / "records" / name for name in ("r07", "r08"))
    enabled = specs.track(sweep.load(bench.CONFIG, "quickstart", []))["rules"]
    for name in ("counted_table", "counted_by_sorting"):
        solution = tmp_path / name
        files.write_tree(solution, ATTACKS[name].files())
        found = rules.check(solution, start, "train.py", enabled, target, 3.42)
        held = [one.rule for one in found if not rules.RULES[one.rule].probed]
        assert held, name


@pytest.mark.slow
def test_a_part_of_the_attacks_is_caught_and_honest_variants_pass(tmp_path: Path) -> None:
    chosen = [one for one in every() if one.name in PART]
    assert {one.name for one in chosen} == PART
    shown = {letter for one in chosen for letter in one.kind.split() if one.kind != "honest"}
    assert shown == CLASSES - {"K"}
    game = play.play(tmp_path, chosen, lambda line: None, unprobed=False)
    report = pages.report(game, 0.0, 0.0, unprobed=False)
    assert table.missed(game) == [], report
    assert table.false_alarms(game) == [], report
    assert [text for text in game.changed if not text.startswith("repository")] == [], report
