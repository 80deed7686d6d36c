"""measurable: the rule and its error rate, the frozen list, and the verb that makes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as distributions

import sweep_files
from speedrun import cli, files, measurable, plan, schema, stats
from speedrun.adapters import sweep
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome
from speedrun.stages import audit, references

TIMES = st.lists(st.floats(1.0, 50.0), min_size=2, max_size=8)
LEVEL = 0.05
REPEATS = 2000


def p_of(start: list[float], target: list[float], *, paired: bool) -> float:
    rounds = list(zip(start, target, strict=False)) if paired else []
    found = measurable.judge([] if paired else start, [] if paired else target, rounds)
    assume(found.p is not None)
    return found.p


@given(TIMES, TIMES)
def test_welch_is_scipys(a: list[float], b: list[float]) -> None:
    ours = stats.welch_below(a, b)
    assume(np.std(a) > 1e-6 and np.std(b) > 1e-6)
    assert ours == pytest.approx(
        distributions.ttest_ind(a, b, equal_var=False, alternative="less").pvalue, abs=1e-9
    )


def test_welch_needs_two_values_a_side_and_some_spread() -> None:
    assert stats.welch_below([1.0], [2.0, 3.0]) is None
    assert stats.welch_below([1.0, 1.0], [2.0, 2.0]) is None
    assert stats.welch_below([1.0, 1.0], [2.0, 2.1]) == pytest.approx(0.0151, abs=1e-3)


@given(TIMES, TIMES, st.floats(0.01, 100.0), st.booleans())
def test_the_unit_of_time_does_not_matter(
    start: list[float], target: list[float], scale: float, paired: bool
) -> None:
    assume(np.std(start) > 1e-3 and np.std(target) > 1e-3)
    scaled = p_of([scale * t for t in start], [scale * t for t in target], paired=paired)
    assert scaled == pytest.approx(p_of(start, target, paired=paired), abs=1e-6)


@given(TIMES, TIMES, st.booleans())
def test_exchanged_records_have_the_complementary_p(
    start: list[float], target: list[float], paired: bool
) -> None:
    there, back = p_of(start, target, paired=paired), p_of(target, start, paired=paired)
    assert there + back == pytest.approx(1.0, abs=1e-9)


@given(TIMES, TIMES, st.floats(1.01, 3.0), st.booleans())
def test_a_slower_start_is_more_significant(
    start: list[float], target: list[float], factor: float, paired: bool
) -> None:
    slower = p_of([factor * t for t in start], target, paired=paired)
    assert slower <= p_of(start, target, paired=paired) + 1e-9


@pytest.mark.parametrize(("n", "paired"), [(2, False), (5, False), (3, True), (16, True)])
def test_without_a_difference_no_more_than_the_level_pass(n: int, paired: bool) -> None:
    """Drift that rounds share must not matter to them; runs are independent with noise of 5 %."""
    generator = np.random.default_rng(n)
    drift = generator.normal(0, 0.3, (REPEATS, 1, n)) if paired else 0.0
    logs = np.exp(drift + generator.normal(2.0, 0.05, (REPEATS, 2, n)))
    answers = [
        measurable.judge([], [], list(zip(a, b, strict=True)), LEVEL)
        if paired
        else measurable.judge(list(a), list(b), [], LEVEL)
        for a, b in logs
    ]
    passed = sum(one.measurable is True for one in answers)
    low, high = distributions.binom.ppf([0.0005, 0.9995], REPEATS, LEVEL)
    assert passed <= high
    assert paired is False or passed >= low  # the paired test is exact, Welch's is not for n = 2


def test_the_steps_of_the_micro_track_pass_with_a_quickstarts_data() -> None:
    """Sixteen rounds, a ratio of 0.87 and noise of 10 % a run: nearly always measurable."""
    generator = np.random.default_rng(1)
    runs = np.exp(generator.normal(0, 0.1, (500, 2, 16)))
    found = [
        measurable.judge([10.0, 10.4], [8.7, 9.0], list(zip(a, 0.87 * b, strict=True)))
        for a, b in runs
    ]
    assert sum(one.measurable is True for one in found) >= 0.95 * len(found)
    assert {one.data for one in found} == {measurable.ROUNDS}


def test_the_larger_set_is_tested_and_rounds_on_a_tie() -> None:
    rounds = [(10.0, 5.0), (11.0, 5.6)]
    assert measurable.judge([9.0] * 2, [8.0] * 2, rounds).data == measurable.ROUNDS
    found = measurable.judge([10.0, 10.1, 9.9], [10.0], rounds)
    assert (found.data, found.measurable) == (measurable.RUNS, None)
    assert (found.start.n, found.target.n) == (3, 1)
    assert measurable.judge([], [], rounds).ratio == pytest.approx((0.5 * 5.6 / 11) ** 0.5)


@pytest.mark.parametrize(
    ("start", "target", "word", "reason"),
    [
        ([10.0], [5.0], "unknown", "too few reference runs to tell (reference runs: 1 of the"),
        ([], [], "unknown", "too few reference runs to tell (reference runs: 0 of the start and 0"),
        ([10.0, 10.0], [5.0, 5.0], "unknown", "equal times cannot be tested (reference runs: 2"),
        ([10.0, 10.4], [5.0, 5.2], "true", "the target takes 0.500 of the start's time, p = "),
        ([10.0, 10.4], [10.0, 10.3], "false", "no significant gain: the target"),
        ([5.0, 5.2], [10.0, 10.4], "false", "no significant gain: the target"),
    ],
)
def test_every_answer_has_its_reason(
    start: list[float], target: list[float], word: str, reason: str
) -> None:
    found = measurable.judge(start, target)
    assert found.word == word
    assert found.reason.startswith(reason)


@pytest.mark.parametrize("time_s", [0.0, -1.0, float("nan"), float("inf")])
def test_no_time_is_an_error_of_ours(time_s: float) -> None:
    with pytest.raises(SpeedrunError, match=r"a record took .* s: look at its run"):
        measurable.judge([10.0, time_s], [5.0, 5.1])


def test_rounds_without_a_time_are_dropped() -> None:
    runs = {"start": {"time_s": 2.0}, "target": {"time_s": 1.0}, "agent": {"time_s": 0.1}}
    broken = {**runs, "target": {"time_s": None}}
    assert measurable.rounds_of({"rounds": [{"runs": runs}, {"runs": broken}]}) == [(2.0, 1.0)]
    assert measurable.rounds_of({"trials": []}) == []


FINDING = measurable.judge([10.0, 10.4], [5.0, 5.2])
ENTRY = measurable.Entry("r01-r02", {"r01": "a/r01/k", "r02": "a/r02/k"}, FINDING)
FROZEN = measurable.Frozen("nano", "cpu", "a machine", "2026-01-02", [ENTRY])


def test_a_frozen_list_reads_back_as_written(tmp_path: Path) -> None:
    path = measurable.frozen_path(tmp_path, "nano", "cpu")
    measurable.save(path, FROZEN)
    assert path == tmp_path / "nano" / "measurable" / "cpu.yaml"
    assert measurable.load(path) == FROZEN
    assert FROZEN.finding("r01-r02", ENTRY.references, LEVEL) == FINDING
    assert FROZEN.finding("r01-r02", {**ENTRY.references, "r02": "a/r02/other"}, LEVEL) is None
    assert FROZEN.finding("r02-r03", ENTRY.references, LEVEL) is None
    assert FROZEN.finding("r01-r02", ENTRY.references, 0.01) is None  # frozen at another limit


@pytest.mark.parametrize(
    "text", ["", "- 1", "track: [", "track: nano\n", "\x00", "track: nano\nx: 1"]
)
def test_a_broken_list_is_one_line_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cpu.yaml"
    path.write_text(text)
    with pytest.raises(SpeedrunError) as caught:
        measurable.load(path)
    assert str(caught.value).startswith(f"{path} is no list of measurable tasks (")
    assert "\n" not in str(caught.value)


def test_only_what_is_known_is_frozen(tmp_path: Path) -> None:
    unknown = dataclasses.replace(ENTRY, task="r02-r03", finding=measurable.judge([1.0], [2.0]))
    frozen = dataclasses.replace(FROZEN, tasks=[ENTRY, unknown])
    path = tmp_path / "cpu.yaml"
    assert references.freeze(path, frozen, fresh=False).tasks == [ENTRY]
    with pytest.raises(SpeedrunError, match=r"cpu\.yaml is frozen: --fresh replaces it"):
        references.freeze(path, frozen, fresh=False)
    before = path.read_bytes()
    with pytest.raises(SpeedrunError, match="none of 1 tasks has enough reference runs"):
        references.freeze(path, dataclasses.replace(FROZEN, tasks=[unknown]), fresh=True)
    assert path.read_bytes() == before


@pytest.fixture
def here(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the configuration and reference runs of the nano track."""
    (tmp_path / "config").symlink_to(repository / "config")
    monkeypatch.chdir(tmp_path)
    times = {"r01": (2.0, 2.1, 2.2), "r02": (1.5, 1.6, 1.55), "r03": (1.5,)}
    for record, folder in folders(repository).items():
        for i, time_s in enumerate(times[record]):
            run = Path(folder, f"run_{i}")
            schema.save(run / "analysis.json", sweep_files.analysis(Outcome.OK, time_s))
            schema.save(run / "run" / "exit.json", schema.RunExit(ran=True, reason="exited"))
    return tmp_path


