"""Files fetched once from the public web: resumed, verified, safe to ask for twice at once.

The name is given only to a file with the right checksum. Beside it stand

    name.part     the bytes so far: they outlive a dropped connection, a full disk and kill -9, and
                  an HTTP Range request (RFC 9110, section 14) asks for the rest only
    name.lock     empty, locked by the process that downloads
    name.sha256   checksum, size and time of change of the file as it was verified: while these
                  agree it is not hashed again
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import time
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from torch.hub import tqdm  # type: ignore[attr-defined]  # a plainer bar where tqdm is missing

from .files import try_lock

CHUNK = 1 << 20  # bytes
TIMEOUT = 30.0  # seconds of silence after which a connection counts as dropped
ATTEMPTS = 5  # requests in a row that bring nothing new, then it is given up
PAUSE = 0.25  # seconds between requests, doubled by each of them


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Where downloads are kept: `cache_dir`, or $TINYBRAIN_CACHE, or the platform's own place.

    The last is tinybrain/ in $XDG_CACHE_HOME or ~/.cache (Linux), in ~/Library/Caches (macOS), in
    %LOCALAPPDATA% (Windows). The folder is not made.

    Examples
    --------
    >>> cache_folder("/data/weights").as_posix()
    '/data/weights'
    """
    chosen = cache_dir or os.environ.get("TINYBRAIN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/tinybrain"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "tinybrain"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinybrain"


def file_sha256(path: str | Path, *, progress: bool = False) -> str:
    """The SHA-256 of a file of any size, 64 hexadecimal digits.

    Examples
    --------
    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile() as empty:
    ...     file_sha256(empty.name)
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """
    path = Path(path)
    with open(path, "rb") as file, _bar(f"checking {path.name}", progress) as bar:
        bar.total = path.stat().st_size
        return _hash(file, bar).hexdigest()


def fetch(url: str, sha256: str, path: str | Path, *, progress: bool = True) -> Path:
    """Have the file of `url` at `path`, downloaded if it is not there; returns `path`, absolute.

    A file put there by hand is as good. Proxies are those of the environment, as urllib reads it.

    Parameters
    ----------
    url : str
        Its server must announce the file's length.
    sha256 : str
        The checksum wanted, 64 hexadecimal digits in lower case.
    path : path
        Its folder is made if missing.
    progress : bool
        Show a bar of bytes; it is hidden where stderr is no terminal.

    Raises
    ------
    ValueError
        Another file is at `path` (it stays there), or came from `url` (it is removed).
    ConnectionError
        Offline, refused, or the connection keeps dropping; what came is kept.
    OSError
        The folder cannot be written, or the disk is full; what came is kept.
    """
    path = Path(path).absolute()
    if not _verified(path, sha256, progress):
        with _lock(path):
            if not _verified(path, sha256, progress):  # the process waited for may have fetched it
                _download(url, sha256, path, progress)
    return path


def _verified(path: Path, sha256: str, progress: bool) -> bool:
    if not path.exists():
        return False
    mark = _mark(path, sha256)  # before hashing: a change meanwhile leaves a stamp that disagrees
    stamp = Path(f"{path}.sha256")
    if stamp.exists() and stamp.read_bytes() == mark:
        return True
    found = file_sha256(path, progress=progress)
    if found != sha256:  # perhaps somebody's own file: not ours to remove
        raise ValueError(f"{path} has sha256 {found}, wanted {sha256}; remove it and try again")
    _write_stamp(stamp, mark)
    return True


def _mark(path: Path, sha256: str) -> bytes:
    seen = path.stat()
    return f"{sha256} {seen.st_size} {seen.st_mtime_ns}\n".encode()


def _write_stamp(stamp: Path, mark: bytes) -> None:
    # Half written it agrees with nothing, not written at all the file is hashed again: both safe.
    with suppress(OSError):
        stamp.write_bytes(mark)


def _lock(path: Path) -> BinaryIO:
    """Wait to be the only process that downloads `path`, until the file returned is closed.

    The system closes it for a process that dies. It is never removed: two processes could then
    each lock a file of its name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(Path(f"{path}.lock"), "ab")  # noqa: SIM115
        if not try_lock(file):
            print(f"waiting for another process that downloads {path}", file=sys.stderr)
            while not try_lock(file):
                time.sleep(0.1)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path.parent} cannot be written or locked ({error.strerror}); set $TINYBRAIN_CACHE "
            "to a folder of yours on a local disk",
        ) from None
    return file


class _Failed(Exception):
    """A request brought less than was asked for; `final` if another would be no better."""

    def __init__(self, reason: str, final: bool = False):
        super().__init__(reason)
        self.final = final


class _Part:
    """The unfinished file: its bytes, their checksum, and what they are a part of."""

    def __init__(self, file: BinaryIO, bar: tqdm):
        self.file, self.bar = file, bar
        file.seek(0)
        self.digest = _hash(file, bar)
        self.have = file.tell()
        self.inherited = self.have > 0  # from an earlier run: of which version is not known
        self.total: int | None = None  # bytes, as the server announced
        self.version: str | None = None  # ETag or Last-Modified

    @property
    def missing(self) -> int:
        """Bytes to come, as far as is known."""
        return (self.total or self.have) - self.have

    def restart(self) -> None:
        self.file.truncate(0)
        self.digest, self.have, self.inherited = hashlib.sha256(), 0, False
        self.total = self.version = None
        self.bar.update(-self.bar.n)

    def add(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:  # on a disk almost full less may be written than was asked
            written = self.file.write(rest)
            self.digest.update(rest[:written])
            self.have += written
            rest = rest[written:]
        self.bar.update(len(data))


def _download(url: str, sha256: str, path: Path, progress: bool) -> None:
    name = Path(f"{path}.part")
    by_hand = f"Fetched by hand, the file with sha256 {sha256} belongs at {path}"
    with open(name, "a+b", buffering=0) as file, _bar(path.name, progress) as bar:
        part = _Part(file, bar)
        try:
            _complete(url, sha256, part)
            os.fsync(file.fileno())
        except _Failed as error:
            raise ConnectionError(f"{url} cannot be downloaded: {error}. {by_hand}") from None
        except OSError as error:  # of the disk: those of the network have become _Failed
            raise OSError(
                error.errno,
                f"{error.strerror}: {name} keeps the {part.have} bytes that came, {part.missing} "
                "more are needed; make room and try again",
            ) from None
    found = part.digest.hexdigest()
    if found != sha256:
        name.unlink()
        raise ValueError(
            f"{url} brought a file with sha256 {found}, wanted {sha256}; it was removed. Perhaps a "
            f"proxy answered in the server's place. {by_hand}"
        )
    os.replace(name, path)
    _write_stamp(Path(f"{path}.sha256"), _mark(path, sha256))


def _complete(url: str, sha256: str, part: _Part) -> None:
    """Ask until the part is whole; the caller compares the checksum."""
    failures = furthest = 0
    while part.digest.hexdigest() != sha256:
        if part.have == part.total:
            if not part.inherited:
                return
            part.restart()  # the earlier run's bytes may be the wrong ones
            furthest = 0
        try:
            _receive(url, part)
        except _Failed as error:
            failures = 0 if part.have > furthest else failures + 1
            furthest = max(furthest, part.have)
            if error.final or failures == ATTEMPTS:
                raise
            time.sleep(PAUSE * 2**failures)


def _receive(url: str, part: _Part) -> None:
    """One request for what is missing; returns when nothing is."""
    with _ask(url, part) as answer:
        _accept(answer, part)
        if shutil.disk_usage(Path(part.file.name).parent).free < part.missing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        while part.missing:
            part.add(_read(answer, part.missing))


def _ask(url: str, part: _Part) -> HTTPResponse:
    headers = {"User-Agent": "tinybrain"}
    if part.have:
        headers["Range"] = f"bytes={part.have}-"
        if part.version:  # the server sends the whole file should it be another by now
            headers["If-Range"] = part.version
    try:
        answer: HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
        return answer
    except HTTPError as error:
        error.close()
        if error.code == 416:  # there is no such part: what we have is of some other file
            part.restart()
        final = error.code < 500 and error.code not in (408, 416, 429)
        raise _Failed(f"the server answers {error.code} {error.reason}", final) from None
    except (OSError, HTTPException) as error:
        raise _Failed(str(getattr(error, "reason", error))) from None


def _accept(answer: HTTPResponse, part: _Part) -> None:
    """Note what the answer is a part of; what does not continue `part` begins it anew."""
    etag = answer.headers.get("ETag", "W/")  # a weak one does not promise the same bytes
    version = answer.headers.get("Last-Modified") if etag.startswith("W/") else etag
    if answer.status == 200:  # the first request, or Range ignored, or another version by now
        part.restart()
        if not answer.length:
            raise _Failed("the server announces no length", final=True)
        part.total, part.version = answer.length, version
    else:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        start, total = map(int, found.groups()) if found else (-1, 0)
        known = part.total in (None, total) and version in (None, part.version or version)
        if start != part.have or start >= total or not known:
            part.restart()
            raise _Failed("the server sent another part than was asked for")
        part.total, part.version = total, version or part.version
    part.bar.total = part.total


def _read(answer: HTTPResponse, missing: int) -> bytes:
    try:
        data = answer.read1(min(CHUNK, missing))
    except (OSError, HTTPException) as error:
        raise _Failed(f"the connection dropped with {missing} bytes to go ({error})") from None
    if not data:
        raise _Failed(f"the connection ended with {missing} bytes to go")
    return data


def _bar(name: str, progress: bool) -> tqdm:
    hidden = not progress or not sys.stderr.isatty()
    return tqdm(desc=name, unit="B", unit_scale=True, disable=hidden, dynamic_ncols=True)


def _hash(file: BinaryIO, bar: tqdm) -> hashlib._Hash:
    digest = hashlib.sha256()
    while data := file.read(CHUNK):
        digest.update(data)
        bar.update(len(data))
    return digest
