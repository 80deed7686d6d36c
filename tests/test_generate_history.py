"""generate: which earlier node is gone on from, and what is told of the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun.schema import Outcome
from speedrun.search import Scaffold
from speedrun.stages.generate import Attempt, build_request, print_prompt
from speedrun.stages.generate.history import (
    DIGEST_CHARS,
    HISTORY_CHARS,
    LINE_CHARS,
    SHOWN,
    render_history,
    sort_history,
)
from trial_builder import FASTER, START, TREE, Trial

AIDE = Scaffold("aide", 1, 1, p_debug=1.0, max_debug_depth=5)
BROKEN = {"train.py": START["train.py"].replace("math.pi", "math.tau")}


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path).start()


@pytest.fixture
def grown(trial: Trial) -> Trial:
    """A tree's first two generations: node 1 is the best, node 2 crashed, 3 missed, 4 refused."""
    trial.add(1, 0, Outcome.OK, 7.5, 3.49, FASTER)
    trial.add(2, 1, Outcome.CANDIDATE_ERROR, solution=BROKEN)
    trial.add(3, 1, Outcome.MISSED_TARGET, loss=3.61, solution=FASTER)
    trial.add(4, 1, Outcome.REFUSED)
    return trial


def test_the_best_earlier_node_is_the_base(grown: Trial) -> None:
    request = build_request(grown.inputs(5))
    assert (request.choice.parent, request.choice.action, request.choice.generation) == (
        1,
        "improve",
        3,
    )
    assert request.base == FASTER and request.start == START
    assert [attempt.node for attempt in request.history] == [0, 1, 2, 3, 4]
    assert request.history[4].outcome is Outcome.REFUSED


def test_a_node_sees_nothing_of_its_own_generation(grown: Trial) -> None:
    assert [attempt.node for attempt in build_request(grown.inputs(3)).history] == [0, 1]


def test_scaffold_decides_the_parent(trial: Trial) -> None:
    assert trial.scaffold is TREE
    trial.add(1, 0, Outcome.MISSED_TARGET, loss=3.51, solution=FASTER)
    request = build_request(trial.inputs(2))
    assert request.choice.parent == 0 and request.base == START


@pytest.mark.parametrize(
    ("outcome", "loss", "said"),
    [
        (Outcome.MISSED_TARGET, 3.7, "ran to its end but missed the target"),
        (Outcome.CANDIDATE_ERROR, None, "which gave no result"),
        (Outcome.OOM, None, "which gave no result"),
    ],
)
def test_a_debug_step_is_told_what_to_mend(
    trial: Trial, outcome: Outcome, loss: float | None, said: str
) -> None:
    aide = Trial(trial.base, AIDE)
    aide.add(1, 0, outcome, None, loss, FASTER)
    request = build_request(aide.inputs(2))
    assert request.choice.action == "debug" and request.base == FASTER
    prompt = request.prompt
    assert "## Mend this attempt first" in prompt and said in prompt
    assert prompt.count("#### Attempt 1, from the start record") == 1  # not in the history too
    assert f"{outcome}, no time" in prompt and "digest 1" in prompt
    assert "    +STEPS: int = 300; WARMUP = 20" in prompt
    assert "Earlier attempts" not in prompt


def test_an_improvement_names_the_best(trial: Trial) -> None:
    trial.add(1, 0, Outcome.OK, 7.5, 3.49, FASTER)
    prompt = print_prompt(trial.inputs(2))
    assert "Attempt 1 is the fastest attempt up to now: ok, 7.50 s, loss 3.4900" in prompt
    assert "Mend" not in prompt and "Go on from" not in print_prompt(trial.inputs(1))


def test_history_tells_better_worse_and_failed(grown: Trial) -> None:
    prompt = print_prompt(grown.inputs(5))
    assert "### Better: 1, showing 1" in prompt
    assert "#### Attempt 1, from the start record: ok, 7.50 s, loss 3.4900" in prompt
    assert "    +STEPS: int = 300; WARMUP = 20" in prompt and "digest 1" in prompt
    assert "#### Attempt 3, from attempt 1: missed_target, no time, loss 3.6100" in prompt
    assert "### Failed: 2, showing 2" in prompt and "the model declined" in prompt
    assert prompt.index("#### Attempt 4") < prompt.index("#### Attempt 2")  # latest first
    assert "## The files you change: attempt 1" in prompt


