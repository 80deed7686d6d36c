"""command: what of an agent's run is an answer, its own fault or the user's; scripts are agents."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_coders import ASK, model_at, shipped
from model_server import ModelServer
from scripted_agents import APPEND, CHANGED, Agents, agents_in
from speedrun import files
from speedrun.adapters.coders import make_coder, prompt_style
from speedrun.adapters.coders.command import PLACEHOLDERS
from speedrun.adapters.coders.ending import Ending
from speedrun.files import SpeedrunError
from speedrun.schema import Outcome
from trial_builder import START


@pytest.fixture
def agents(repository: Path, tmp_path: Path) -> Agents:
    return agents_in(tmp_path, repository)


def test_a_shell_script_is_an_agent(agents: Agents) -> None:
    agents.request = dataclasses.replace(agents.request, prompt="Do it.\n")
    proposal = agents(
        "bash", "-c", f'cat "$1"; echo "$@"; {APPEND}', "agent", "{prompt_file}", "{files}",
        "{workspace}/{entry}", "{model}", "{time_limit_s}", "${home}", '{"a": 1}', time_limit_s=9,
    )  # fmt: skip
    assert (proposal.files, proposal.outcome, proposal.reach) == (CHANGED, None, [])
    prompt, words = agents.printed
    inside = words.split()[0].removesuffix("/prompt.md")
    assert prompt == "Do it."
    assert words == (
        f'{inside}/prompt.md train.py {inside}/workspace/train.py none 9 ${{home}} {{"a": 1}}'
    )
    assert proposal.prompt == "Do it.\n"
    assert proposal.notes == {
        "agent": "command",
        "ended": "exited",
        "exit_code": 0,
        "requests": 0,
        "unserved_requests": 0,
        "unchanged": False,
        "sandbox": "bubblewrap",
        "installed": "",
    }


def test_unchanged_files_are_an_answer_of_an_agent_that_ended_well(agents: Agents) -> None:
    proposal = agents.shell("true")
    assert (proposal.files, proposal.notes["unchanged"]) == (START, True)


def test_an_agent_that_fails_without_a_change_is_a_candidate_error(
    agents: Agents, tmp_path: Path
) -> None:
    with ModelServer("no idea") as server:
        model = model_at(server.url, tmp_path)
        failed = agents.python(ASK + "say('?'); sys.exit(3)", model=model)
        changed = agents.python(ASK + "say('?'); open('a.py', 'w'); sys.exit(3)", model=model)
    assert (failed.outcome, failed.files) == (Outcome.CANDIDATE_ERROR, None)
    assert failed.reason == "the agent ended with code 3 and had changed nothing"
    assert len(failed.calls) == 1
    assert changed.files == {**START, "a.py": ""}


def test_the_time_limit_stops_an_agent_and_its_work_counts(agents: Agents) -> None:
    proposal = agents.shell(f"{APPEND}; sleep 60", time_limit_s=0.6)
    assert (proposal.files, proposal.notes["ended"]) == (CHANGED, "timeout")
    idle = agents.shell("sleep 60", time_limit_s=0.6)
    assert idle.outcome is Outcome.CANDIDATE_ERROR
    assert idle.reason == "the agent reached its time limit and had changed nothing"


ENDINGS = st.builds(
    Ending,
    reason=st.sampled_from(["exited", "timeout", "requests", "oom", "disk_flood"]),
    exit_code=st.sampled_from([None, 0, 1, 127]),
    changed=st.booleans(),
    asked=st.integers(0, 2),
    refused=st.booleans(),
    has_model=st.booleans(),
)


@given(end=ENDINGS)
def test_every_ending_is_an_answer_or_has_a_reason(end: Ending) -> None:
    outcome, reason = end.verdict()
    assert (outcome is None) == (reason == "")
    counts = end.reason in ("exited", "timeout", "requests")
    if end.changed:
        assert (outcome is None) == counts and end.began
    if outcome is Outcome.REFUSED:
        assert end.refused and not end.changed
    if not end.began:
        assert end.reason == "exited" and end.asked == 0 and not end.changed


def test_a_command_that_cannot_be_started_is_an_error_of_the_users(agents: Agents) -> None:
    with pytest.raises(SpeedrunError, match=r"code 127 .*no-such-agent.* correct config/coder"):
        agents("no-such-agent")
    with pytest.raises(SpeedrunError, match="ended with code 1 before it did anything"):
        agents.python("import nothing_of_the_kind")


def test_wrong_settings_are_named(agents: Agents, repository: Path) -> None:
    with pytest.raises(SpeedrunError, match=r"no placeholder \{promt\}; there are files, prompt"):
        agents("cat", "{promt}")
    with pytest.raises(SpeedrunError, match="command is empty"):
        agents()
    with pytest.raises(SpeedrunError, match="sandbox 'docker' is unknown: choose bubblewrap or no"):
        agents("true", sandbox="docker")
    with pytest.raises(
        SpeedrunError, match=r"config/coder/command\.yaml: .*unknown key 'timelimit'"
    ):
        make_coder({**shipped(repository, "command"), "timelimit": 1})
    for folder in ("relative", "/no/such/folder", "/", str(Path.home()), str(repository)):
        with pytest.raises(SpeedrunError, match="shown: "):
            agents("true", shown=[folder])


@pytest.mark.slow
def test_an_agent_has_the_environment_that_its_requirements_make(
    agents: Agents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = tmp_path / "workflow" / "envs" / "coders"
    wanted.mkdir(parents=True)
    (wanted / "mine.txt").write_text("# nothing but Python\n")
    (wanted / "broken.txt").write_text("./no-such-wheel-1.0-py3-none-any.whl\n")
    monkeypatch.chdir(tmp_path)
    code = "import sys; print(sys.prefix); import pytest"
    with pytest.raises(SpeedrunError, match="No module named 'pytest'"):
        agents.python(code, requirements="mine.txt", installed_from=tmp_path)
    made = tmp_path / "results" / "envs" / "coders" / "mine"
    assert agents.printed[0] == str(made)
    for name in ("seen", "unseen"):
        (packages,) = made.glob("lib/python3*/site-packages")
        files.write_text(packages / name / "held_out.py", "")
    code = "import seen.held_out, unseen; open('a.py', 'w'); import unseen.held_out"
    hidden = {"requirements": "mine.txt", "hidden": ["unseen"], "installed_from": tmp_path}
    assert agents.python(code, **hidden).files == {**START, "a.py": ""}
    assert agents.printed[-1] == "ModuleNotFoundError: No module named 'unseen.held_out'"
    command = r"speedrun environment --era broken .* --out results/envs/coders/broken$"
    with pytest.raises(SpeedrunError, match=rf"run this where the .* can be reached: {command}"):
        agents.python(code, requirements="broken.txt", installed_from=tmp_path)


def test_every_placeholder_that_a_plan_lets_through_is_filled(agents: Agents) -> None:
    words = [f"{{{name}}}" for name in PLACEHOLDERS]
    agents("bash", "-c", f'echo "$@"; {APPEND}', "agent", *words)
    (said,) = agents.printed
    assert "{" not in said and len(said.split()) == len(PLACEHOLDERS)


def test_every_preset_is_a_coder_that_is_asked_to_edit_files(repository: Path) -> None:
    names = [path.stem for path in (repository / "config" / "coder").glob("*.yaml")]
    presets = [shipped(repository, name) for name in names]
    commands = [one for one in presets if one.get("kind") == "command" and one["command"]]
    assert {"aider", "mini_swe_agent", "gptme"} <= {one["name"] for one in commands}
    for one in commands:
        assert make_coder({**one, "shown": []}) and prompt_style(one) == "files"
        requirements = repository / "workflow" / "envs" / "coders" / str(one["requirements"])
        assert not one["requirements"] or requirements.is_file()
    assert prompt_style(shipped(repository, "null")) == "reply"
