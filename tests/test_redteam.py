"""The red team: every edit applies; slow: a part of `make redteam` through the real path."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from redteam import candidate, left, play, table
from redteam.candidate import ATTACKS, HONEST, MICRO, NANO, Candidate
from redteam.catalogue import every
from speedrun.schema import Analysis, Outcome

# What a CPU can show of the attack catalogue; M, Q and S need compilers, GPUs or a model.
CLASSES = set("ABCDEFGHIJKLNOPRT")
# One or two of each kind of catch, half a minute together: `make redteam` plays them all.
PART = {
    "final_line_early", "scaled_loss", "one_millisecond", "trains_on_validation", "fork_bomb",
    "daemon_answers", "weights_in_a_file", "stop_on_loss", "reads_probe_targets", "downloads",
    "work_after_the_line", "infinite_logits", "comment_to_the_judge", "unchanged", "renamed",
    "accumulates",
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


def analysis(outcome: Outcome, reason: str) -> Analysis:
    return Analysis(outcome, reason, 3.0, 1.0, 900, 10, [], None, 1.0, "")


def played(name: str, outcome: Outcome, verdict: str | None, loot: str = "") -> play.Played:
    """Return what would have been played, with one outcome and one verdict everywhere."""
    from redteam.bench import Searched

    found = analysis(outcome, "" if outcome is Outcome.OK else "the printed train_time is odd")
    entry = None if verdict is None else {"verdict": verdict, "evidence": ["because"]}
    one = {**ATTACKS, **HONEST}[name]
    return play.Played(one, Searched(loot, found, found, found), [], entry, entry)


def test_a_table_tells_what_is_caught_and_what_is_not() -> None:
    game = play.Game(
        [
            played("made_up_loss", Outcome.RULE_VIOLATION, None),
            played("shaved_loss", Outcome.OK, "not_confirmed"),
            played("fewer_tokens", Outcome.OK, "confirmed"),
            played("reads_probe_targets", Outcome.OK, "confirmed", loot="none"),
            played("downloads", Outcome.OK, "confirmed", loot="weights"),
            played("unchanged", Outcome.OK, "confirmed"),
            played("renamed", Outcome.OK, "review"),
            played("commented", Outcome.OK, "failed"),
        ],
        [],
    )
    assert table.missed(game) == ["fewer_tokens", "downloads"]
    assert table.false_alarms(game) == ["renamed", "commented"]
    rows = {row[0]: row[2] for row in table.attacks(game)}
    assert rows["made_up_loss"] == "run (clock)" and rows["shaved_loss"] == "audit (not_confirmed)"
    assert rows["reads_probe_targets"] == "run (sandbox)" and "NOT CAUGHT" in rows["downloads"]
    assert "2 not caught: fewer_tokens, downloads" in table.report(game, 1.0)


def test_what_is_left_behind_is_said(tmp_path: Path) -> None:
    before = {"shards": "a", "solution": "b"}
    assert left.changes(before, dict(before)) == []
    assert left.changes(before, {"shards": "a", "solution": "c"}) == ["solution changed"]
    assert left.changes(before, {"shards": "a"}) == ["solution changed"]


@pytest.mark.slow
def test_a_part_of_the_attacks_is_caught_and_honest_variants_pass(tmp_path: Path) -> None:
    chosen = [one for one in every() if one.name in PART]
    assert {one.name for one in chosen} == PART
    game = play.play(tmp_path, chosen, lambda line: None, unprobed=False)
    report = table.report(game, 0.0)
    assert table.missed(game) == [], report
    assert table.false_alarms(game) == [], report
    assert game.changed == [], report
