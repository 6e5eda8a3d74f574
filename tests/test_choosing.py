"""Several files of a subject in one folder: which is read, what is said, what to do."""

from __future__ import annotations

import numpy as np
import pytest

from tests import test_eeg2_variants as variants
from tests.test_prepare_meg import write_song
from tinybrain.things import EEG2, MEG
from tinybrain.things.choosing import choose
from tinybrain.things.meg.convert import convert
from tinybrain.things.meg.selection import Selection

root = variants.root  # a fixture


def test_a_file_alone_is_taken_and_a_store_before_all_others(tmp_path):
    theirs, ours = tmp_path / "a/sub-01/train.npy", tmp_path / "b/sub-01/recording.json"
    assert choose([theirs], "files") == (theirs, "")
    for found in ([theirs, ours], [ours, theirs]):
        assert choose(found, "files") == (ours, f" (prepared here, so preferred to {theirs})")


@pytest.mark.parametrize(
    ("places", "folder"),
    [
        (("a/sub-01/x", "b/sub-01/x"), "a"),
        (("eeg/a/sub-01/x", "eeg/b/sub-01/x", "c/x"), "eeg/a"),
        (("sub-01/x", "b/sub-01/x"), "sub-01"),
        (("x", "b/x"), "b"),  # no folder has the first alone
        (("a/x", "a/y"), None),
    ],
)
def test_the_folder_to_pass_holds_the_file_and_none_of_the_others(tmp_path, places, folder):
    with pytest.raises(ValueError) as caught:
        choose([tmp_path / place for place in places], "train files of subject 1")
    said = str(caught.value)
    assert said.startswith(f"{len(places)} train files of subject 1: ")
    assert all(str(tmp_path / place) in said for place in places)
    wanted = f"as in --data {tmp_path / folder}" if folder else "leave one of them there"
    assert wanted in said and (not folder or said.endswith(wanted))


# EEG


def test_several_variants_side_by_side_are_listed(root):
    for variant in (variants.nice, variants.ubp):
        variant(root, "train", variants.signals("train"))
    with pytest.raises(ValueError, match="2 train files of subject 1 .*pass the folder") as caught:
        EEG2(root, 1, "train")
    for name in ("train.pt", "preprocessed_eeg_training.npy"):
        assert name in str(caught.value)
    assert "UBP" in EEG2(root / "Preprocessed_data_250Hz_whiten", 1, "train").summary


def test_what_was_prepared_here_is_preferred_and_the_summary_says_so(root):
    for variant in (variants.nice, variants.ubp):
        variant(root, "train", variants.signals("train"))
    variants.own(root, "train", 2 * variants.signals("train"))
    eeg = EEG2(root, 1, "train")
    np.testing.assert_array_equal(eeg.signals, EEG2(root / "prepared", 1, "train").signals)
    told = eeg.summary.split("prepared here, so preferred to ")[1]
    assert told.index("preprocessed_eeg_training.npy") and told.index("train.pt")
    assert "preferred" not in EEG2(root / "prepared", 1, "train").summary
    (root / "prepared").rename(root / "first")
    variants.own(root, "train", variants.signals("train"))
    with pytest.raises(ValueError, match="2 train files of subject 1") as caught:
        EEG2(root, 1, "train")
    assert f"{root / 'first/sub-01/recording.json'}" in str(caught.value)
    assert f"--data {root / 'first'}" in str(caught.value) and "train.pt" not in str(caught.value)


def test_a_store_of_meg_does_not_count_among_eeg(root):
    variants.nice(root, "train", variants.signals("train"))
    variants.own(root, "train", variants.signals("train"))
    card = root / "prepared/sub-01/recording.json"
    card.write_text(card.read_text().replace('"eeg"', '"meg"'))
    assert "NICE" in EEG2(root, 1, "train").summary
    with pytest.raises(ValueError, match="meg of subject 1; wanted EEG of 1"):
        EEG2(root / "prepared", 1, "train")


# MEG


def test_meg_prepared_beside_its_source_is_preferred_and_continued(tmp_path):
    source = tmp_path / "derivatives"
    write_song(source)
    before = MEG(source, 1, "test", repeats="single")
    lines = []
    for _ in range(2):  # again: what was made is not taken for its own source
        made = convert(source, source / "Prepared", 1, report=lines.append)
    assert lines[-2:] == ["train: there", "test: there"]
    after = MEG(source, 1, "test", repeats="single")
    np.testing.assert_array_equal(after.signals, before.signals)
    pickle = source / "meg_sub-01_test.pkl"
    assert f" (prepared here, so preferred to {pickle}), unit baseline sd" in after.summary
    whole = convert(made.parent, tmp_path / "out", 1, wanted=Selection(test_order="image"))
    np.testing.assert_array_equal(np.load(whole / "signals_test.npy"), before.signals[::-1])
