"""Checkpoints: written whole or not at all, say what they are, and load without running anything.

A checkpoint is a dictionary of tensors, numbers, strings, lists and dictionaries, kept by
`torch.save` and read with `weights_only=True`. Its first entries name the format, its version and
its kind, so that a file of another make is refused by name and not by a missing key. Configs
travel as plain dictionaries.

The last line of the file is the SHA-256 of all before it, "sha256 " and 64 digits. It is compared
before anything is read: torch alone takes wrong bits in a tensor for weights. To `torch.load` and
to tools for zip archives the line is nothing but a few bytes after the end.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import torch

from .files import write_atomically

if TYPE_CHECKING:
    from hashlib import _Hash

    from _typeshed import DataclassInstance

FORMAT, VERSION = "tinybrain checkpoint", 3
MARK = b"\nsha256 "
LINE = len(MARK) + 64 + 1  # bytes, with a newline at the end
Config = TypeVar("Config", bound="DataclassInstance")


class Damaged(ValueError):
    """The bytes of the file are not those that were written."""


def save(path: str | Path, kind: str, content: dict[str, Any]) -> Path:
    """Write `content` as a checkpoint of this `kind` ("model", "run"); atomic.

    Raises
    ------
    OSError
        If the folder cannot be written or the disk is full; an older file at `path` stays.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(f"{folder}/run.pt", "run", {"step": 3, "weights": torch.ones(2)})
    ...     load(path, "run")
    {'step': 3, 'weights': tensor([1., 1.])}
    """
    whole = {"format": FORMAT, "version": VERSION, "kind": kind, "content": content}

    def write(file: BinaryIO) -> None:
        hashed = _Hashed(file)
        try:
            torch.save(whole, cast(IO[bytes], hashed))  # it asks for no more than is there
        except RuntimeError as error:  # torch's word for a full disk is "unexpected pos"
            raise hashed.error or error from None
        file.write(_line(hashed.sha256))

    return write_atomically(path, write)


def load(path: str | Path, kind: str, device: str | torch.device = "cpu") -> dict[str, Any]:
    """The content of a checkpoint of this `kind`, tensors on `device`; see `save` for an example.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    Damaged
        A ValueError: the file does not agree with its checksum, or has none.
    ValueError
        If the file is of another make, kind or version, or would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such checkpoint; wanted a {kind} that tinybrain wrote, such as the "
            "runs/demo/model.pt of examples/train_eeg.py"
        )
    with open(path, "rb") as file:
        _verify(path, file)
        file.seek(0)
        try:
            whole = torch.load(file, map_location=device, weights_only=True)
        except (torch.cuda.OutOfMemoryError, OSError):
            raise
        except Exception as error:  # torch's readers of archives and pickles raise many kinds
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{path}: not a readable checkpoint ({reason})") from error
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise ValueError(f"{path}: a torch file, but not a {FORMAT}")
    if whole["version"] > VERSION:
        raise ValueError(
            f"{path}: checkpoint version {whole['version']}, this tinybrain reads up to {VERSION}; "
            "update tinybrain"
        )
    if whole["kind"] != kind:
        raise ValueError(f"{path}: a checkpoint of kind {whole['kind']!r}; wanted {kind!r}")
    return cast(dict[str, Any], whole["content"])


# -------------------------------------------------------------------------------------------------
# The checksum


class _Hashed:
    """A file for `torch.save`; keeps the SHA-256 of what was written, and why a write failed."""

    def __init__(self, file: BinaryIO):
        self.file, self.sha256 = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        self.sha256.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _line(sha256: _Hash) -> bytes:
    return MARK + sha256.hexdigest().encode() + b"\n"


def _verify(path: Path, file: BinaryIO) -> None:
    """Raise `Damaged` unless the last line of the file is the SHA-256 of all before it."""
    left = file.seek(0, os.SEEK_END) - LINE
    file.seek(0)
    sha256 = hashlib.sha256()
    while left > 0 and (chunk := file.read(min(left, 1 << 20))):
        sha256.update(chunk)
        left -= len(chunk)
    line = file.read()
    if not line.startswith(MARK):
        raise Damaged(
            f"{path}: not a file that tinybrain wrote, or cut short: it does not end in a checksum"
        )
    if line != _line(sha256):
        raise Damaged(f"{path}: damaged, it does not agree with the checksum at its end")


# -------------------------------------------------------------------------------------------------
# Configs


def config_to_dict(config: DataclassInstance) -> dict[str, Any]:
    """A flat config dataclass as JSON would hold it: tuples become lists.

    Examples
    --------
    >>> from tinybrain.unet import UNetConfig
    >>> kept = config_to_dict(UNetConfig())
    >>> kept["channels"], config_from_dict(UNetConfig, kept) == UNetConfig()
    ([128, 256, 512, 512], True)
    """
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(config).items()
    }


def config_from_dict(cls: type[Config], values: dict[str, Any]) -> Config:
    """The config that `config_to_dict` made these values from.

    Raises
    ------
    ValueError
        If a field is missing or unknown; all of them are listed.
    """
    known = {field.name for field in fields(cls)}
    if known != set(values):
        raise ValueError(
            f"{cls.__name__}: unknown fields {sorted(set(values) - known)}, "
            f"missing fields {sorted(known - set(values))}"
        )
    return cls(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    )
