"""Whole trials of M = 20 through the workflow: five scaffolds, a model on a loopback server.

The trainer is simulated, so that outcomes are varied, free and the same everywhere.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_server import Content, ModelServer
from speedrun import schema, search
from speedrun.schema import Analysis, Call, Outcome, Parent
from speedrun.search import Seen
from workflow_runs import REPOSITORY, run, stable_files

pytestmark = [pytest.mark.dag, pytest.mark.slow]

M = 20
SCAFFOLDS = ("flat", "tree", "forest", "aide", "multi_aide")
TASK = "r01-r02"
ALONE = ["~arms.oracle", "~arms.null", "~arms.tuner", f"tasks=[{TASK}]"]
SIMULATED = "hardware.trainer=simulated"
UNREADABLE, REFUSED = 7, 11  # of so many requests one is answered like that


class Author:
    """A model that adds another comment to its parent each time, now and then nonsense."""

    def __init__(self) -> None:
        self._numbers, self._lock = itertools.count(1), threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Content:
        with self._lock:
            number = next(self._numbers)
        if number % REFUSED == 0:
            return {"content": None, "refusal": "I will not."}
        if number % UNREADABLE == 0:
            return "Let me think about it."
        return edit(f"reply {number}")


def edit(comment: str) -> str:
    anchor = "import numpy as np"
    changed = f"{anchor}\n=======\n{anchor}\n# {comment}"
    return f"A comment.\n### EDIT: train.py\n<<<<<<< SEARCH\n{changed}\n>>>>>>> REPLACE\n"


def arm(scaffold: str, n_nodes: int = M) -> str:
    """Return the override that adds the arm of a scaffold."""
    own = f"{{name: {scaffold}, n_nodes: {n_nodes}}}"
    return f"+arms.{scaffold}={{coder: direct, model: vllm, scaffold: {own}}}"


def at(server: ModelServer) -> str:
    return f"+models.vllm.base_url={server.url}"


def succeed(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@dataclass(frozen=True)
class Finished:
    """The five trials on disk, and what was asked for them."""

    folder: Path
    server: ModelServer
    overrides: list[str]

    def trial(self, scaffold: str) -> Path:
        [found] = self.folder.glob(f"results/trials/nano/{TASK}/{scaffold}-*/s0")
        return found

    def calls(self, scaffold: str) -> list[list[Call]]:
        """Return the calls of each node, in node order."""
        nodes = [self.trial(scaffold) / f"node_{node}" for node in range(1, M + 1)]
        return [_calls(node / "calls.jsonl") for node in nodes]


def _calls(path: Path) -> list[Call]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [schema.from_dict(Call, json.loads(line)) for line in lines]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("scaffolds")
    with ModelServer(Author()) as server:
        overrides = [*ALONE, SIMULATED, *map(arm, SCAFFOLDS), at(server)]
        succeed(run(folder, "-c2", "trials", overrides=overrides, timeout_s=580))
        yield Finished(folder, server, overrides)


def seen(folder: Path) -> Seen:
    """Return what the policy may know of a node, read from its files alone."""
    parent = schema.load(Parent, folder / "parent.json")
    end = schema.load(Analysis, folder / "analysis.json")
    has_code = any((folder / "solution").iterdir())
    return Seen(parent.node, parent.parent, end.outcome, end.time_s, end.val_loss, has_code)


def root(finished: Finished) -> Seen:
    [path] = finished.folder.glob("results/references/nano/cpu/r01/*/run_0/analysis.json")
    end = schema.load(Analysis, path)
    return Seen(search.ROOT, search.ROOT, end.outcome, end.time_s, end.val_loss)


@pytest.mark.parametrize("scaffold", SCAFFOLDS)
def test_the_tree_is_the_one_that_the_policy_grows(finished: Finished, scaffold: str) -> None:
    """Each choice is made again from the analyses of the earlier generations alone."""
    trial = finished.trial(scaffold)
    values = (REPOSITORY / "config/scaffold" / f"{scaffold}.yaml").read_text(encoding="utf-8")
    policy = search.scaffold(yaml.safe_load(values))
    name = f"nano/{TASK}/{trial.parent.name}/s0"
    for node in range(1, M + 1):
        earlier = search.earlier_nodes(policy, node)
        known = [root(finished), *(seen(trial / f"node_{other}") for other in earlier)]
        choice = search.choose_parent(policy, known, node, name)
        parent = schema.load(Parent, trial / f"node_{node}/parent.json")
        made = (parent.parent, parent.action, parent.generation, parent.why)
        assert made == (choice.parent, choice.action, choice.generation, choice.why)


@pytest.mark.parametrize("scaffold", SCAFFOLDS)
def test_the_budget_is_spent_exactly(finished: Finished, scaffold: str) -> None:
    trial = finished.trial(scaffold)
    numbers = sorted(int(path.name.removeprefix("node_")) for path in trial.glob("node_*"))
    assert numbers == list(range(1, M + 1))
    for number in numbers:
        assert (trial / f"node_{number}/analysis.json").is_file()


@pytest.mark.parametrize("scaffold", SCAFFOLDS)
def test_a_node_is_its_parents_code_with_one_edit(finished: Finished, scaffold: str) -> None:
    trial = finished.trial(scaffold)
    start = (REPOSITORY / "tracks/nano/records/r01/train.py").read_text(encoding="utf-8")
    for node in range(1, M + 1):
        parent = schema.load(Parent, trial / f"node_{node}/parent.json")
        if parent.outcome is not None:
            continue
        base = trial / f"node_{parent.parent}/solution/train.py"
        before = base.read_text(encoding="utf-8") if parent.parent else start
        after = (trial / f"node_{node}/solution/train.py").read_text(encoding="utf-8")
        [added] = set(after.splitlines()) - set(before.splitlines())
        assert added.startswith("# reply ")
        assert after == before.replace("import numpy as np", f"import numpy as np\n{added}", 1)


def test_what_can_happen_to_a_node_did_happen(finished: Finished) -> None:
    """Else the trees above would say little: improvements, debugging, nonsense and refusals."""
    nodes = [node for scaffold in SCAFFOLDS for node in finished.trial(scaffold).glob("node_*")]
    outcomes = {schema.load(Analysis, node / "analysis.json").outcome for node in nodes}
    assert outcomes >= {Outcome.OK, Outcome.MISSED_TARGET, Outcome.REFUSED}
    parents = [schema.load(Parent, node / "parent.json") for node in nodes]
    assert {parent.action for parent in parents} == {"draft", "improve", "debug"}
    assert any(len(calls) == 2 for calls in finished.calls("flat"))


def test_every_request_is_a_call_of_one_node(finished: Finished) -> None:
    every = [call for name in SCAFFOLDS for calls in finished.calls(name) for call in calls]
    assert len(every) == len(finished.server.requests)
    assert not any(call.stored for call in every)
    for name in SCAFFOLDS:
        for calls in finished.calls(name):
            assert [call.turn for call in calls] == list(range(len(calls))) and calls


def test_a_deleted_trial_is_made_again_without_a_question(finished: Finished) -> None:
    asked, trial = len(finished.server.requests), finished.trial("aide")
    before, again = stable_files(finished.folder), finished.calls("aide")
    shutil.rmtree(trial)
    succeed(run(finished.folder, "-c2", "trials", overrides=finished.overrides))
    assert len(finished.server.requests) == asked
    stored = [call for calls in finished.calls("aide") for call in calls]
    assert all(call.stored for call in stored)
    assert len(stored) == sum(map(len, again))
    after = stable_files(finished.folder)
    differ = {path for path in before if after.get(path) != before[path]}
    assert after.keys() == before.keys()
    assert {Path(path).name for path in differ} == {"calls.jsonl"}  # they say that it was stored


def test_jobs_that_wait_for_a_model_hold_no_core(tmp_path: Path) -> None:
    """On one core all questions of a generation are under way together."""
    together = threading.Barrier(8, timeout=120)  # more than a core and Snakemake's five places

    def reply(body: dict[str, Any]) -> str:
        together.wait()
        return edit("together")

    with ModelServer(reply) as server:
        overrides = [*ALONE, SIMULATED, arm("flat", 8), at(server)]
        succeed(run(tmp_path, "-c1", "trials", overrides=overrides))
    assert (len(server.requests), server.busiest) == (8, 8)
