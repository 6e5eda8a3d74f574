"""Downloads from a server that misbehaves: what is asked for, what ends under the final name."""

from __future__ import annotations

import errno
import io
import threading
import time

import pytest

from tests.unreliable_server import path_in_cache, unreliable_server  # noqa: F401, fixtures
from tinybrain import download
from tinybrain.download import fetch

from .unreliable_server import CUT, GOOD, OTHER, Reply, beside, downloaded, ranges, sha256


def test_a_file_is_downloaded_once(server, path):
    assert fetch(server.url, GOOD, path) == path
    assert downloaded(path)
    assert fetch(server.url, GOOD, path) == path
    assert server.log == [(None, None)]


def test_the_path_returned_is_absolute(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fetch(server.url, GOOD, "weights.pt") == tmp_path / "weights.pt"


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_is_cut_is_resumed_where_it_was_cut(server, path, reset):
    # More cuts than attempts: those that bring bytes are not failures.
    server.plan = [Reply(send=40_000, reset=reset) for _ in range(7)]
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    if reset:  # bytes on their way when it comes are lost
        assert sorted(ranges(server)) == ranges(server)
    else:
        assert ranges(server) == [40_000 * n for n in range(8)]
    assert {version for begin, version in server.log if begin} == {'"one"'}


@pytest.mark.parametrize(("then", "message"), [
    (Reply(send=0), "200000 bytes to go"),
    (Reply(status=500), "the server answers 500"),
])
def test_a_server_that_brings_nothing_more_is_given_up(server, path, then, message):
    server.plan = [Reply(send=CUT)]
    server.always = then
    with pytest.raises(ConnectionError, match=message):
        fetch(server.url, GOOD, path)
    assert ranges(server) == [0] + [CUT] * download.ATTEMPTS
    assert beside(path) == {".part", ".lock"}
    server.always = Reply()
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    assert ranges(server)[-1] == CUT


def test_wrong_bytes_never_get_the_name(server, path):
    server.always = Reply(content=OTHER)
    with pytest.raises(ValueError, match=f"{sha256(OTHER)}, wanted {GOOD}.*belongs at {path}"):
        fetch(server.url, GOOD, path)
    assert beside(path) == {".lock"}
    assert len(server.log) == 1


def test_wrong_bytes_in_pieces(server, path):
    server.always = Reply(content=OTHER, send=CUT)
    with pytest.raises(ValueError, match=sha256(OTHER)):
        fetch(server.url, GOOD, path)
    assert beside(path) == {".lock"}
    assert ranges(server) == [0, CUT, 2 * CUT]


def test_a_server_that_ignores_range_is_read_from_the_start(server, path):
    server.plan = [Reply(send=CUT), Reply(ranges=False, send=2 * CUT)]
    server.always = Reply(ranges=False)
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    assert ranges(server) == [0, CUT, 2 * CUT]


def test_a_server_that_ignores_range_and_always_cuts_is_given_up(server, path):
    server.always = Reply(ranges=False, send=CUT)
    with pytest.raises(ConnectionError):
        fetch(server.url, GOOD, path)
    assert len(server.log) == 1 + download.ATTEMPTS


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-299999/300000",
        "bytes 99999-299999/300000",
        "bytes 100001-299999/300000",
        "bytes 100000-299999/300001",
        "bytes 100000-199999/*",
        "bytes 100000-100001/50",
        "nonsense",
    ],
)
def test_another_part_than_asked_for_is_not_appended(server, path, content_range):
    server.plan = [Reply(send=CUT), Reply(content_range=content_range)]
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    assert ranges(server) == [0, CUT, 0]


