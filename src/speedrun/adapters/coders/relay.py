"""Runs inside the sandbox: leads 127.0.0.1:PORT to the harness's socket, and starts the agent.

The sandbox has no network but its own loopback, and agents want a base URL. Standard library
alone and nothing of ours: the agent's own interpreter runs it. ``relay.py SOCKET PORT WORD...``;
it ends with the agent's exit code, 128 + n for signal n, 127 where the agent cannot be started.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence

CHUNK_BYTES = 65536
NOT_STARTED = 127  # as a shell says it


async def main(socket: str, port: int, words: Sequence[str]) -> int:
    """Relay until the agent ends; return its exit code."""

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await _join(reader, writer, *await asyncio.open_unix_connection(socket))
        writer.close()

    await asyncio.start_server(lead, "127.0.0.1", port)
    try:
        agent = await asyncio.create_subprocess_exec(*words)
    except OSError as error:
        print(f"{words[0]} cannot be started: {error}", flush=True)
        return NOT_STARTED
    code = await agent.wait()
    return code if code >= 0 else 128 - code


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    answers: asyncio.StreamReader,
    questions: asyncio.StreamWriter,
) -> None:
    """Carry both ways until the harness has answered and closed."""
    asking = asyncio.ensure_future(_carry(reader, questions))
    try:
        await _carry(answers, writer)
    finally:
        asking.cancel()
        questions.close()


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # one side has gone
        while chunk := await source.read(CHUNK_BYTES):
            target.write(chunk)
            await target.drain()
        target.write_eof()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
