"""What lies on the disk around a download: parts, locks, stamps, a file put there by hand."""

from __future__ import annotations

import errno
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.unreliable_server import path_in_cache, unreliable_server  # noqa: F401, fixtures
from tinybrain import download
from tinybrain.download import cache_folder, fetch, file_sha256

from .unreliable_server import CONTENT, CUT, GOOD, OTHER, Reply, beside, downloaded, ranges, sha256

CHILD = """
import sys, tqdm
sys.modules["torch.hub"] = tqdm  # torch takes seconds to import, and only its bar is used
from tinybrain.download import fetch
fetch(*sys.argv[1:])
"""


def half(path: Path, content: bytes) -> Path:
    """What an earlier run left."""
    path.parent.mkdir(parents=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    return part


def test_only_the_rest_of_an_earlier_part_is_asked_for(server, path):
    half(path, CONTENT[:CUT])
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    assert server.log == [("bytes=100000-", None)]


def test_a_whole_earlier_part_needs_no_server(server, path):
    half(path, CONTENT)
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    assert server.log == []


@pytest.mark.parametrize("earlier", [OTHER[:CUT], OTHER, CONTENT + b"!"])
def test_a_wrong_earlier_part_is_replaced(server, path, earlier):
    half(path, earlier)
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    assert ranges(server) == [len(earlier), 0]


def test_a_wrong_earlier_part_of_a_wrong_file_is_an_error(server, path):
    half(path, OTHER[:CUT])
    server.always = Reply(content=OTHER, send=CUT)
    with pytest.raises(ValueError, match=sha256(OTHER)):
        fetch(server.url, GOOD, path)
    assert beside(path) == {".lock"}
    assert ranges(server) == [CUT, 2 * CUT, 0, CUT, 2 * CUT]


def test_an_earlier_part_is_not_continued_beyond_the_end(server, path):
    half(path, CONTENT[:CUT])
    server.plan = [Reply(content_range="bytes 100000-100001/50")]
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    assert ranges(server) == [CUT, 0]


def child(server, path, stderr=None) -> subprocess.Popen:
    command = [sys.executable, "-c", CHILD, server.url, GOOD, str(path)]
    return subprocess.Popen(command, stderr=stderr)


def wait_for(condition, process=None):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing happened for 20 s"
        assert process is None or process.poll() is None, "the process ended early"
        time.sleep(0.01)


def test_killed_in_the_middle(server, path):
    held = threading.Event()
    server.plan = [Reply(send=CUT, wait=held)]
    process = child(server, path)
    part = path.with_name("weights.pt.part")
    wait_for(lambda: part.exists() and part.stat().st_size == CUT, process)
    process.kill()
    process.wait()
    held.set()
    assert beside(path) == {".part", ".lock"}  # the lock of a dead process holds nobody
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    assert ranges(server) == [0, CUT]


def test_two_processes_at_once(server, path, tmp_path):
    held = threading.Event()
    server.plan = [Reply(send=CUT, wait=held)]  # until the second is seen to wait
    said = tmp_path / "said"
    with open(said, "wb") as stderr:
        processes = [child(server, path, stderr), child(server, path, stderr)]
    wait_for(lambda: "waiting" in said.read_text())
    time.sleep(0.3)
    held.set()
    assert [process.wait(20) for process in processes] == [0, 0]
    assert said.read_text() == f"waiting for another process that downloads {path}\n"
    assert downloaded(path)
    assert ranges(server) == [0, CUT]


def test_threads_at_once(server, path):
    server.always = Reply(drip=0.01)
    arguments = (server.url, GOOD, path)
    threads = [threading.Thread(target=fetch, args=arguments) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert downloaded(path)
    assert len(server.log) == 1


def test_a_folder_that_cannot_be_locked(server, path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(OSError, match=r"cannot be .*locked \(No locks.*TINYBRAIN_CACHE"):
        fetch(server.url, GOOD, path)
    assert server.log == []


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=f"{tmp_path}/cache cannot be written.*TINYBRAIN_CACHE"):
        fetch(server.url, GOOD, tmp_path / "cache/weights.pt")
    assert server.log == []


def test_offline(server, path):
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/weights.pt"
        with pytest.raises(ConnectionError, match="refused") as caught:
            fetch(url, GOOD, path)
    for part in (url, GOOD, str(path)):
        assert part in str(caught.value)
    assert not path.exists()


def test_a_file_put_there_by_hand(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert fetch(server.url, GOOD, path) == path
    assert server.log == []
    assert beside(path) == {"", ".sha256"}


def test_a_wrong_file_put_there_by_hand_stays(server, path):
    path.parent.mkdir()
    path.write_bytes(OTHER)
    with pytest.raises(ValueError) as caught:
        fetch(server.url, GOOD, path)
    for part in (str(path), GOOD, sha256(OTHER), "remove it"):
        assert part in str(caught.value)
    assert path.read_bytes() == OTHER
    assert server.log == []


def test_a_verified_file_is_hashed_again_only_when_it_changed(server, path, monkeypatch):
    hashed = []

    def counting(file, **options):
        hashed.append(file)
        return file_sha256(file, **options)

    monkeypatch.setattr(download, "file_sha256", counting)
    fetch(server.url, GOOD, path)
    fetch(server.url, GOOD, path)
    assert hashed == []  # the checksum was computed as the bytes came
    os.utime(path, ns=(0, 0))
    fetch(server.url, GOOD, path)
    fetch(server.url, GOOD, path)
    assert len(hashed) == 1
    path.write_bytes(CONTENT[:-1])
    os.utime(path, ns=(0, 0))
    with pytest.raises(ValueError, match=sha256(CONTENT[:-1])):
        fetch(server.url, GOOD, path)


def test_a_stamp_is_for_one_checksum(server, path):
    fetch(server.url, GOOD, path)
    with pytest.raises(ValueError, match=f"has sha256 {GOOD}, wanted {sha256(OTHER)}"):
        fetch(server.url, sha256(OTHER), path)


def test_a_stamp_that_cannot_be_written_is_done_without(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    stamp = path.with_name("weights.pt.sha256")
    stamp.symlink_to("/nowhere/stamp")
    assert fetch(server.url, GOOD, path) == path


def test_proxies_of_the_environment_are_used(server, path, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/weights.pt"))
    fetch("http://weights.invalid/weights.pt", GOOD, path)
    assert downloaded(path)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("terminal", "progress"), [(True, True), (True, False), (False, True)])
def test_the_bar_is_for_a_person_at_a_terminal(server, path, monkeypatch, terminal, progress):
    stderr = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    server.plan = [Reply(send=CUT), Reply(ranges=False, send=CUT)]
    fetch(server.url, GOOD, path, progress=progress)
    if terminal and progress:
        assert re.search(r"weights.pt: 100%.* 300k/300k ", stderr.getvalue())
    else:
        assert stderr.getvalue() == ""


def test_sha256_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "CHUNK", 1000)
    for content in (b"", CONTENT):
        (tmp_path / "file").write_bytes(content)
        assert file_sha256(tmp_path / "file") == sha256(content)


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, "HOME/.cache/tinybrain"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/tinybrain"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "HOME/Library/Caches/tinybrain"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/tinybrain"),
        ("linux", {"TINYBRAIN_CACHE": "/mine", "XDG_CACHE_HOME": "/xdg"}, "/mine"),
        ("win32", {"TINYBRAIN_CACHE": "~/mine"}, "HOME/mine"),
    ],
)
def test_cache_folder(monkeypatch, tmp_path, platform, variables, folder):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "TINYBRAIN_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder.replace("HOME", str(tmp_path)))
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    assert list(tmp_path.iterdir()) == []  # not made by asking
