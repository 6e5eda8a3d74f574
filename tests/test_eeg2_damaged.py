"""Damaged files of every producer: a recording, or an error that names a file."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import test_eeg2_variants as variants
from tests.test_eeg2_variants import VARIANTS, signals, ubp
from tinybrain.things import EEG2

root = variants.root  # the fixture

JUNK = [None, 5, "x", [], [[1], [1, 2]], {}, {"a": 1}, [None] * 6, np.zeros(3), np.array("x"),
        np.array([1, "a"], object), np.zeros((0, 4, 63, 250)), np.zeros((6, 4, 63, 250), "c8"),
        np.full((6, 4, 63, 250), "a"), 10**400, float("nan")]  # fmt: skip


def read(root: Path) -> EEG2 | str:
    """The recording, or the message."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sensors without names
        try:
            eeg = EEG2(root, 1, "train")
        except (ValueError, FileNotFoundError) as error:
            return str(error)
    assert eeg.signals.shape[1:] == (len(eeg.sensors), len(eeg.times))
    assert len(eeg.signals) == len(eeg.images) == len(eeg.concepts) == 6
    return eeg


@pytest.mark.parametrize("junk", range(len(JUNK)))
@pytest.mark.parametrize("key", ["eeg", "img", "ch_names", "times", "label"])
def test_junk_in_a_torch_file(root, key, junk):
    path = ubp(root, "train", signals("train"), **{key: JUNK[junk]})
    said = read(root)
    if key == "label" or (key == "ch_names" and JUNK[junk] is None):
        assert isinstance(said, EEG2), said
    elif not (key == "times" and JUNK[junk] is None):  # 63 x 250 are known without times
        assert isinstance(said, str) and path.name in said


@pytest.mark.parametrize("junk", [j for j, x in enumerate(JUNK) if not isinstance(x, np.ndarray)])
@pytest.mark.parametrize("key", ["ch_names", "times", "normalization", None])
@pytest.mark.parametrize("name", ["neurobridge", "zeiss", "own"])
def test_junk_in_the_json_beside(root, name, key, junk):
    getattr(variants, name)(root, "train", signals("train"))
    (path,) = root.rglob("*.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(JUNK[junk] if key is None else content | {key: JUNK[junk]}))
    said = read(root)
    assert isinstance(said, EEG2) or path.name in said or "train" in said


MUTABLE = [variant for variant in VARIANTS if variant.__name__ != "ubp_text"]


@pytest.mark.parametrize("variant", MUTABLE, ids=lambda variant: variant.__name__)
@settings(max_examples=15, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_damaged_bytes(root, variant, data):
    if not list(root.rglob("*sub-01")):
        variant(root, "train", signals("train"))
    path = data.draw(st.sampled_from(sorted(p for p in root.rglob("*") if p.is_file())))
    whole = path.read_bytes()
    blob = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        near = st.integers(0, min(1500, len(blob)))
        at = data.draw(near | near.map(lambda k: len(blob) - k))  # what is told lies at both ends
        size = data.draw(st.sampled_from([0, 1, 1, 8, 400]))
        blob[at : at + size] = data.draw(st.binary(max_size=4))
    path.write_bytes(blob)
    try:
        said = read(root)
    finally:
        path.write_bytes(whole)
    assert isinstance(said, EEG2) or str(root) in said
