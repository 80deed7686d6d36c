"""stats: exact values, degenerate data, and the coverage of the intervals by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions

from speedrun import stats

TIMES = st.lists(st.floats(0.5, 50.0), min_size=2, max_size=8)


def test_fsr_is_the_share_of_the_speedup() -> None:
    assert stats.fsr(10.0, 7.0, 4.0) == 0.5
    assert stats.fsr(10.0, 12.0, 5.0) == pytest.approx(-0.4)
    assert stats.fsr(10.0, 3.0, 5.0) == pytest.approx(1.4)


def test_fsr_is_unknown_without_a_human_speedup() -> None:
    assert stats.fsr(10.0, 7.0, 10.0) is None
    assert stats.fsr(10.0, 7.0, 11.0) is None


@given(TIMES)
def test_start_and_target_themselves_score_exactly_0_and_1(times: list[float]) -> None:
    target = [0.6 * t for t in times]
    null = stats.audited_fsr(times, times, target)
    oracle = stats.audited_fsr(times, target, target)
    assert (null.estimate, oracle.estimate) == (0.0, 1.0)
    assert stats.equivalent(null, 0.0, 1e-6)
    assert stats.equivalent(oracle, 1.0, 1e-6)


def test_audited_fsr_is_unknown_without_a_human_speedup() -> None:
    """A target that is slower here would give its own code 1 and a speedup less than 0."""
    assert stats.audited_fsr([10.0, 10.1], [11.0, 11.1], [11.0, 11.1]) is None
    assert stats.audited_fsr([10.0, 10.0], [9.0, 9.1], [10.0, 10.0]) is None
    assert stats.audited_fsr([], [], []) is None


def test_fieller_solves_its_own_equation() -> None:
    x, y = [0.31, 0.27, 0.35, 0.29], [0.52, 0.49, 0.55, 0.47]
    interval = stats.fieller(x, y, 0.9)
    t = distributions.t.ppf(0.95, 3)
    for bound in (interval.low, interval.high):
        difference = np.array(x) - bound * np.array(y)
        error = np.std(difference, ddof=1) / 2
        assert abs(difference.mean()) == pytest.approx(t * error, rel=1e-9)
    assert interval.low < interval.estimate < interval.high
    assert interval.estimate == pytest.approx(np.mean(x) / np.mean(y))


def test_fieller_is_unbounded_when_the_denominator_may_be_zero() -> None:
    interval = stats.fieller([0.1, 0.2, 0.3], [0.2, -0.2, 0.1])
    assert interval.unbounded
    assert (interval.low, interval.high) == (None, None)
    assert not stats.equivalent(interval, interval.estimate, 100.0)


def test_one_round_has_no_interval() -> None:
    interval = stats.audited_fsr([10.0], [7.0], [4.0])
    assert interval.estimate == pytest.approx(0.5)
    assert interval.unbounded


@pytest.mark.parametrize("true_fsr", [0.0, 0.6, 1.0])
def test_fieller_covers_the_truth_at_its_level(true_fsr: float) -> None:
    generator = np.random.default_rng(20)
    hits, n, trials = 0, 6, 1500
    for _ in range(trials):
        drift = np.exp(generator.normal(0, 0.2, n))  # shared by the members of a round
        noise = np.exp(generator.normal(0, 0.03, (3, n)))
        start, target = 10.0 * drift * noise[0], 7.0 * drift * noise[2]
        agent = (10.0 - 3.0 * true_fsr) * drift * noise[1]
        interval = stats.audited_fsr(list(start), list(agent), list(target), 0.9)
        hits += interval.low is not None and interval.low <= true_fsr <= interval.high
    # 0.9 within three standard errors of a binomial share
    assert hits / trials == pytest.approx(0.9, abs=3 * math.sqrt(0.9 * 0.1 / trials))


@pytest.mark.parametrize("moved", [1.0, 0.9])
@pytest.mark.parametrize(("sizes", "slack"), [((3, 6, 3, 3), 0.0), ((3, 10, 2, 2), 0.04)])
@pytest.mark.parametrize("true_fsr", [0.0, 0.6, 1.0])
def test_two_groups_of_runs_cover_the_truth_at_their_level(
    sizes: tuple[int, int, int, int], slack: float, true_fsr: float, moved: float
) -> None:
    """Whatever the machine became between the groups; with two reference runs a little off."""
    generator = np.random.default_rng(21)
    means, trials = (10.0 * moved, (10.0 - 3.0 * true_fsr) * moved, 10.0, 7.0), 500
    covered = np.zeros(2)
    for _ in range(trials):
        times = [
            list(mean * np.exp(generator.normal(0, 0.01, n)))
            for mean, n in zip(means, sizes, strict=True)
        ]
        fsr = stats.fsr_of_groups(*times, 0.9)
        ratio = stats.ratio_of_independent(times[1], times[0], 0.9)
        covered += (
            fsr.unbounded or fsr.low <= true_fsr <= fsr.high,
            ratio.low <= means[1] / means[0] <= ratio.high,
        )
    room = slack + 3.5 * math.sqrt(0.9 * 0.1 / trials)
    assert covered / trials == pytest.approx([0.9, 0.9], abs=room)


def test_samples_of_one_show_no_noise_and_empty_ones_nothing() -> None:
    pair = ([10.0, 10.1], [4.0, 4.2])
    found = stats.fsr_of_groups([5.0], [3.5, 3.6], *pair)
    assert found.estimate == pytest.approx((1 - 3.55 / 5) / (1 - 4.1 / 10.05)) and found.unbounded
    assert stats.fsr_of_groups([5.0, 5.1], [4.0], [4.0], [6.0, 6.1]) is None
    assert stats.fsr_of_groups([], [4.0], *pair) is None
    assert stats.fsr_of_groups([5.0], [], *pair) is None
    same = stats.fsr_of_groups([10.0] * 2, [7.0] * 2, [10.0] * 2, [4.0] * 2)
    assert (same.low, same.high) == (pytest.approx(0.5), pytest.approx(0.5))
    ratio = stats.ratio_of_independent([7.0], [10.0, 10.0])
    assert (ratio.low, ratio.high, ratio.p) == (None, None, None)
    assert stats.ratio_of_independent([7.0, 7.0], [10.0, 10.0]).p is None


def test_a_constant_shift_of_independent_samples_is_welch_s_test() -> None:
    now, before = [4.9, 5.1, 4.8, 5.3, 5.0], [10.0, 10.1, 9.4]
    found = stats.ratio_of_independent(now, before, 0.9)
    expected = distributions.ttest_ind(
        np.log(now), np.log(before), equal_var=False, alternative="less"
    )
    both = distributions.ttest_ind(np.log(now), np.log(before), equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    interval = both.confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx(tuple(np.exp(interval)))


def test_equivalence_needs_the_whole_interval_inside() -> None:
    assert stats.equivalent(stats.Interval(1.0, 0.8, 1.2, 0.9), 1.0, 0.25)
    assert not stats.equivalent(stats.Interval(1.0, 0.8, 1.26, 0.9), 1.0, 0.25)
    assert not stats.equivalent(stats.Interval(1.0, 0.74, 1.2, 0.9), 1.0, 0.25)


def test_mean_below_is_the_one_sided_t_test() -> None:
    losses = [3.41, 3.44, 3.39, 3.46]
    expected = distributions.ttest_1samp(losses, 3.5, alternative="less").pvalue
    assert stats.mean_below(losses, 3.5) == pytest.approx(expected)


@pytest.mark.parametrize("losses", [[3.2], [3.2, 3.2], [3.2] * 10])
def test_repeats_of_one_run_are_no_evidence(losses: list[float]) -> None:
    assert stats.mean_below(losses, 3.5) is None


def test_ratio_below_matches_the_t_test_on_logs() -> None:
    now, before = [4.9, 5.1, 4.8, 5.3], [10.0, 10.1, 9.4, 10.6]
    logs = np.log(np.array(now) / np.array(before))
    test = stats.ratio_below(now, before, 0.55, 0.9)
    expected = distributions.ttest_1samp(logs, math.log(0.55), alternative="less")
    interval = distributions.ttest_1samp(logs, 0.0).confidence_interval(0.9)
    assert test.p == pytest.approx(expected.pvalue)
    assert test.ratio == pytest.approx(math.exp(logs.mean()))
    assert (test.low, test.high) == pytest.approx(tuple(np.exp(interval)))


def test_ratio_test_keeps_its_level_and_has_power() -> None:
    generator = np.random.default_rng(7)

    def rejected(true_ratio: float) -> float:
        drift = np.exp(generator.normal(0, 0.2, (600, 6)))
        start, agent = drift * np.exp(generator.normal(0, 0.02, (2, 600, 6)))
        tests = [stats.ratio_below(b * true_ratio, a) for a, b in zip(start, agent, strict=True)]
        return float(np.mean([test.p < 0.05 for test in tests]))

    assert rejected(1.0) == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 600))
    assert rejected(0.9) > 0.99


def test_iqm_equals_the_trimmed_mean_for_equal_runs() -> None:
    runs = np.random.default_rng(3).normal(size=(4, 6))  # 24 scores: 6 trimmed at each end
    expected = distributions.trim_mean(runs, 0.25, axis=None)
    assert stats.iqm(list(runs)) == pytest.approx(expected)


def test_iqm_weighs_tasks_and_not_runs() -> None:
    few = [np.array([0.0]), np.array([1.0])]
    many = [np.array([0.0] * 50), np.array([1.0])]
    assert stats.iqm(many) == pytest.approx(stats.iqm(few)) == pytest.approx(0.5)


def test_bootstrap_is_seeded_and_resamples_within_tasks() -> None:
    runs = {"easy": [1.0, 1.0, 1.0], "hard": [0.0, 0.0]}
    interval = stats.stratified_bootstrap(runs)
    assert (interval.low, interval.estimate, interval.high) == (0.5, 0.5, 0.5)
    generator = np.random.default_rng(0)
    spread = {name: list(generator.normal(size=6)) for name in "ab"}
    assert stats.stratified_bootstrap(spread) == stats.stratified_bootstrap(spread)
    assert stats.stratified_bootstrap(spread) != stats.stratified_bootstrap(spread, seed=1)
    assert stats.stratified_bootstrap(spread, stats.iqm).low is not None


def test_bootstrap_of_single_runs_has_no_interval() -> None:
    interval = stats.stratified_bootstrap({"a": [0.2], "b": [0.6]})
    assert interval.estimate == pytest.approx(0.4)
    assert (interval.low, interval.high) == (None, None)


def test_bootstrap_covers_the_mean_a_little_less_often_than_it_says() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        runs = {
            "a": list(generator.normal(0.3, 0.1, 20)),
            "b": list(generator.normal(0.7, 0.2, 12)),
        }
        interval = stats.stratified_bootstrap(runs, confidence=0.9, replicates=200)
        hits += interval.low <= 0.5 <= interval.high
    assert 0.78 < hits / 200 < 0.92  # percentile intervals are narrow for a dozen runs


def test_round_bootstrap_keeps_fixed_scores_fixed() -> None:
    failed = np.array([[0.0, 1.0]])
    interval = stats.round_bootstrap([failed, np.array([[1.0, 1.0]])])
    assert (interval.low, interval.estimate, interval.high) == (0.5, 0.5, 0.5)


def test_round_bootstrap_spans_the_noise_of_the_rounds() -> None:
    rounds = np.array([[0.20, 0.50], [0.30, 0.52], [0.25, 0.49], [0.27, 0.50]])
    interval = stats.round_bootstrap([rounds], 0.9)
    fieller = stats.fieller(list(rounds[:, 0]), list(rounds[:, 1]), 0.9)
    assert fieller.low < interval.low < interval.estimate < interval.high < fieller.high


def test_summary_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        stats.summarise([])
    assert stats.summarise([2.0]).sd is None
