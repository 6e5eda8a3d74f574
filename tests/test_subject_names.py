"""One subject, however the name is written: 2, "2", "sub-2", "sub-02", "P2"."""

from __future__ import annotations

import numpy as np
import pytest

from tests.test_subjects import FEATURES, NAMES, PEOPLE, prepared
from tinybrain.subjects import mean_of_others, place_of, together

FIVE = ("sub-05", "sub-5", "SUB-005", "5", "P5", 5)


@pytest.mark.parametrize("name", FIVE)
def test_signals_and_rows_are_those_of_the_subject_who_is_meant(name):
    model, both = prepared()[0], together(PEOPLE, NAMES)
    wanted = model.generate(FEATURES[:2], subject=NAMES[2], steps=2).data
    np.testing.assert_array_equal(
        model.generate(FEATURES[:2], subject=name, steps=2).data, wanted
    )
    assert both.rows(name) == slice(48, 72)
    assert both.of(name).summary == "sub-05: person 2"


@pytest.mark.parametrize("names", [("sub-01", "sub-02"), ("P1", "P2"), ("1", "2"),
                                   ("BIGMEG1", "BIGMEG2"), ("ann", "sub-2")])
def test_every_way_to_name_subjects_has_numbers(names):
    assert [place_of(name, names) for name in (2, "2", "sub-2", "sub-02", "P2")] == [1] * 5


def test_a_name_as_it_stands_comes_first():
    assert place_of("2", ("sub-02", "2")) == 1 and place_of("ann", ("bob", "ann")) == 1


@pytest.mark.parametrize(
    ("name", "known", "told"),
    [
        ("ann", ("sub-01", "bob"), "no subject 'ann'; known are: sub-01, bob"),
        (12, ("sub-01", "sub-02"), "no subject 12; known are"),
        ("", ("ann", "bob"), "no subject ''"),
        ("2", ("sub-02", "P2"), "more than one subject '2'; known are: sub-02, P2"),
    ],
)
def test_who_is_not_meant_for_sure_is_not_guessed(name, known, told):
    with pytest.raises(ValueError, match=told):
        place_of(name, known)


def test_somebody_left_out_is_named_as_the_values_are():
    """A mean of others that missed its subject would hold the very one left out."""
    with pytest.raises(ValueError, match="no subject '5'"):
        mean_of_others({"sub-05": np.zeros(1), "sub-01": np.ones(1)}, "5")
