"""Which tasks of a track a sweep names: by name, by an expression over the task table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nanogpt_tasks import PAPER, nanogpt
from speedrun import registry
from speedrun.adapters import selection, sweep, task_table
from speedrun.files import SpeedrunError


@pytest.fixture(scope="module")
def rows(facts: registry.Registry) -> list[dict[str, Any]]:
    return [task_table.registry_row(pair) for pair in facts.tasks]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("number <= 21", PAPER),
        ("start == 'r21c'", ["r21c-r22"]),
        ("not strict", ["r01-r02", "r02-r03", "r03-r04"]),
        ("era == 'flex' and gain_percent >= 10", ["r11-r12", "r14-r15"]),
        ("start_minutes - target_minutes > 6", ["r01-r02", "r02-r03", "r04-r05"]),
        ("'2024-11-19' <= target_date < '2024-12-05'", ["r11-r12", "r12-r13", "r13-r14"]),
        ("number in [5, 6, 7]", ["r04-r05", "r05-r06"]),
        ("(number == 5) | (number == 6)", ["r04-r05", "r05-r06"]),
        (" r04-r05 ", ["r04-r05"]),
        (" number == 5\n", ["r04-r05"]),
    ],
)
def test_an_expression_chooses_rows_of_the_table(
    rows: list[dict[str, Any]], expression: str, expected: list[str]
) -> None:
    assert selection.choose(rows, {}, expression) == expected


def test_groups_of_the_real_registry(rows: list[dict[str, Any]]) -> None:
    counts = {
        "all": 85,
        "strict": 82,
        "gain_percent >= 5": 15,
        "target_date > '2025-05-01'": 66,
        "ai_system != ''": 5,
    }
    assert {wanted: len(selection.choose(rows, {}, wanted)) for wanted in counts} == counts


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("gain_percnt >= 5", "unknown column 'gain_percnt'; nearest is 'gain_percent'"),
        ("gain_percent >= 500", "no task matches tasks='gain_percent >= 500'"),
        ("number >", "it is not an expression"),
        ("number", "it is not true or false for each task"),
        ("number > 'five'", "Invalid comparison"),
        ("start.to_csv('out')", "Call is not allowed"),
        ("task.str", "Attribute is not allowed"),
        ("__import__('os')", "Call is not allowed"),
        ("@limit < number", "it is not an expression"),
        ("__builtins__ == 1", "unknown column '__builtins__'"),
        ("number < 9**9**9", "Pow is not allowed"),
        ("[n for n in number]", "ListComp is not allowed"),
        ("r6-r07", "unknown task 'r6-r07'; nearest is"),
        (["r04-r05", "r4-r05"], "unknown task 'r4-r05'; nearest is"),
        (["number > 5"], "unknown task 'number > 5'"),
    ],
)
def test_a_bad_choice_is_one_line(
    rows: list[dict[str, Any]], wanted: list[str] | str, message: str
) -> None:
    with pytest.raises(SpeedrunError) as caught:
        selection.choose(rows, {}, wanted)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
@example("number" + "(" * 500)
@example("\0")
@example("number == 1\n")
def test_any_text_chooses_tasks_or_is_one_line(text: str) -> None:
    table = [{"task": "r01-r02", "number": 2}, {"task": "r02-r03", "number": 3}]
    try:
        chosen = selection.choose(table, {}, text)
    except SpeedrunError as error:
        assert "\n" not in str(error)
    else:
        assert set(chosen) <= {"r01-r02", "r02-r03"}


def test_an_excluded_step_is_refused_with_its_reason(repository: Path) -> None:
    for task in ("r06-r07", "r24-r25", "r65-r66"):
        with pytest.raises(SpeedrunError, match=f"{task} is no task: .*PyTorch"):
            nanogpt(repository, f"tasks={task}")


def test_a_sweep_takes_an_expression_as_an_override(repository: Path) -> None:
    config = nanogpt(repository, "tasks='number <= 5 and strict'")
    assert config["tasks"] == ["r04-r05"]
    local = sweep.load(repository / "config", "quickstart", ["tasks='number >= 7'"])
    assert local["tasks"] == ["r06-r07", "r07-r08"]
