"""Pickles for tests: written as others write them, and refused as they must be."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tests.memory import peak_memory
from tinybrain.things import machine, pickles


def write(path, value, container=4):
    """A value as np.save writes it, or as a bare pickle of the protocol given."""
    if container == "npy":
        np.save(path, value, allow_pickle=True)
    else:
        path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, container))
    return path


def refused_in_bounded_memory(monkeypatch, path, reason):
    """A file that asks for memory or time without bounds gets an error, and neither."""
    monkeypatch.setattr(machine, "MAX_STEPS", 100_000)  # a twentieth, for the time it takes

    def read():
        with pytest.raises(ValueError, match=rf"{path.name}: .*({reason})"):
            pickles.read(path)

    assert peak_memory(read)[1] < 20_000_000