def _attempt(node: int, outcome: Outcome, time_s: float | None, loss: float | None) -> Attempt:
    return Attempt(node, 0, outcome, "", time_s, loss, "", {"train.py": f"x = {node}\n" * 200})


def test_history_rule_orders_and_caps() -> None:
    history = [
        _attempt(0, Outcome.OK, 10.0, 3.4),
        _attempt(1, Outcome.MISSED_TARGET, None, 3.9),
        _attempt(2, Outcome.OK, 12.0, 3.4),
        _attempt(3, Outcome.MISSED_TARGET, None, 3.6),
        _attempt(4, Outcome.OK, 10.0, 3.4),
        *[_attempt(node, Outcome.OK, 9.0 - node / 10, 3.4) for node in range(5, 10)],
        _attempt(10, Outcome.TIMEOUT, None, None),
        _attempt(11, Outcome.OOM, None, None),
        _attempt(12, Outcome.RULE_VIOLATION, None, 3.4),
        _attempt(13, Outcome.MISSED_TARGET, None, None),
    ]
    kinds = {kind: [a.node for a in found] for kind, found in sort_history(history).items()}
    assert kinds == {
        "better": [9, 8, 7, 6, 5],
        "worse": [4, 2, 3, 1, 13],
        "failed": [12, 11, 10],
    }
    shown = render_history(history)
    assert f"### Better: 5, showing {SHOWN}" in shown
    assert "Attempt 6," not in shown and "more lines)" in shown


def _long(node: int, outcome: Outcome, size: int) -> Attempt:
    body = "".join(f"x_{node}_{line} = {'y' * size}\n" for line in range(200))
    loss = 3.4 if outcome is Outcome.OK else None
    time_s = 9.0 - node / 100 if outcome is Outcome.OK else None
    digest = f"digest of {node}: " + "z" * size * 10
    return Attempt(node, 0, outcome, "", time_s, loss, digest, {"train.py": body})


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from(list(Outcome)), max_size=20),
    st.integers(0, 3000),
)
def test_a_history_is_bounded_and_the_first_of_each_kind_are_served_first(
    outcomes: list[Outcome], size: int
) -> None:
    root = Attempt(0, 0, Outcome.OK, "", 10.0, 3.4, "", dict(START))
    history = [root, *(_long(node, outcome, size) for node, outcome in enumerate(outcomes, 1))]
    shown = render_history(history)
    assert len(shown) < HISTORY_CHARS + 3000
    assert len(shown) == 0 or max(map(len, shown.split("\n"))) <= max(DIGEST_CHARS, LINE_CHARS + 4)
    headings = re.findall(r"#### Attempt (\d+),", shown)
    assert len(headings) == len(set(headings)) >= min(len(outcomes), 3)
    best = re.search(r"### Better: \d+, showing \d+\n\n#### Attempt (\d+),", shown)
    assert best is None or f"+x_{best[1]}_0" in shown  # the best always with its change


def test_what_does_not_fit_is_said() -> None:
    root = Attempt(0, 0, Outcome.OK, "", 10.0, 3.4, "", dict(START))
    outcomes = [Outcome.OK] * 3 + [Outcome.TIMEOUT] * 3
    shown = render_history([root, *(_long(n, o, 3000) for n, o in enumerate(outcomes, 1))])
    assert "(There is more of it, which does not fit here.)" in shown
    assert "characters are left out here" in shown  # of a digest


@pytest.mark.parametrize("digest", ["outcome: timeout\nreason: took 60 s\n", "no word of it", ""])
def test_a_reason_is_told_once(digest: str) -> None:
    root = Attempt(0, 0, Outcome.OK, "", 10.0, 3.4, "", {})
    failed = Attempt(1, 0, Outcome.TIMEOUT, "took 60 s", None, None, digest, {})
    shown = render_history([root, failed])
    assert shown.count("took 60 s") == 1 and digest.strip() in shown


def test_of_a_file_written_anew_the_new_lines_are_shown() -> None:
    old = {"train.py": "".join(f"old {line}\n" for line in range(500))}
    root = Attempt(0, 0, Outcome.OK, "", 10.0, 3.4, "", old)
    anew = {"train.py": "".join(f"new {line}\n" for line in range(500))}
    shown = render_history([root, Attempt(1, 0, Outcome.TIMEOUT, "", None, None, "", anew)])
    assert "    -old 4\n" in shown and "-old 5" not in shown and "+new 40" in shown
    assert "    (495 more lines removed)\n" in shown and "more lines)" in shown
