"""Checkpoints: written whole or not at all, say what they are, and load without running anything.

A checkpoint is a dictionary of tensors, numbers, strings, lists and dictionaries, kept by
`torch.save` and read with `weights_only=True`. Its first entries name the format, its version and
its kind, so that a file of another make is refused by name and not by a missing key. Configs
travel as plain dictionaries.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from .files import write_atomically

FORMAT, VERSION = "tinybrain checkpoint", 1
Config = TypeVar("Config")


def save(path: str | Path, kind: str, content: dict[str, Any]) -> Path:
    """Write `content` as a checkpoint of this `kind` ("model", "run"); atomic.

    Raises
    ------
    OSError
        If the folder cannot be written or the disk is full; an older file at `path` stays.
    """
    whole = {"format": FORMAT, "version": VERSION, "kind": kind, "content": content}
    return write_atomically(path, lambda file: torch.save(whole, file))


def load(path: str | Path, kind: str, device: str | torch.device = "cpu") -> dict[str, Any]:
    """The content of a checkpoint of this `kind`, tensors on `device`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, of another make, kind or version, or would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        whole = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path}: not a readable checkpoint ({reason}); it is damaged or of another make"
        ) from None
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise ValueError(f"{path}: a torch file, but not a {FORMAT}")
    if whole["version"] > VERSION:
        raise ValueError(
            f"{path}: checkpoint version {whole['version']}, this tinybrain reads up to {VERSION}; "
            "update tinybrain"
        )
    if whole["kind"] != kind:
        raise ValueError(f"{path}: a checkpoint of kind {whole['kind']!r}; wanted {kind!r}")
    return whole["content"]


def config_to_dict(config: object) -> dict[str, Any]:
    """A flat config dataclass as JSON would hold it: tuples become lists."""
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
