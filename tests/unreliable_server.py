"""An HTTP server on localhost that misbehaves as it is told, for the tests of downloading."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tinybrain import download

CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
CUT = 100_000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


GOOD = sha256(CONTENT)


@dataclass
class Reply:
    """How one request is answered; unless told otherwise, as an honest server does."""

    status: int | None = None  # an error
    content: bytes = CONTENT
    etag: str | None = '"one"'
    modified: str | None = None
    send: int | None = None  # bytes, then the connection is closed
    reset: bool = False  # ... with a reset
    wait: threading.Event | None = None  # ... after this was set
    ranges: bool = True  # False: Range is ignored
    compare: bool = True  # False: If-Range is ignored
    content_range: str | None = None
    length: int | str | None = "right"  # as announced
    surplus: bytes = b""  # sent after the body
    drip: float = 0.0  # seconds between two sixteenths of the body


class Server(ThreadingHTTPServer):
    """Answers by `plan`, one Reply after the other, then by `always`; `log` is what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[Reply] = []
        self.always = Reply()
        self.log: list[tuple[str | None, str | None]] = []  # Range, If-Range
        self.url = f"http://127.0.0.1:{self.server_port}/weights.pt"

    def handle_error(self, request, client_address):
        pass  # the client went away, as some tests want


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        asked = self.headers["Range"], self.headers["If-Range"]
        server.log.append(asked)
        reply = server.plan.pop(0) if server.plan else server.always
        if len(server.log) > 50:  # a client that never gives up fails its test, not hangs it
            reply = Reply(status=404)
        changed = asked[1] not in (None, reply.etag, reply.modified)
        ignored = not reply.ranges or (reply.compare and changed)
        start = 0 if asked[0] is None or ignored else int(asked[0][6:-1])
        total = len(reply.content)
        if reply.status or start >= total:
            self.send_error(reply.status or 416)
            return
        self.head(reply, start, total)
        self.body(reply, reply.content[start:][: reply.send])

    def head(self, reply, start, total):
        self.send_response(206 if start or reply.content_range else 200)
        if reply.etag:
            self.send_header("ETag", reply.etag)
        if reply.modified:
            self.send_header("Last-Modified", reply.modified)
        if start or reply.content_range:
            right = f"bytes {start}-{total - 1}/{total}"
            self.send_header("Content-Range", reply.content_range or right)
        if reply.length is not None:
            right = total - start
            self.send_header("Content-Length", right if reply.length == "right" else reply.length)
        self.end_headers()

    def body(self, reply, body):
        step = -(-len(body) // 16) if reply.drip else len(body) or 1
        for begin in range(0, len(body), step):
            self.wfile.write(body[begin : begin + step])
            time.sleep(reply.drip)
        self.wfile.write(reply.surplus)
        if reply.wait:
            reply.wait.wait(20)
        if reply.reset:
            linger = np.array([1, 0], np.int32).tobytes()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()


@pytest.fixture(name="server")
def unreliable_server(monkeypatch):
    # A proxy of the environment would stand between the tests and localhost.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("urllib.request._opener", None)  # it remembers the proxies it began with
    monkeypatch.setattr(download, "PAUSE", 0.001)
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(name="path")
def path_in_cache(tmp_path):
    return tmp_path / "cache/weights.pt"


def beside(path: Path) -> set[str]:
    return {file.name.removeprefix(path.name) for file in path.parent.iterdir()}


def ranges(server) -> list[int]:
    """Where each request began."""
    return [0 if asked is None else int(asked[6:-1]) for asked, _ in server.log]


def downloaded(path: Path) -> bool:
    return path.read_bytes() == CONTENT and beside(path) == {"", ".sha256", ".lock"}
