"""An agent's YAML and what an arm sets of it: which values fit, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from speedrun.adapters import coder_options, hydra_config, sweep
from speedrun.files import SpeedrunError
from written_arms import arm, own_configuration, whole, wrong


@pytest.fixture(scope="module")
def own(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_configuration(repository, tmp_path_factory.mktemp("own"))


@pytest.mark.parametrize(
    ("coder", "expected"),
    [
        ("command", "arms.x.coder.command lists nothing: give the agent's command line"),
        ("{name: mini_swe_agent, max_requests: many}", "must be of the kind of 100, got 'many'"),
        ("{name: mini_swe_agent, max_requests: true}", "must be of the kind of 100, got True"),
        ("{name: mini_swe_agent, max_requests: null}", "must be of the kind of 100, got None"),
        ("{name: mini_swe_agent, command: agent}", "coder.command must be of the kind of ["),
    ],
)
def test_a_coders_values_are_of_their_kind(own: Path, coder: str, expected: str) -> None:
    assert expected in wrong(own, f"coder: {coder}, model: ollama")
    fits = "{name: mini_swe_agent, max_requests: 7, time_limit_s: 60.5}"
    assert arm(own, f"coder: {fits}, model: ollama")["coder"]["max_requests"] == 7


MINE = {"name": "mine", "kind": "command", "command": ["agent", "{files}"], "needs_model": False}


def mine(own: Path, words: str, over: str = "") -> str:
    """Return an arm's line for an agent of one's own: its YAML's words, and the arm's."""
    (own / "config/coder/mine.yaml").write_text(yaml.safe_dump(MINE | yaml.safe_load(words)))
    return f"coder: {{name: mine, {over}}}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("time_limit: 3", "unknown key 'time_limit' in config/coder/mine.yaml; nearest is 'time_l"),
        ("time_limit_s: soon", "arms.x.coder (config/coder/mine.yaml): time_limit_s: expected f"),
        ("time_limit_s: 0", "arms.x.coder.time_limit_s must be a number above 0, got 0"),
        ("max_requests: 2.5", "max_requests: expected int, got 2.5"),
        ("command: agent --go", "command: expected list, got 'agent --go'"),
        ("command: [agent, 3]", "command: expected str, got 3"),
        ("command: null", "arms.x.coder.command lists nothing"),
        (
            "command: [agent, '{promt_file}']",
            "'promt_file' in arms.x.coder (config/coder/mine",
        ),
        ("environment: {URL: '{baseurl}'}", "placeholder 'baseurl'"),
        ("environment: {LEVEL: 3}", "environment: expected str, got 3"),
        ("sandbox: docker", "unknown sandbox 'docker' in arms.x.coder; nearest is"),
        ("shown: tools", "shown: expected list, got 'tools'"),
        ("kind: comand", "unknown kind 'comand' in config/coder/mine.yaml; nearest is 'command'"),
    ],
)
def test_a_wrong_agent_is_one_line(own: Path, words: str, expected: str) -> None:
    assert expected in wrong(own, mine(own, words))


def test_an_arm_may_set_whatever_an_agent_has(own: Path) -> None:
    """Every key of command.yaml, though the agent's YAML has few; a default is no other agent."""
    plain = arm(own, mine(own, "time_limit_s: 600"))["coder"]
    assert plain == {key: MINE[key] for key in ("name", "kind", "command")} | {"time_limit_s": 600}
    template = hydra_config.option(own / "config", "coder", "command")
    for key in sorted(set(template) - {"name", "kind", "command", "needs_model", "time_limit_s"}):
        said = yaml.safe_dump({key: template[key]}, default_flow_style=True).strip()[1:-1]
        assert arm(own, mine(own, "time_limit_s: 600", said))["coder"] == plain
    shorter = arm(own, mine(own, "{}", "time_limit_s: 60, max_nodes: 1"))
    assert (shorter["coder"]["time_limit_s"], shorter["n_nodes"]) == (60, 1)
    assert "nearest is 'time_limit_s'" in wrong(own, mine(own, "{}", "time_limit: 60"))
    assert "must be of the kind of 100" in wrong(own, mine(own, "{}", "max_requests: many"))


def test_the_template_says_the_defaults(repository: Path) -> None:
    template = hydra_config.option(repository / "config", "coder", "command")
    assert template == coder_options.keys({"name": "command", "kind": "command"})


def test_every_shipped_agent_passes(repository: Path, own: Path) -> None:
    for name in hydra_config.options(repository / "config", "coder"):
        option = hydra_config.option(own / "config", "coder", name)
        if option.get("kind") == "command" and option["command"]:
            model = ", model: ollama" if option["needs_model"] else ""
            found = arm(own, f"coder: {name}{model}")["coder"]
            unsaid = {"needs_model", "max_nodes"}
            assert {**option, **found} == option and set(option) - set(found) == unsaid


def test_what_an_agent_is_built_from_must_be_there(own: Path) -> None:
    config = whole(own)
    config = {**config, "arms": {"x": arm(own, mine(own, "requirements: mine.txt"))}}
    missing = r"coder mine: requirements workflow/envs/coders/mine\.txt is missing: write it"
    with pytest.raises(SpeedrunError, match=missing):
        sweep.check_inputs(own, config)
    (own / "workflow/envs/coders").mkdir(parents=True)
    (own / "workflow/envs/coders/mine.txt").write_text("my-agent==1.0\n")
    sweep.check_inputs(own, config)
