"""ledger: what is reserved, settled, lost and capped, over processes and kills."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedrun.adapters.ledger import BudgetExceeded, Ledger
from speedrun.files import SpeedrunError

SWEEP, OWNER = "grid", "micro/r01-r02/direct-12345678/s0"


def ledger_at(folder: Path) -> Ledger:
    return Ledger(folder / "store" / "ledger.db")


def test_an_entry_counts_at_its_worst_case_until_it_is_settled(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    assert ledger.spent(sweep=SWEEP).usd == 0
    assert not ledger.path.exists()
    ledger.reserve("a", SWEEP, OWNER, usd=0.5, tokens=1000)
    assert (ledger.spent(sweep=SWEEP).usd, ledger.spent(owner=OWNER).reserved_usd) == (0.5, 0.5)
    ledger.settle("a", usd=0.1, tokens=200)
    spent = ledger.spent(sweep=SWEEP, owner=OWNER)
    assert (spent.usd, spent.tokens, spent.reserved_usd) == (pytest.approx(0.1), 200, 0)
    ledger.settle("a", usd=9.0, tokens=9)  # settled once: a stored reply is not paid again
    assert ledger.spent().usd == pytest.approx(0.1)


def test_what_was_not_paid_is_released(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    ledger.reserve("a", SWEEP, OWNER, usd=0.5, tokens=10)
    ledger.release("a")
    assert ledger.spent().usd == 0
    ledger.reserve("a", SWEEP, OWNER, usd=0.5, tokens=10)
    ledger.settle("a", usd=0.5, tokens=10)
    ledger.release("a")  # what is paid is not given back
    assert ledger.spent().usd == 0.5


def test_sweeps_and_trials_are_counted_apart(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    for number, (sweep, owner) in enumerate([("x", "one"), ("x", "two"), ("y", "one")]):
        ledger.reserve(f"e{number}", sweep, owner, usd=1.0, tokens=1, device_hours=0.5)
    assert ledger.spent(sweep="x").usd == 2
    assert ledger.spent(owner="one").device_hours == 1.0
    assert ledger.spent(sweep="y", owner="one").tokens == 1
    assert ledger.spent(sweep="z").usd == 0


@pytest.mark.parametrize("scope", ["trial", "sweep"])
@pytest.mark.parametrize("unit", ["usd", "tokens", "device_hours"])
def test_a_cap_is_never_passed_and_says_what_to_raise(
    tmp_path: Path, scope: str, unit: str
) -> None:
    ledger, caps = ledger_at(tmp_path), {scope: {unit: 10}}
    amount: dict[str, Any] = {unit: 4}
    for name in ("a", "b"):
        ledger.reserve(name, SWEEP, OWNER, caps, **amount)
    with pytest.raises(BudgetExceeded) as caught:
        ledger.reserve("c", SWEEP, OWNER, caps, **amount)
    message = str(caught.value)
    assert f"budget.{scope}.{unit} = 10 of {scope} " in message
    assert f"""overrides='["budget.{scope}.{unit}=20"]'""" in message
    assert "\n" not in message
    assert getattr(ledger.spent(), unit) == 8
    ledger.settle("a", **{unit: 1})
    ledger.reserve("c", SWEEP, OWNER, caps, **amount)  # what was settled lower makes room


def test_the_advice_covers_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(BudgetExceeded, match=r'budget.trial.usd=8"'):
        ledger_at(tmp_path).reserve("a", SWEEP, OWNER, {"trial": {"usd": 0.1}}, usd=7.93)


def test_other_trials_do_not_use_up_a_trials_cap(tmp_path: Path) -> None:
    ledger, caps = ledger_at(tmp_path), {"trial": {"usd": 1}, "sweep": {"usd": None}}
    for number in range(3):
        ledger.reserve(f"e{number}", SWEEP, f"trial {number}", caps, usd=0.9)
    assert ledger.spent(sweep=SWEEP).usd == pytest.approx(2.7)


def test_an_unknown_cost_under_a_cap_is_an_error_and_else_is_said(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    with pytest.raises(SpeedrunError, match=r"budget\.sweep\.usd is 5, but .*prices.*=null"):
        ledger.reserve("a", SWEEP, OWNER, {"sweep": {"usd": 5}}, usd=None, tokens=3)
    assert ledger.spent().unknown_cost_calls == 0
    ledger.reserve("a", SWEEP, OWNER, {"sweep": {"usd": None, "tokens": 5}}, usd=None, tokens=3)
    ledger.settle("a", usd=None, tokens=2)
    spent = ledger.spent()
    assert (spent.unknown_cost_calls, spent.usd, spent.tokens) == (1, 0, 2)


def test_what_is_not_reported_stays_at_its_bound(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    ledger.reserve("a", SWEEP, OWNER, usd=0.25, tokens=50)
    ledger.settle("a", usd=None, tokens=None)
    spent = ledger.spent()
    assert (spent.usd, spent.tokens, spent.unknown_cost_calls) == (0.25, 50, 1)
    assert spent.reserved_usd == 0


def test_an_attempt_that_was_left_open_stays_counted_as_lost(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    assert not ledger.reserve("a", SWEEP, OWNER, usd=1.0)
    assert ledger.reserve("a", SWEEP, OWNER, usd=1.0)
    assert ledger.reserve("a", SWEEP, OWNER, usd=1.0)
    ledger.settle("a", usd=0.2)
    spent = ledger.spent(owner=OWNER)
    assert (spent.usd, spent.lost_calls) == (pytest.approx(2.2), 2)
    assert not ledger.reserve("a", SWEEP, OWNER, usd=1.0)  # paid before: counted, not lost
    assert (ledger.spent().usd, ledger.spent().lost_calls) == (pytest.approx(3.2), 2)


def test_it_says_what_it_holds(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    assert not ledger.holds("a")
    ledger.reserve("a", SWEEP, OWNER, usd=1.0)
    assert ledger.holds("a") and not ledger.holds("b")
    ledger.release("a")
    assert not ledger.holds("a")


def test_a_lost_attempt_counts_before_the_cap_is_checked(tmp_path: Path) -> None:
    ledger, caps = ledger_at(tmp_path), {"trial": {"usd": 1.5}}
    ledger.reserve("a", SWEEP, OWNER, caps, usd=1.0)
    with pytest.raises(BudgetExceeded):
        ledger.reserve("a", SWEEP, OWNER, caps, usd=1.0)
    assert ledger.spent().usd == 1.0


def test_keys_that_begin_alike_are_not_confused(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    for key in ("ab", "a", "a_", "a%"):
        ledger.reserve(key, SWEEP, OWNER, usd=1.0)
        ledger.lose(key)
    ledger.reserve("a", SWEEP, OWNER, usd=1.0)
    ledger.lose("a")
    assert (ledger.spent().usd, ledger.spent().lost_calls) == (5.0, 5)


def test_a_file_that_is_no_ledger_is_one_line(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    ledger.path.parent.mkdir()
    ledger.path.write_text("not a database, but long enough to be read as one" * 9)
    with pytest.raises(SpeedrunError, match=r"ledger\.db: .*run the same command again"):
        ledger.reserve("a", SWEEP, OWNER, usd=1.0)


def _pay(path: Path, worker: int, calls: int, cap: float) -> None:
    ledger = Ledger(path)
    for number in range(calls):
        key = f"{worker}-{number}"
        try:
            ledger.reserve(key, SWEEP, str(worker), {"sweep": {"usd": cap}}, usd=1.0, tokens=1)
        except BudgetExceeded:
            continue
        ledger.settle(key, usd=1.0, tokens=1)


@pytest.mark.slow
def test_many_processes_lose_nothing_and_pass_no_cap(tmp_path: Path) -> None:
    path, cap = tmp_path / "store" / "ledger.db", 37.0
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_pay, args=(path, n, 10, cap)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert (Ledger(path).spent().usd, Ledger(path).spent().tokens) == (cap, int(cap))


def _pay_for_ever(path: Path) -> None:
    number = 0
    while True:
        Ledger(path).reserve(f"k{number % 3}", SWEEP, OWNER, usd=1.0, tokens=1)
        if number % 2:
            Ledger(path).settle(f"k{number % 3}", usd=0.5, tokens=1)
        number += 1


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_ledger_that_only_grew(tmp_path: Path) -> None:
    ledger, before = ledger_at(tmp_path), 0
    context = multiprocessing.get_context("fork")
    for number in range(30):
        worker = context.Process(target=_pay_for_ever, args=(ledger.path,))
        worker.start()
        worker.join(0.01 + 0.003 * number)
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        tokens = ledger.spent().tokens
        assert tokens >= before
        before = tokens
    assert before > 30


operations = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "release", "lose"]),
        st.sampled_from("abc"),
        st.integers(1, 50),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(operations)
def test_any_order_of_events_adds_up(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, str, int]]
) -> None:
    """Against the plain model: open amounts by key, and what can never be taken back."""
    ledger, cap = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.db"), 100
    held: dict[str, int] = {}
    paid = 0
    for what, key, amount in events:
        if what == "reserve":
            try:
                ledger.reserve(key, SWEEP, OWNER, {"sweep": {"tokens": cap}}, tokens=amount)
            except BudgetExceeded:
                assert paid + sum(held.values()) + amount > cap
                continue
            paid += held.pop(key, 0)
            held[key] = amount
        elif what == "settle":
            ledger.settle(key, tokens=min(amount, held[key]) if key in held else amount)
            paid += min(amount, held.pop(key)) if key in held else 0
        elif what == "lose":
            ledger.lose(key)
            paid += held.pop(key, 0)
        else:
            ledger.release(key)
            held.pop(key, None)
        assert ledger.spent().tokens == paid + sum(held.values()) <= cap
