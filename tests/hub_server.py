"""A stand-in for the Hugging Face Hub: the part of its interface that a download uses.

``HEAD .../resolve/<revision>/<file>`` answers with the commit, the LFS digest and size, and a
redirect to where the bytes are; ``GET`` there understands Range. Faults are switched on by file.
Unverified against the real hub, which the tests cannot reach.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the stand-in serves, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    repository: str = "someone/shards"
    cut_after: dict[str, int] = field(default_factory=dict)  # bytes of each answer, then it closes
    answers: dict[str, list[int]] = field(default_factory=dict)  # status codes to give first
    damaged: set[str] = field(default_factory=set)  # wrong bytes of the right length
    longer: set[str] = field(default_factory=set)  # more bytes than the hub promised
    ranges: bool = True  # whether Range is understood
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # what, file, range
    endpoint: str = ""
    elsewhere: str = ""  # the bytes come from another host than the hub


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve ``hub`` on a free port of this machine."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a client that goes away in the middle is the point
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    hub.elsewhere = f"http://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        hub, name = self.hub, self.path.rsplit("/", 1)[-1]
        kind = "REDIRECT" if self.command == "GET" and "/resolve/" in self.path else self.command
        hub.asked.append((kind, name, self.headers.get("Range", "")))
        status = self._fault(name)
        if status:
            return self._status(status)
        if self.path.startswith("/cdn/"):
            return self._bytes(name)
        known = self.path.startswith(f"/datasets/{hub.repository}/resolve/")
        if not known or name not in hub.files:
            return self._status(404, {"X-Error-Code": "EntryNotFound"})
        digest = hashlib.sha256(hub.files[name]).hexdigest()
        return self._status(
            302,
            {
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{digest}"',
                "X-Linked-Size": str(len(hub.files[name])),
                "Location": f"{hub.elsewhere}/cdn/{name}",
            },
        )

    def _fault(self, name: str) -> int:
        waiting = self.hub.answers.get(name, [])
        return waiting.pop(0) if waiting else 0

    def _status(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": "0"}.items():
            self.send_header(key, value)
        self.end_headers()

    def _bytes(self, name: str) -> None:
        hub, whole = self.hub, self.hub.files[name]
        content = whole[:-1] + bytes([whole[-1] ^ 1]) if name in hub.damaged else whole
        content += b"more" if name in hub.longer else b""
        asked = self.headers.get("Range", "") if hub.ranges else ""
        begin = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        limit = hub.cut_after.get(name)
        self.wfile.write(content[begin:] if limit is None else content[begin : begin + limit])
        self.close_connection = limit is not None
