"""What a script in bubblewrap cannot do: rights, links, devices, namespaces, kernel settings."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from running import make_spec, run_code, text_of
from speedrun.runner import sandbox
from train_bench import Bench

TRY = """
import ctypes, os, stat, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, act):
    try:
        result = act()
    except OSError:
        return
    if result is None or (isinstance(result, int) and result >= 0):
        print("DONE", name)
def syscall(*given):
    return libc.syscall(*given)
"""


def attempts(folder: Path, code: str) -> list[str]:
    """Return what was said; only an attempt that succeeded says anything."""
    ended, lines = run_code(folder, f"{TRY}\n{code}\nprint('end')")
    assert (ended.reason, ended.exit_code) == ("exited", 0), text_of(lines)
    return text_of(lines)[:-1]


def test_no_rights_and_no_way_to_more(tmp_path: Path) -> None:
    code = (
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(*(status[name].strip() for name in ('NoNewPrivs', 'CapEff', 'CapPrm', 'CapBnd')))\n"
        "attempt('setuid', lambda: os.setuid(0))\n"
        "attempt('setgid', lambda: os.setgid(0))\n"
        "attempt('setgroups', lambda: os.setgroups([0]))\n"
        "attempt('chroot', lambda: os.chroot('.'))\n"
        "attempt('nice', lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))\n"
        "open('tool', 'wb').write(open('/usr/bin/id', 'rb').read()); os.chmod('tool', 0o4755)\n"
        "print(subprocess.run(['./tool', '-u'], capture_output=True, text=True).stdout.strip())\n"
    )
    empty = "0" * 16
    assert attempts(tmp_path, code) == [f"1 {empty} {empty} {empty}", sandbox.NOBODY]


def test_no_devices_mounts_or_namespaces(tmp_path: Path) -> None:
    code = (
        "attempt('disk', lambda: os.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(8, 0)))\n"
        "attempt('mem', lambda: os.mknod('mem', stat.S_IFCHR | 0o600, os.makedev(1, 1)))\n"
        "attempt('mount', lambda: libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))\n"
        "attempt('remount', lambda: libc.mount(None, b'/', None, 32 | 4096, None))\n"
        "attempt('umount', lambda: libc.umount2(b'/usr', 2))\n"
        "for name, flag in dict(user=0x10000000, mount=0x20000, pid=0x20000000, net=0x40000000,\n"
        "                       ipc=0x08000000, uts=0x04000000, cgroup=0x02000000).items():\n"
        "    if os.fork() == 0:\n"
        "        attempt(name, lambda: libc.unshare(flag)); sys.stdout.flush(); os._exit(0)\n"
        "    os.wait()\n"
        "for name in ('cgroup', 'ipc', 'mnt', 'net', 'pid', 'uts'):\n"
        "    attempt(f'setns {name}', lambda: libc.setns(os.open(f'/proc/1/ns/{name}', 0), 0))\n"
        "print(sorted(os.listdir('/dev')))\n"
    )
    said = attempts(tmp_path, code)
    if not sandbox.no_namespaces_inside(sandbox.find_bwrap()):
        said = [line for line in said if line != "DONE user"]
    devices = {"console", "core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr",
               "stdin", "stdout", "tty", "urandom", "zero"}  # fmt: skip
    assert len(said) == 1, said
    assert set(eval(said[0])) <= devices


def test_no_kernel_settings(tmp_path: Path) -> None:
    """Nothing below /proc and /sys can be written to but what is of one's own process."""
    code = (
        "for top in ('/proc', '/sys'):\n"
        "    for base, folders, names in os.walk(top):\n"
        "        if base == '/proc':\n"
        "            own = [name for name in folders if name.isdigit() or 'self' in name]\n"
        "            folders[:] = set(folders) - set(own)\n"
        "        for name in names:\n"
        "            path = f'{base}/{name}'\n"
        "            try: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))\n"
        "            except OSError: continue\n"
        "            print(path)\n"
    )
    assert attempts(tmp_path, code) == []


