"""direct: one node by a model behind a local endpoint, from its prompt to its files or outcome."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import model_server as ms
from model_server import Content, Fault, ModelServer, model_config, status, too_long
from speedrun import schema
from speedrun.adapters import models
from speedrun.adapters.coders import make_coder
from speedrun.adapters.ledger import BudgetExceeded
from speedrun.adapters.models import ContextTooLong, EndpointError, Model
from speedrun.files import SpeedrunError
from speedrun.schema import Call, Outcome, Parent
from speedrun.stages.generate import generate
from trial_builder import START, Trial

pytestmark = pytest.mark.usefixtures("key")
EDIT = """\
Faster.

### EDIT: train.py
<<<<<<< SEARCH
SEED = 1337
=======
SEED = 1
>>>>>>> REPLACE
"""
FILES = EDIT + "\n### FILE: parts/model.py\n```python\nWIDTH = 3\n```\n"
OUTSIDE = "### FILE: ../evil.py\n```python\nx = 1\n```\n"


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path).start()


def opened(server: ModelServer, trial: Trial, budget: Any = None, **changes: Any) -> Model:
    operation = {"sweep": "grid", "budget": budget or {}}
    owner = "micro/r02-r03/arm-1a2b3c4d/s0"
    config = model_config(server.url, max_retries=1, **changes)
    return models.open_model(config, operation, owner, trial.base / "store")


def node(trial: Trial, model: Model, number: int = 1) -> Parent:
    coder = make_coder({"name": "direct", "max_nodes": None}, model=model)
    return generate(trial.inputs(number), coder, trial.folder / f"node_{number}")


def calls(trial: Trial, number: int = 1) -> list[Call]:
    lines = (trial.folder / f"node_{number}" / "calls.jsonl").read_text().splitlines()
    return [schema.from_dict(Call, json.loads(line)) for line in lines]


def solution(trial: Trial) -> dict[str, str]:
    folder = trial.folder / "node_1" / "solution"
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_edits_and_whole_files_become_the_solution(trial: Trial) -> None:
    with ModelServer(FILES) as server:
        parent = node(trial, opened(server, trial))
    changed = START["train.py"].replace("SEED = 1337", "SEED = 1")
    assert solution(trial) == {"train.py": changed, "parts/model.py": "WIDTH = 3\n"}
    assert (parent.outcome, parent.lines_added, parent.lines_removed) == (None, 2, 1)
    [call] = calls(trial)
    assert (call.source, call.purpose, call.turn, call.stored) == ("model", "node", 0, False)
    assert call.cost_usd and call.tokens_in and call.tokens_out
    assert server.prompts == [(trial.folder / "node_1" / "prompt.md").read_text()]
    assert (trial.folder / "node_1/replies/turn_0.md").read_text() == FILES


def test_an_unreadable_reply_is_asked_about_once(trial: Trial) -> None:
    with ModelServer(["I would rather talk.", EDIT]) as server:
        parent = node(trial, opened(server, trial))
    assert parent.outcome is None
    assert [call.turn for call in calls(trial)] == [0, 1]
    first, second = server.prompts
    assert second.startswith(first[:200])
    assert "I would rather talk." in second
    assert all(len(request.body["messages"]) == 1 for request in server.requests)


def test_a_node_made_again_pays_nothing(trial: Trial) -> None:
    with ModelServer(["nonsense", EDIT]) as server:
        model = opened(server, trial)
        node(trial, model)
        before, paid = solution(trial), model.ledger.spent().usd
        shutil.rmtree(trial.folder / "node_1")
        node(trial, opened(server, trial))
        assert len(server.requests) == 2
    assert solution(trial) == before
    assert model.ledger.spent().usd == paid
    assert [call.stored for call in calls(trial)] == [True, True]


def test_nodes_are_samples_of_their_own(trial: Trial) -> None:
    with ModelServer(EDIT) as server:
        model = opened(server, trial)
        node(trial, model, 1)
        trial.add(1, 0, Outcome.OK, 9.0, 3.4, START)
        node(trial, model, 2)
        trial.add(2, 1, Outcome.OK, 8.0, 3.4, START)
        node(trial, model, 3)
    assert len(server.requests) == 3
    assert server.prompts[1] == server.prompts[2]  # of one generation: asked the same


@pytest.mark.parametrize(
    ("replies", "outcome", "reason", "asked"),
    [
        ([ms.REFUSAL], Outcome.REFUSED, "declined", 1),
        ([ms.FILTERED], Outcome.REFUSED, "declined", 1),
        ([None, ms.REFUSAL], Outcome.REFUSED, "declined", 2),
        ([ms.EMPTY_TEXT] * 2, Outcome.CANDIDATE_ERROR, "unreadable reply", 2),
        ([ms.TRUNCATED] * 2, Outcome.CANDIDATE_ERROR, "cut off", 2),
        ([ms.HUGE] * 2, Outcome.CANDIDATE_ERROR, "unreadable reply", 2),
        ([Fault(content=OUTSIDE)] * 2, Outcome.CANDIDATE_ERROR, "unreadable reply", 2),
        ([ms.TRUNCATED, too_long()], Outcome.CANDIDATE_ERROR, "cut off", 2),
        ([ms.TRUNCATED, Fault(content=EDIT)], None, "", 2),
        ([ms.MALFORMED, Fault(content=EDIT)], None, "", 2),
        ([ms.RESET, ms.EMPTY_TEXT, status(429, "0.01"), Fault(content=EDIT)], None, "", 4),
    ],
)
def test_what_a_model_answers_is_an_outcome(
    trial: Trial, replies: list[Fault | None], outcome: Outcome | None, reason: str, asked: int
) -> None:
    with ModelServer("no blocks", faults=replies) as server:
        parent = node(trial, opened(server, trial))
        assert len(server.requests) == asked
    assert parent.outcome == outcome
    assert reason in parent.reason
    assert bool(solution(trial)) == (outcome is None)
    assert not (trial.base / "evil.py").exists()


def test_thoughts_are_kept_but_neither_read_nor_quoted(trial: Trial) -> None:
    thought = f"<think>{EDIT.replace('SEED = 1', 'SEED = 99')}</think>"
    with ModelServer([f"{thought}So be it.", f"{thought}\n{EDIT}"]) as server:
        assert node(trial, opened(server, trial)).outcome is None
        assert "So be it." in server.prompts[1] and "SEED = 99" not in server.prompts[1]
    assert "SEED = 99" not in solution(trial)["train.py"]
    kept = (trial.folder / "node_1/replies/turn_1.md").read_text(encoding="utf-8")
    assert kept.startswith("<think>")


@pytest.mark.parametrize(
    ("fault", "raised"), [(status(500), EndpointError), (too_long(), ContextTooLong)]
)
def test_what_the_endpoint_fails_at_leaves_the_node_unfinished(
    trial: Trial, fault: Fault, raised: type[SpeedrunError]
) -> None:
    with ModelServer(EDIT, fault_of=lambda *_: fault) as server, pytest.raises(raised):
        node(trial, opened(server, trial))
    assert not (trial.folder / "node_1" / "parent.json").exists()
    with ModelServer(EDIT) as mended:
        assert node(trial, opened(mended, trial)).outcome is None


def test_a_cap_leaves_the_node_unfinished_and_keeps_what_was_paid(trial: Trial) -> None:
    with ModelServer(["nonsense", EDIT]) as server:
        model = opened(server, trial)
        needed = _worst(trial, model)
        budget = {"trial": {"usd": needed * 1.01}}
        with pytest.raises(BudgetExceeded, match=r"budget\.trial\.usd"):
            node(trial, opened(server, trial, budget))
        assert len(server.requests) == 1
        budget = {"trial": {"usd": needed * 4}}  # as the line says
        assert node(trial, opened(server, trial, budget)).outcome is None
        assert len(server.requests) == 2
    assert [call.stored for call in calls(trial)] == [True, False]


def _worst(trial: Trial, model: Model) -> float:
    """Return the most that the first question can cost, in USD."""
    from speedrun.adapters.models import prices
    from speedrun.stages.generate import build_request

    prompt = build_request(trial.inputs(1)).prompt
    worst = prices.worst_tokens(model.spec, {"messages": [{"role": "user", "content": prompt}]})
    return prices.cost_usd(model.spec, worst) or 0.0


def test_a_preflights_question_is_another_one(trial: Trial) -> None:
    from speedrun.stages.generate import build_request

    request = build_request(trial.inputs(1))
    with ModelServer(EDIT) as server:
        coder = make_coder({"name": "direct"}, model=opened(server, trial))
        made = [coder(dataclasses.replace(request, purpose=p)) for p in ("node", "preflight")]
        assert [proposal.calls[0].purpose for proposal in made] == ["node", "preflight"]
        assert len(server.requests) == 2


def test_it_needs_a_model_and_takes_no_settings() -> None:
    with pytest.raises(SpeedrunError, match="coder direct asks a model"):
        make_coder({"name": "direct"})
    with pytest.raises(SpeedrunError, match="unknown key 'colour'"):
        make_coder({"name": "direct", "colour": 1}, model=object())  # type: ignore[arg-type]


def test_seeds_are_independent(trial: Trial) -> None:
    answers = iter(range(9))

    def reply(body: dict[str, Any]) -> Content:
        return EDIT.replace("SEED = 1\n", f"SEED = {next(answers)}\n")

    with ModelServer(reply) as server:
        coder = make_coder({"name": "direct"}, model=opened(server, trial))
        seeds = [dataclasses.replace(trial.inputs(1), seed=seed) for seed in (0, 1)]
        for number, inputs in enumerate(seeds):
            generate(inputs, coder, trial.base / f"out_{number}")
    made = [(trial.base / f"out_{n}/solution/train.py").read_text() for n in (0, 1)]
    assert made[0] != made[1]
