"""What a script in bubblewrap cannot see: secrets, the user's files, other work, the harness."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from running import SOURCE, run_code
from speedrun import files
from train_bench import Bench

TASK = "results/tasks/nano/r01-r02"
NODE = "results/trials/nano/r01-r02/arm-0/s0"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A node of a project that has everything which must not be seen."""
    monkeypatch.chdir(tmp_path)
    for name in (
        f"{TASK}/private/target/train.py",
        f"{NODE}/node_1/solution/train.py",
        "results/corpus/nano/documents.jsonl",
        "results/shards/nano/private/holdout.bin",
        ".env",
    ):
        files.write_text(tmp_path / name, "hunter2")
    folder = tmp_path / NODE / "node_0"
    folder.mkdir(parents=True)
    return Bench(folder)


def test_nothing_of_the_project_is_there(project: Bench, tmp_path: Path) -> None:
    paths = [str(path) for path in sorted(tmp_path.rglob("*"))]
    paths += [str(tmp_path), str(SOURCE), str(SOURCE.parent / "tests"), str(Path.home() / ".ssh")]
    code = f"import json, os\nprint(json.dumps([p for p in {paths!r} if os.path.lexists(p)]))"
    assert project.train(code).exit_code == 0
    assert json.loads(project.lines()[0]) == []


def test_nothing_tells_who_lives_here_or_which_run_this_is(project: Bench) -> None:
    """Files of users, mounts and the sandbox's own command line: a run's folder has no meaning."""
    code = (
        "import getpass, json, pwd\n"
        "text = ''.join(open(f'/proc/{p}').read() for p in ('1/cmdline', 'self/mountinfo'))\n"
        "print(json.dumps([getpass.getuser(), len(pwd.getpwall()), text]))"
    )
    ended = project.train(code)
    user, users, text = json.loads(project.lines()[0])
    assert (ended.exit_code, user, users) == (0, "nobody", 2)
    assert str(project.folder) not in text and project.folder.name not in text
    digests = [files.digest_text(str(path))[:16] for path in (project.folder, project.out)]
    assert not any(digest in text for digest in digests)


def test_the_roots_folders_are_few_and_lead_to_the_interpreter_alone(project: Bench) -> None:
    code = (
        "import json, os\n"
        "print(json.dumps({p: sorted(os.listdir(p)) for p in ['/', *PATHS] if os.path.isdir(p)}))"
    )
    home, here = str(Path.home()), str(Path.cwd())
    roots = {Path(sys.prefix), Path(sys.base_prefix)}
    roots |= {root.resolve() for root in roots}
    above = sorted({str(up) for root in roots for up in root.parents} - {"/"})
    paths = [*above, home, here, "/home", "/var", "/mnt", "/srv", "/opt", "/run"]
    assert project.train(f"PATHS = {paths!r}\n{code}").exit_code == 0
    seen = json.loads(project.lines()[0])
    system = {"bin", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "sys", "tmp", "usr"}
    first = {root.parts[1] for root in roots}
    assert set(seen.pop("/")) <= system | first | {"work", "workspace", "candidate"}
    for folder, names in seen.items():
        leads = {root.relative_to(folder).parts[0] for root in roots if root.is_relative_to(folder)}
        assert set(names) <= leads | {"bin", "lib", "lib64"}, folder  # of the last: links' folders


def test_no_secret_is_in_any_environment(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "hunter2")
    code = (
        "import glob\n"
        "for path in glob.glob('/proc/*/environ') + glob.glob('/proc/*/cmdline'):\n"
        "    try: content = open(path, 'rb').read()\n"
        "    except OSError: continue\n"
        "    print('hunter2' in content.decode('utf-8', 'replace'))\n"
    )
    project.train(code)
    assert set(project.lines()) == {"False"}


def test_the_harness_is_no_process_of_the_sandbox(tmp_path: Path) -> None:
    """Not by its number, not by the ways from one's own process to its parents."""
    code = (
        "import ctypes, os\n"
        f"harness = {os.getpid()}\n"
        "print(os.path.exists(f'/proc/{harness}'), os.getppid() < 3)\n"
        "for signal in (0, 9):\n"
        "    try: os.kill(harness, signal); print('reached')\n"
        "    except ProcessLookupError: print('no such process')\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.ptrace(16, harness, 0, 0))\n"  # PTRACE_ATTACH
        "for door in ('root', 'cwd/../..'):\n"
        "    path = f'/proc/1/{door}/etc/shadow'\n"
        "    try: open(path); print('read', path)\n"
        "    except OSError: print('nothing')\n"
    )
    _, lines = run_code(tmp_path, code)
    said = [line.line for line in lines]
    assert said == ["False True", *["no such process"] * 2, "-1", "nothing", "nothing"]


def test_no_descriptor_of_ours_is_inherited(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    with secret.open() as kept:
        os.set_inheritable(kept.fileno(), True)
        code = (
            "import os\n"
            "for n in range(3, 200):\n"
            "    try: print(os.readlink(f'/proc/self/fd/{n}'))\n"
            "    except OSError: pass"
        )
        _, lines = run_code(tmp_path, code)
    assert [line.line for line in lines] == []


def test_no_socket_of_this_machine_is_reached(tmp_path: Path) -> None:
    """Of the host's network, its abstract names and its services' files."""
    name = f"\0speedrun-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server, socket.create_server(("", 0)) as other:
        server.bind(name)
        server.listen()
        code = (
            "import os, socket\n"
            f"unix, port = {name!r}, {other.getsockname()[1]}\n"
            "def attempt(family, address):\n"
            "    try:\n"
            "        with socket.socket(family) as s: s.settimeout(2); s.connect(address)\n"
            "        print('reached', address)\n"
            "    except OSError as error: print(type(error).__name__)\n"
            "attempt(socket.AF_UNIX, unix)\n"
            "attempt(socket.AF_INET, ('127.0.0.1', port))\n"
            "attempt(socket.AF_INET, ('192.0.2.1', 80))\n"
            "try: socket.getaddrinfo('example.org', 443); print('resolved')\n"
            "except OSError: print('no name')\n"
            "print([p for p in ('/run', '/var/run') if os.path.exists(p)])\n"
        )
        _, lines = run_code(tmp_path, code)
    said = [line.line for line in lines]
    assert said == ["ConnectionRefusedError"] * 2 + ["OSError", "no name", "[]"]