def test_what_is_bound_cannot_be_linked_renamed_or_written(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    before = {path: path.read_bytes() for path in bench.data.iterdir()}
    code = (
        f"{TRY}\n"
        "data = 'data/train_000000.bin'\n"
        "attempt('hard link', lambda: os.link(data, 'own'))\n"
        "attempt('link of the system', lambda: os.link('/usr/bin/env', 'env'))\n"
        "attempt('rename', lambda: os.rename(data, 'own'))\n"
        "attempt('remove', lambda: os.remove(data))\n"
        "attempt('chmod', lambda: os.chmod(data, 0o777))\n"
        "attempt('truncate', lambda: os.truncate(data, 0))\n"
        "attempt('time', lambda: os.utime(data))\n"
        "attempt('exchange', lambda: os.rename('data', 'elsewhere'))\n"
        "attempt('descriptor', lambda: os.open(f'/proc/self/fd/{os.open(data, 0)}', os.O_RDWR))\n"
        "attempt('umount', lambda: libc.umount2(b'data', 2))\n"
        "attempt('note', lambda: os.setxattr(data, 'user.note', b'for the next'))\n"
        "os.symlink('/etc/shadow', 'shadow'); attempt('shadow', lambda: open('shadow').close())\n"
        "os.symlink('../../../../..', 'up')\n"
        f"attempt('up', lambda: os.listdir('up' + {str(tmp_path)!r}) and None)\n"
    )
    ended = bench.train(code)
    assert (ended.exit_code, bench.lines()) == (0, [])
    assert {path: path.read_bytes() for path in bench.data.iterdir()} == before


def test_signals_to_everybody_reach_nobody_else(tmp_path: Path) -> None:
    code = (
        "import os, subprocess\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "os.kill(-1, 9); child.wait()\n"
        "print('alive')"
    )
    ended, lines = run_code(tmp_path, code)
    assert text_of(lines) == ["alive"]  # kill(-1) spares its caller
    assert (ended.reason, ended.exit_code) == ("exited", 0)


def test_killing_the_sandboxs_own_first_process_ends_only_the_run(tmp_path: Path) -> None:
    code = (
        "import os, time\nfor number in (9, 19, 15): os.kill(1, number)\ntime.sleep(0.2)\nprint(1)"
    )
    ended, lines = run_code(tmp_path, code)
    assert (ended.reason, ended.exit_code, text_of(lines)) == ("exited", 0, ["1"])


def test_a_ptraced_first_process_changes_no_verdict(tmp_path: Path) -> None:
    """It is of the same user: whoever holds it can but keep its own run from ending."""
    code = f"{TRY}\nlibc.ptrace(16, 1, 0, 0); libc.ptrace(7, 1, 0, 0)\nraise SystemExit(3)"
    ended, _ = run_code(tmp_path, code, make_spec(timeout_s=1.0))
    assert (ended.reason, ended.exit_code) in (("timeout", None), ("exited", 3))


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="Linux alone")
def test_its_own_network_leads_nowhere(tmp_path: Path) -> None:
    code = (
        "import socket\n"
        "attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) and None)\n"
        "attempt('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3) and None)\n"
        "attempt('up', lambda: subprocess.run(['ip', 'link', 'add', 'x', 'type', 'dummy'],\n"
        "    capture_output=True).returncode * -1)\n"
    )
    assert attempts(tmp_path, code) == []


def test_the_score_of_the_out_of_memory_killer_stays(tmp_path: Path) -> None:
    code = (
        "attempt('score', lambda: open('/proc/self/oom_score_adj', 'w').write('-1000'))\n"
        "print(int(open('/proc/self/oom_score_adj').read()) >= 0)\n"
    )
    assert attempts(tmp_path, code)[-1] == "True"