def test_a_part_that_ends_early_is_continued(server, path):
    server.plan = [Reply(send=CUT)]
    server.plan += [Reply(content_range="bytes 100000-109999/300000", length=10_000, send=10_000)]
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    assert ranges(server) == [0, CUT, 110_000]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_final(server, path, status):
    server.always = Reply(status=status)
    with pytest.raises(ConnectionError, match=f"the server answers {status}") as caught:
        fetch(server.url, GOOD, path)
    assert len(server.log) == 1
    for part in (server.url, GOOD, str(path)):
        assert part in str(caught.value)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_in_trouble_is_asked_again(server, path, status):
    server.plan = [Reply(status=status)] * (download.ATTEMPTS - 1)
    fetch(server.url, GOOD, path)
    assert downloaded(path)


def test_silence_is_a_dropped_connection(server, path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    silent = threading.Event()
    server.plan = [Reply(send=CUT, wait=silent)]
    begin = time.monotonic()
    fetch(server.url, GOOD, path)
    assert time.monotonic() - begin < 5
    silent.set()
    assert downloaded(path)
    assert ranges(server) == [0, CUT]


def test_slow_is_not_silent(server, path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.4)
    server.plan = [Reply(drip=0.05)]
    begin = time.monotonic()
    fetch(server.url, GOOD, path)
    assert time.monotonic() - begin > 0.7
    assert downloaded(path)
    assert ranges(server) == [0]


@pytest.mark.parametrize("compare", [True, False])
def test_two_versions_are_not_mixed(server, path, compare):
    server.plan = [Reply(content=OTHER, etag='"old"', send=CUT), Reply(compare=compare)]
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    assert server.log[1] == ("bytes=100000-", '"old"')
    assert ranges(server) == ([0, CUT] if compare else [0, CUT, 0])


@pytest.mark.parametrize("modified", [None, "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_weak_etag_is_not_compared(server, path, modified):
    server.always = Reply(etag='W/"one"', modified=modified, send=2 * CUT)
    fetch(server.url, GOOD, path)
    assert server.log == [(None, None), ("bytes=200000-", modified)]


def test_more_announced_than_sent(server, path):
    server.always = Reply(length=400_000)
    fetch(server.url, GOOD, path)  # the checksum says that it is whole
    assert downloaded(path)
    assert len(server.log) == 1


def test_more_announced_than_sent_of_wrong_bytes(server, path):
    server.always = Reply(content=OTHER, length=400_000)
    with pytest.raises(ConnectionError):
        fetch(server.url, GOOD, path)
    assert not path.exists()
    assert len(server.log) < 20


def test_more_sent_than_announced_is_not_read(server, path):
    server.always = Reply(surplus=bytes(CUT))
    fetch(server.url, GOOD, path)
    assert downloaded(path)


def test_no_length_announced(server, path):
    server.always = Reply(length=None)
    with pytest.raises(ConnectionError, match="announces no length"):
        fetch(server.url, GOOD, path)
    assert len(server.log) == 1


def test_a_length_beyond_the_disk_is_refused_before_a_byte_is_written(server, path):
    server.always = Reply(length=1 << 60)
    with pytest.raises(OSError, match=f"{1 << 60} more are needed") as caught:
        fetch(server.url, GOOD, path)
    assert caught.value.errno == errno.ENOSPC
    assert path.with_name("weights.pt.part").stat().st_size == 0


def test_a_full_disk_keeps_what_came(server, path, monkeypatch):
    class Disk(io.FileIO):
        def write(self, data):
            room = CUT - self.tell()
            if not room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data[: min(room, 7_000)])

    def on_disk(name, mode, **options):
        return Disk(name, "a+") if mode == "a+b" else open(name, mode, **options)

    with monkeypatch.context() as small:
        small.setattr(download, "open", on_disk, raising=False)
        with pytest.raises(OSError, match=rf"{path}.part keeps the {CUT} .* {2 * CUT} more") as no:
            fetch(server.url, GOOD, path)
    assert no.value.errno == errno.ENOSPC
    assert ranges(server) == [0]
    fetch(server.url, GOOD, path)
    assert downloaded(path)
    assert ranges(server) == [0, CUT]
