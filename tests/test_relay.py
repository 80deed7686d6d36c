"""The relay between an agent in its sandbox and the gateway outside."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

from speedrun.adapters.coders import relay


def test_the_relay_carries_a_large_answer_and_the_agents_exit_code(tmp_path: Path) -> None:
    path, size = tmp_path / "s", 3_000_000
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    threading.Thread(target=_answer_once, args=(listening, size), daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "import socket, sys\n"
        f"s = socket.create_connection(('127.0.0.1', {port})); s.sendall(b'hello')\n"
        "n = 0\n"
        "while chunk := s.recv(65536): n += len(chunk)\n"
        "print(n); sys.exit(7)\n"
    )
    words = [relay.__file__, str(path), str(port), sys.executable, "-c", code]
    ended = subprocess.run(
        [sys.executable, "-I", "-S", *words],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    listening.close()
    assert (ended.stdout, ended.returncode, ended.stderr) == (f"{size}\n", 7, "")


def _answer_once(listening: socket.socket, size: int) -> None:
    connection, _ = listening.accept()
    with connection:
        assert connection.recv(5) == b"hello"
        connection.sendall(bytes(size))
