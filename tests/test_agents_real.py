"""The presets that are called verified, each run for real: its own environment, in the sandbox.

A model server gives the replies that a language model would give in the agent's own format; what
the agent makes of them is trained and judged as any node's code. The environments are built on
first use into results/envs/coders, which takes some ten seconds each and needs the package index.
Agents of npm are run where they are installed (docs/agents.md says how).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_coders import model_at, shipped
from model_server import ModelServer
from speedrun import files, schema, specs
from speedrun.adapters.coders import make_coder, prompt_style
from speedrun.schema import Analysis, Outcome, Parent, TaskFacts, TrackSpec, TrainSpec
from speedrun.search import Scaffold
from speedrun.stages import analyze, generate, train

pytestmark = pytest.mark.slow
TARGET_LOSS = 3.25
FACTS = TaskFacts(
    "nano", "r01-r02", "r01", "r02", "train.py", TARGET_LOSS, "One core.", "- Be honest.\n"
)


def blocks(before: str, after: str) -> str:
    """The change as aider's SEARCH/REPLACE blocks."""
    old, new = before.splitlines(), after.splitlines()
    parts = ["I use Adam."]
    for group in difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(2):
        (_, i, _, k, _), (_, _, j, _, m) = group[0], group[-1]
        search, replace = "\n".join(old[i:j]), "\n".join(new[k:m])
        block = f"<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE"
        parts.append(f"train.py\n```python\n{block}\n```")
    return "\n\n".join(parts) + "\n"


def tool_call(tool: str, **arguments: Any) -> dict[str, Any]:
    """A message that calls one of an agent's tools."""
    function = {"name": tool, "arguments": json.dumps(arguments)}
    call = {"id": "1", "type": "function", "function": function}
    return {"content": "I do it.", "tool_calls": [call]}


def write(after: str) -> str:
    """The shell command that writes a solution, and checks it as far as it can."""
    return f"cat <<'END' > train.py\n{after}END\npython3 -m py_compile train.py && echo compiles"


def aider(before: str, after: str) -> list[Any]:
    return [blocks(before, after)]


def mini_swe_agent(before: str, after: str) -> list[Any]:
    submit = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
    return [tool_call("bash", command=write(after)), tool_call("bash", command=submit)]


def gptme(before: str, after: str) -> list[Any]:
    return [f"I use Adam.\n```save train.py\n{after}```\n", "Done.\n```complete\n```\n"]


def shell_tool(tool: str, key: str, **more: Any) -> Callable[[str, str], list[Any]]:
    """The conversation with an agent whose shell tool takes the command as ``key``."""
    return lambda before, after: [tool_call(tool, **{key: write(after)}, **more), "Done."]


AGENTS: dict[str, Callable[[str, str], list[Any]]] = {
    "aider": aider,
    "mini_swe_agent": mini_swe_agent,
    "gptme": gptme,
    "opencode": shell_tool("bash", "command", description="write"),
    "qwen_code": shell_tool("run_shell_command", "command", description="w", is_background=False),
    "claude_code": shell_tool("Bash", "command", description="write"),
    "codex": shell_tool("exec_command", "cmd"),
    "gemini_cli": shell_tool("run_shell_command", "command", description="write"),
}


@pytest.mark.parametrize("name", list(AGENTS))
def test_an_agent_solves_a_task(
    name: str,
    tmp_path: Path,
    repository: Path,
    nano_shards: Path,
    nano_config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(repository)
    coder = shipped(repository, name)
    if not all(Path(folder).is_dir() for folder in coder["shown"]):
        pytest.skip(f"not installed: {coder['install']}")
    shards = nano_shards / "shards" / "nano"
    before, after = (
        (repository / f"tracks/nano/records/{record}/train.py").read_text()
        for record in ("r01", "r02")
    )
    root = run_node(tmp_path / "root", {"train.py": before}, shards, nano_config)
    with ModelServer(AGENTS[name](before, after)) as server:
        node = make_node(tmp_path, coder, server.url, before, root)
    parent = schema.load(Parent, node / "parent.json")
    assert (parent.outcome, parent.reason, parent.notes["ended"]) == (None, "", "exited")
    assert bool(parent.notes["installed"]) == bool(coder["requirements"])
    assert (node / "solution" / "train.py").read_text() == after
    assert [path.name for path in (node / "solution").iterdir()] == ["train.py"]
    assert "Stop when the change is complete" in json.dumps(server.requests[0].body)
    found = run_node(node, None, shards, nano_config)
    assert found.outcome is Outcome.OK and found.val_loss is not None and found.time_s is not None
    assert root.time_s is not None and found.time_s < root.time_s


def make_node(folder: Path, coder: dict[str, Any], url: str, start: str, root: Analysis) -> Path:
    """Ask the agent for the first node of a trial."""
    files.write_tree(folder / "public" / "start", {"train.py": start})
    schema.save(folder / "public" / "task.json", FACTS)
    schema.save(folder / "root.json", root)
    inputs = generate.NodeInputs(
        public=folder / "public",
        trial=folder / "trials" / "nano" / "r01-r02" / "agent-1a2b3c4d" / "s0",
        node=1,
        scaffold=Scaffold("flat", None),
        root_analysis=folder / "root.json",
        seed=0,
        style=prompt_style(coder),
    )
    node = inputs.trial / "node_1"
    made = make_coder(coder, model=model_at(url, folder), place=node)
    generate.generate(inputs, made, node)
    return node


def run_node(
    node: Path, solution: dict[str, str] | None, shards: Path, config: dict[str, Any]
) -> Analysis:
    """Train and analyze a node as the workflow does."""
    if solution is not None:
        files.write_tree(node / "solution", solution)
    probes = shards / "private" / "probes" / "set_00"
    track = schema.from_dict(TrackSpec, specs.track(config))
    train.train(
        solution=node / "solution",
        entry="train.py",
        data=shards / "public",
        probes=probes / "contexts.npy",
        out=node / "run",
        spec=schema.from_dict(TrainSpec, specs.train(config)),
        seed=1,
    )
    return analyze.analyze(node / "run", track, probes / "targets.npy")
