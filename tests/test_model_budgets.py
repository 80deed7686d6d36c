"""models: the caps on money and tokens, and whose money a judge spends."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model_asking import ask, opened
from model_server import ModelServer, model_config
from speedrun import files
from speedrun.adapters.ledger import BudgetExceeded, Ledger, Spent

pytestmark = pytest.mark.usefixtures("key")


def test_a_call_that_could_pass_the_cap_is_not_made(tmp_path: Path, server: ModelServer) -> None:
    budget = {"trial": {"usd": 0.0005, "tokens": None}, "sweep": {"usd": None}}
    with pytest.raises(BudgetExceeded, match=r"budget\.trial\.usd = 0\.0005 of trial micro/"):
        ask(opened(server, tmp_path, budget))
    assert server.requests == []
    assert opened(server, tmp_path).ledger.spent() == Spent(0.0, 0, 0.0, 0, 0, 0.0)


def test_work_goes_on_until_the_cap(tmp_path: Path, server: ModelServer) -> None:
    model = opened(server, tmp_path, {"sweep": {"tokens": 400}})
    with pytest.raises(BudgetExceeded, match=r"budget\.sweep\.tokens=800"):
        for node in range(100):
            ask(model, node=node)
    assert 3 < len(server.requests) < 100
    assert model.ledger.spent(sweep="grid").tokens <= 400
    assert ask(model, node=0).call.stored  # what is paid for is there at the cap, too


@pytest.mark.parametrize("budget", [{"trial": {"usd": 1}}, {"sweep": {"usd": 1}}])
def test_an_unknown_price_under_a_cap_is_an_error_before_the_call(
    tmp_path: Path, server: ModelServer, budget: dict[str, Any]
) -> None:
    with pytest.raises(files.SpeedrunError, match=r"is not known: give the model prices"):
        ask(opened(server, tmp_path, budget, prices=None))
    assert server.requests == []
    reply = ask(opened(server, tmp_path, prices=None))
    assert reply.call.cost_usd is None
    assert opened(server, tmp_path).ledger.spent().unknown_cost_calls == 1


def test_a_reply_without_a_bound_needs_one_under_a_cap(tmp_path: Path, server: ModelServer) -> None:
    budget = {"trial": {"tokens": 1000}}
    with pytest.raises(files.SpeedrunError, match="max_tokens"):
        ask(opened(server, tmp_path, budget, max_tokens=None))
    ask(opened(server, tmp_path, budget, max_tokens=None, max_output_tokens=500))
    assert "max_tokens" not in server.requests[0].body


def test_a_judge_spends_the_sweeps_money_and_no_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speedrun.cli import sweep
    from speedrun.stages.judge import Case

    monkeypatch.chdir(tmp_path)
    with ModelServer("marks") as server:
        config = model_config(server.url)
        arm = {key: config[key] for key in ("name", "kind", "model", "max_tokens")}
        plan = SimpleNamespace(
            judge={"kind": "model", "model": arm}, track=SimpleNamespace(name="micro")
        )
        budget = {"trial": {"usd": 0.0}, "sweep": {"usd": 1.0}}
        operation = {"sweep": "grid", "budget": budget, "models": {"m": config}}
        judge = sweep.make_judge(plan, Path("replies"), operation, "r01-r02")  # type: ignore[arg-type]
        answer = judge(Case("r01-r02", "d", "who did what?"))
        assert (answer.text, answer.source) == ("marks", "m")
        assert answer.tokens_in and answer.tokens_out
        judge(Case("r01-r02", "d", "who did what?"))
        assert len(server.requests) == 1
    spent = Ledger(Path("store/ledger.db")).spent(sweep="grid", owner="judge/micro/r01-r02")
    assert spent.usd > 0