def folders(repository: Path) -> dict[str, str]:
    config = sweep.load(repository / "config", "nano", ["track=nano"])
    found = [plan.references(config, task) for task in plan.tasks(config)]
    return {name: str(Path(runs[0]).parent) for one in found for name, runs in one.items()}


WORDS = ["references", "--track", "nano", "--hardware", "cpu", "--sweep", "nano"]


def test_the_verb_shows_and_freezes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(WORDS) == 0
    shown = capsys.readouterr().out
    assert "2 tasks; measurable: true 1, false 0, unknown 1" in shown
    assert "frozen list: none; --freeze writes it" in shown
    assert cli.main([*WORDS, "--freeze"]) == 0
    assert "frozen: 1 of 2 tasks in tracks/nano/measurable/cpu.yaml" in capsys.readouterr().out
    frozen = measurable.load(here / "tracks/nano/measurable/cpu.yaml")
    (entry,) = frozen.tasks
    assert (entry.task, entry.finding.word, entry.finding.start.n) == ("r01-r02", "true", 3)
    assert frozen.machine and frozen.date >= "2026"
    assert cli.main([*WORDS, "--freeze"]) == 1
    said = capsys.readouterr().err
    assert said == (
        "speedrun references: tracks/nano/measurable/cpu.yaml is frozen: "
        "--fresh replaces it by what is on disk now\n"
    )
    assert cli.main([*WORDS, "--freeze", "--fresh"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--override", "references.runs=0"], "references.runs must be a whole number"),
        (["--override", "references.p_max=5"], "p_max must lie between 0 and 1, got 5"),
        (["--sweep", "nanno"], "unknown sweep 'nanno'; nearest is"),
        (["--freeze", "--override", "hardware.timeout_s=61"], "none of 2 tasks has enough"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.main([*WORDS, *arguments]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (here / "tracks").exists()


def test_a_broken_analysis_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = next(here.glob("results/references/nano/cpu/r01/*/run_0/analysis.json"))
    broken.write_text("{")
    assert cli.main([*WORDS, "--freeze"]) == 1
    assert "run_0/analysis.json" in capsys.readouterr().err


def test_an_audit_of_the_same_references_adds_its_rounds(here: Path, repository: Path) -> None:
    track = dataclasses.replace(sweep_files.TRACK)
    where = folders(repository)
    known = {name: where[name] for name in ("r02", "r03")}
    pair = references.Pair("r02-r03", "r02", "r03", known, here / "audit.json")
    assert references.examine(track, pair, 0.05).finding.word == "unknown"
    runs = [{"start": {"time_s": 1.5 + i / 50}, "target": {"time_s": 1.2}} for i in range(3)]
    content = {"references": known, "rounds": [{"runs": one} for one in runs]}
    files.write_json(pair.audit, content)
    found = references.examine(track, pair, 0.05).finding
    assert (found.word, found.data) == ("true", measurable.ROUNDS)
    files.write_json(pair.audit, {**content, "references": {**known, "r03": "elsewhere"}})
    assert references.examine(track, pair, 0.05).finding.word == "unknown"


def test_an_audit_names_its_references(tmp_path: Path) -> None:
    import test_audit

    planned = sweep_files.sweep(tmp_path)
    run = test_audit.timed_run([], test_audit.drifting)
    out = tmp_path / "a.json"
    made = audit.audit_task(planned, "r01-r02", run, tmp_path / "s", out, "spec")
    assert set(made["references"]) == {"r01", "r02"}
    assert made["references"]["r01"].endswith("references/nano/cpu/r01")
