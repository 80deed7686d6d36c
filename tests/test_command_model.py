"""command: an agent and the model that it asks, up to what its endpoint and its budget refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent_coders import ASK, model_at
from model_server import ModelServer, status, too_long
from scripted_agents import APPEND, Agents, agents_in
from speedrun.adapters.ledger import BudgetExceeded
from speedrun.adapters.models import EndpointError
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome
from trial_builder import START


@pytest.fixture
def agents(repository: Path, tmp_path: Path) -> Agents:
    return agents_in(tmp_path, repository)


def test_an_agent_asks_the_model_through_the_gateway(agents: Agents, tmp_path: Path) -> None:
    code = ASK + (
        "import re\n"
        "text = json.loads(say('how fast?')[1])['choices'][0]['message']['content']\n"
        "source = open('train.py').read()\n"
        "open('train.py', 'w').write(source.replace('LEARNING_RATE = 0.001', text))\n"
    )
    with ModelServer("LEARNING_RATE = 0.002") as server:
        model = model_at(server.url, tmp_path)
        first = agents.python(code, model=model)
        again = agents.python(code, model=model)
    assert first.files == again.files
    assert first.files is not None and "LEARNING_RATE = 0.002\n" in first.files["train.py"]
    assert server.prompts == ["how fast?"]  # what was paid for is not asked again
    assert [call.stored for call in [*first.calls, *again.calls]] == [False, True]
    assert (first.replies, first.reach) == (
        ["LEARNING_RATE = 0.002"],
        ["model m through the gateway"],
    )
    asked = json.loads((agents.place / "coder.requests.jsonl").read_text())
    assert asked["messages"] == [{"role": "user", "content": "how fast?"}]


@pytest.mark.skipif(not Path("/usr/bin/curl").exists(), reason="this machine has no curl")
def test_an_agent_may_use_curl(agents: Agents, tmp_path: Path) -> None:
    script = (
        'curl -s "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" '
        '-d \'{"messages": [{"role": "user", "content": "?"}]}\' > answer.json\n' + APPEND
    )
    with ModelServer("a thought") as server:
        proposal = agents.shell(script, model=model_at(server.url, tmp_path))
    assert proposal.files is not None
    assert json.loads(proposal.files["answer.json"])["choices"][0]["message"] == {
        "role": "assistant",
        "content": "a thought",
        "refusal": None,
    }


def test_a_model_that_declines_is_a_refusal(agents: Agents, tmp_path: Path) -> None:
    with ModelServer({"content": None, "refusal": "I will not."}) as server:
        model = model_at(server.url, tmp_path)
        proposal = agents.python(ASK + "say('?'); sys.exit(1)", model=model)
    assert (proposal.outcome, proposal.reason) == (Outcome.REFUSED, "the model declined")


def test_a_spent_budget_stops_the_agent_and_leaves_the_node_unfinished(
    agents: Agents, tmp_path: Path
) -> None:
    caps = {"trial": {"usd": None, "tokens": 5000, "device_hours": None}}
    code = ASK + "open('a.py', 'w')\nwhile True: say('x' * 9000)"
    with ModelServer("y" * 4000) as server, pytest.raises(BudgetExceeded):
        model = model_at(server.url, tmp_path, max_tokens=1000, operation={"budget": caps})
        agents.python(code, model=model, time_limit_s=60)
    assert len(server.requests) < 5


def test_an_endpoint_that_is_down_is_not_the_agents_fault(agents: Agents, tmp_path: Path) -> None:
    code = ASK + "open('a.py', 'w')\nwhile True: print(say('?'))"
    with ModelServer(faults=[None, status(500), status(500)]) as server:
        model = model_at(server.url, tmp_path)
        with pytest.raises(EndpointError, match="500"):
            agents.python(code, model=model, time_limit_s=60)
        assert len(server.requests) == 2


def test_the_limit_of_requests_is_the_agents_affair(agents: Agents, tmp_path: Path) -> None:
    code = ASK + "open('a.py', 'w')\nwhile True: print(say('?')[0], flush=True)"
    with ModelServer() as server:
        model = model_at(server.url, tmp_path)
        proposal = agents.python(code, model=model, max_requests=2, time_limit_s=60)
    assert proposal.files == {**START, "a.py": ""}
    assert (proposal.notes["ended"], len(proposal.calls)) == ("requests", 2)
    assert agents.printed[:3] == ["200", "200", "403"]


def test_a_question_that_the_endpoint_refuses_is_the_agents_fault_once_there_was_a_reply(
    agents: Agents, tmp_path: Path
) -> None:
    code = ASK + "print(say('?')[0]); print(*say('??')); open('a.py', 'w')"
    with ModelServer(faults=[None, status(422), status(400)]) as server:
        model = model_at(server.url, tmp_path)
        assert agents.python(code, model=model).files == {**START, "a.py": ""}
        assert agents.printed[0] == "200" and agents.printed[1].startswith("400 ")
        assert "scripted 422" in agents.printed[1]
        with pytest.raises(EndpointError, match="400"):
            agents.python(ASK + "say('a first question')", model=model)


def test_a_question_that_is_too_long_is_the_agents_affair(agents: Agents, tmp_path: Path) -> None:
    code = ASK + "print(*say('?')); print(say('shorter')[0]); open('a.py', 'w')"
    with ModelServer(faults=[too_long()]) as server:
        proposal = agents.python(code, model=model_at(server.url, tmp_path))
    assert proposal.files == {**START, "a.py": ""}
    assert "context_length_exceeded" in agents.printed[0] and agents.printed[1] == "200"


def test_an_agent_that_never_asks_its_model_is_an_error_of_the_users(
    agents: Agents, tmp_path: Path
) -> None:
    code = ASK + "print(ask({}, '/messages'))"
    with ModelServer() as server, pytest.raises(SpeedrunError, match=r"code 0 .*/v1/messages is n"):
        agents.python(code, model=model_at(server.url, tmp_path))
