"""Device hours: the worst case held before a run, what it really cost counted once."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun import files, schema
from speedrun.adapters import workflow
from speedrun.adapters.device_hours import DeviceHours, let_go
from speedrun.adapters.ledger import BudgetExceeded, Ledger
from speedrun.schema import RunExit

OWNER = "nano/r01-r02/agent-aa/s0"


def operation(cap: float | None = None, sweep: str = "one") -> dict[str, object]:
    budget = {"trial": {"device_hours": cap}, "sweep": {"device_hours": None}}
    return {"sweep": sweep, "budget": budget, "models": {}, "device_hours_a_run": 2.0}


def account(folder: Path, cap: float | None = None, sweep: str = "one") -> DeviceHours:
    return DeviceHours(operation(cap, sweep), OWNER, folder / "store/ledger.db")


def node(folder: Path, number: int = 1) -> Path:
    return folder / "results/trials" / OWNER / f"node_{number}"


def finish(folder: Path, key: str = "k1", ran: bool = True, **more: object) -> None:
    ended = RunExit(ran, "exited" if ran else "not_run: x", key=key)
    schema.save(folder / "run/exit.json", dataclasses.replace(ended, **more))  # type: ignore[arg-type]


def spent(folder: Path, **chosen: str) -> float:
    return Ledger(folder / "store/ledger.db").spent(**chosen).device_hours


def test_the_worst_case_is_held_until_the_run_is_settled(tmp_path: Path) -> None:
    hours = account(tmp_path)
    with hours.reserved(node(tmp_path)):
        assert spent(tmp_path, owner=OWNER) == 2.0
    assert spent(tmp_path) == 2.0  # generated, not run yet
    finish(node(tmp_path))
    hours.settle(node(tmp_path), 1800.0, devices=8)
    assert spent(tmp_path, owner=OWNER) == spent(tmp_path, sweep="one") == 4.0


def test_a_cap_stops_before_anything_is_asked(tmp_path: Path) -> None:
    hours = account(tmp_path, cap=3.0)
    with hours.reserved(node(tmp_path, 1)):
        pass
    refused = pytest.raises(BudgetExceeded, match=r"budget\.trial\.device_hours")
    with refused as raised, hours.reserved(node(tmp_path, 2)):
        pytest.fail("asked")
    assert "\n" not in str(raised.value)
    assert "is used up: 2 spent (2 of it held by what is under way), 2 more" in str(raised.value)
    assert spent(tmp_path) == 2.0


def test_what_fails_or_has_no_code_holds_nothing(tmp_path: Path) -> None:
    hours = account(tmp_path)
    with pytest.raises(ZeroDivisionError), hours.reserved(node(tmp_path)):
        raise ZeroDivisionError
    assert spent(tmp_path) == 0.0
    with hours.reserved(node(tmp_path)):
        pass
    hours.release(node(tmp_path))
    assert spent(tmp_path) == 0.0


def test_an_attempt_that_was_killed_is_not_counted_twice(tmp_path: Path) -> None:
    for _ in range(3):  # nothing is released, as after a SIGKILL
        with account(tmp_path, cap=3.0).reserved(node(tmp_path)):
            pass
    assert spent(tmp_path) == 2.0


def test_a_run_is_paid_once_by_whoever_ran_it_first(tmp_path: Path) -> None:
    finish(node(tmp_path))
    account(tmp_path, sweep="one").settle(node(tmp_path), 3600.0)
    account(tmp_path, sweep="two").settle(node(tmp_path), 3600.0)
    assert (spent(tmp_path, sweep="one"), spent(tmp_path, sweep="two")) == (1.0, 0.0)
    with account(tmp_path, cap=1.0).reserved(node(tmp_path)):  # nothing more will be run
        assert spent(tmp_path) == 1.0
    finish(node(tmp_path), key="another run")
    account(tmp_path).settle(node(tmp_path), 3600.0)
    assert spent(tmp_path) == 2.0


def test_a_run_that_was_deleted_and_made_again_counts_again(tmp_path: Path) -> None:
    finish(node(tmp_path), wall_s=3600.0)
    account(tmp_path).settle(node(tmp_path), 3600.0)
    finish(node(tmp_path), wall_s=3601.0)
    account(tmp_path).settle(node(tmp_path), 3601.0)
    assert spent(tmp_path) == pytest.approx(2.0, abs=0.001)


def test_other_code_in_a_paid_nodes_place_is_held_like_any(tmp_path: Path) -> None:
    hours, here = account(tmp_path, cap=3.0), node(tmp_path)
    files.write_tree(here / "solution", {"train.py": "old"})
    finish(here, solution_digest=files.digest_tree(here / "solution"))
    hours.settle(here, 3600.0)
    with hours.reserved(here):  # the same answer again
        assert spent(tmp_path) == 1.0
    assert spent(tmp_path) == 1.0
    with hours.reserved(here):
        files.write_tree(here / "solution", {"train.py": "new"})
    assert spent(tmp_path) == 3.0
    hours.release(here)
    with pytest.raises(BudgetExceeded), account(tmp_path, cap=2.0).reserved(here):
        pytest.fail("asked")


def test_what_is_planned_no_longer_holds_nothing(tmp_path: Path) -> None:
    hours, other = account(tmp_path), account(tmp_path, sweep="two")
    planned, gone = [node(tmp_path, 1), node(tmp_path, 2)], node(tmp_path, 3)
    elsewhere = tmp_path / "results/trials/nano/r02-r03/a/s0/node_1"
    kept = [*planned, planned[0] / "draft", elsewhere]
    for folder in [*kept, gone, gone / "draft", Path("store/retimings/x")]:
        with hours.reserved(folder):
            pass
    with other.reserved(node(tmp_path, 4)):
        pass
    finish(node(tmp_path, 5))
    hours.settle(node(tmp_path, 5), 3600.0)
    let_go("one", [gone.parents[2]], planned, tmp_path / "store/ledger.db")
    assert spent(tmp_path, sweep="one") == 2.0 * len(kept) + 1.0
    assert spent(tmp_path, sweep="two") == 2.0


def test_an_unknown_time_counts_as_the_worst_and_no_run_as_nothing(tmp_path: Path) -> None:
    finish(node(tmp_path, 1))
    account(tmp_path).settle(node(tmp_path, 1), None)
    finish(node(tmp_path, 2), ran=False)
    with account(tmp_path).reserved(node(tmp_path, 2)):
        pass
    account(tmp_path).settle(node(tmp_path, 2), 0.0)
    assert spent(tmp_path) == 2.0


def test_without_an_operation_nothing_is_counted(tmp_path: Path) -> None:
    hours = DeviceHours({}, OWNER, tmp_path / "store/ledger.db")
    finish(node(tmp_path))
    with hours.reserved(node(tmp_path)):
        hours.settle(node(tmp_path), 3600.0)
    assert not (tmp_path / "store").exists()


@settings(max_examples=20, deadline=None)  # every step is a transaction on disk
@given(st.lists(st.sampled_from(["reserve", "run", "settle", "release"]), max_size=12))
def test_the_sum_is_that_of_the_runs_whatever_happens_in_between(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("hours")
    hours, runs = account(folder), 0
    for step in [*steps, "settle"]:
        if step == "reserve":
            with hours.reserved(node(folder)):
                pass
        elif step == "release":
            hours.release(node(folder))
        elif step == "run":
            hours.settle(node(folder), 3600.0)  # one run after another: each is analysed
            runs += 1
            finish(node(folder), key=f"k{runs}")
        else:
            hours.settle(node(folder), 3600.0)
    if runs:
        assert spent(folder) == float(runs)


def test_a_cap_that_many_jobs_met_is_one_line_at_the_end(tmp_path: Path) -> None:
    usd = "speedrun generate: budget.trial.usd = 1 of trial {} is used up: 1 spent: raise it"
    hours = "speedrun audit: budget.sweep.device_hours = 9 of sweep one is used up: 9 spent: raise"
    for number, text in enumerate((usd.format("a"), "step 1\n" + usd.format("b"), hours)):
        path = tmp_path / f"logs/generate/{number}/node_1.log"
        path.parent.mkdir(parents=True)
        path.write_text(f"{text}\nmore\n")
    old = tmp_path / "logs/old.log"
    old.write_text("speedrun judge: budget.sweep.usd = 1 of sweep one is used up: 1 spent\n")
    os.utime(old, (1.0, 1.0))
    expected = [usd.format("b") + " (2 jobs stopped there)", hours]
    assert workflow.budget_lines(tmp_path / "logs", since_s=2.0) == expected
    assert workflow.budget_lines(tmp_path / "absent", since_s=0.0) == []
