"""things.meg.raw, session and run: raw runs of THINGS-MEG, against mne's straight line."""

from __future__ import annotations

import sys

import mne
import numpy as np
import pytest

from tests.meg_recordings import (
    KEPT,
    LEFT,
    NAMES,
    RATE,
    by_mne,
    close,
    name_of,
    signals_of,
    where,
    write_run,
    write_subject,
)
from tinybrain.things import store
from tinybrain.things.meg import run as meg_run
from tinybrain.things.meg import session as meg_session
from tinybrain.things.meg.raw import Settings, prepare
from tinybrain.things.meg.run import Dropout
from tinybrain.things.meg.selection import Selection
from tinybrain.things.meg.signal import TIMES

HELD = Dropout(1, 2, 1, 4.5, 0.2)  # after the onset of its second trial
FEW = "ignore:.*4 gradiometers; THINGS-MEG has 271"


@pytest.fixture(scope="module", params=[".ds", ".fif"])
def subject(request, tmp_path_factory):
    """A subject's folder; tests that change it work on a copy."""
    return write_subject(tmp_path_factory.mktemp("bids"), request.param)


@pytest.fixture
def mine(tmp_path):
    """A subject in FIF that a test may change."""
    return write_subject(tmp_path / "bids")


def run_prepare(subject, out, **more):
    return prepare(subject.parent, out, 1, **more)


def test_a_ctf_folder_is_read_as_it_was_written(tmp_path):
    data = signals_of(1)
    write_run(tmp_path / "a_meg.ds", data)
    raw = meg_run.open_run(tmp_path / "a_meg.ds")
    assert raw.ch_names == NAMES and meg_run.gradiometers(raw.ch_names) == KEPT
    assert [raw.get_channel_types([name])[0] for name in KEPT] == ["mag"] * 4
    got = meg_run.read_signals(raw, tmp_path / "a_meg.ds", KEPT, None)
    wanted = data[[NAMES.index(name) for name in KEPT]]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=0.51e-17)  # the recording's last digit


@pytest.mark.parametrize("band", [(0.1, 40.0), (0.1, 100.0), (None, 40.0), None])
def test_chain_equals_the_straight_line_through_mne(subject, tmp_path, band):
    with pytest.warns(UserWarning, match="4 gradiometers; THINGS-MEG has 271"):
        made = run_prepare(subject, tmp_path, settings=Settings(band, (HELD,)))
    trials, card = by_mne(subject, band, [HELD]), store.read_card(made)
    train, test = (np.load(made / f"signals_{split}.npy") for split in ("train", "test"))
    assert train.shape == (4, 1, 4, 200) and test.shape == (2, 2, 4, 200)
    for row, image in enumerate(LEFT):
        close(train[row, 0], trials[where(image, "exp")[0]][:, 21:221])
    for row, image in enumerate([191, 148]):
        for repetition, at in enumerate(where(image, "test")):
            close(test[row, repetition], trials[at][:, 21:221])
    assert card.kind == "meg" and card.subject == 1 and list(card.sensors) == KEPT
    np.testing.assert_allclose(card.times, 0.005 * np.arange(1, 201), atol=1e-12)
    assert card.source["settings"]["band"] == (band and list(band))
    assert card.splits["train"].images == tuple(name_of(image) for image in LEFT)
    assert card.splits["test"].sessions.tolist() == [[1, 2], [1, 2]]


@pytest.mark.filterwarnings(FEW)
def test_crops_orders_and_test_concepts(mine, tmp_path):
    windows = {"all": slice(0, 281), "closed": slice(20, 221), "onset": slice(20, 220)}
    plain, trials = Settings(None, ()), by_mne(mine, None)
    for crop, window in windows.items():
        wanted = Selection(crop, drop_test_concepts=False)
        made = run_prepare(mine, tmp_path / crop, settings=plain, wanted=wanted)
        card = store.read_card(made)
        np.testing.assert_allclose(card.times, TIMES[window], atol=1e-12)
        train = np.load(made / "signals_train.npy")
        for row, image in enumerate([*LEFT, 141, 184]):
            close(train[row, 0], trials[where(image, "exp")[0]][:, window])
        assert card.splits["train"].concepts[-2:] == ("concept0011", "concept0014")
    wanted = Selection(test_order="image")
    made = run_prepare(mine, tmp_path / "by image", settings=plain, wanted=wanted)
    assert store.read_card(made).splits["test"].images == (name_of(148), name_of(191))
    test = np.load(made / "signals_test.npy")
    for row, image in enumerate([148, 191]):
        close(test[row, 1], trials[where(image, "test")[1]][:, 21:221])


@pytest.mark.filterwarnings(FEW)
def test_dropouts_of_the_data_set(mine):
    assert meg_run.DROPOUTS == ((1, 11, 5, 13.4, 0.2), (2, 10, 3, 59.8, 0.2))
    assert Settings((0.1, 40.0), meg_run.DROPOUTS) == meg_session.DISTRIBUTED


# Stopped and continued


@pytest.mark.filterwarnings(FEW)
def test_a_stopped_run_continues_with_the_next_session(mine, tmp_path, monkeypatch):
    read, done = meg_session.read_run, []

    def stops(path, *more):
        if "ses-02_task-main_run-02" in path.name and "stopped" not in done:
            done.append("stopped")
            raise KeyboardInterrupt
        done.append(path.name[19:42])
        return read(path, *more)

    monkeypatch.setattr(meg_session, "read_run", stops)
    plain, lines = Settings(None, ()), []
    with pytest.raises(KeyboardInterrupt):
        run_prepare(mine, tmp_path, settings=plain)
    parts = tmp_path / "sub-01/.sessions"
    assert sorted(path.name for path in parts.iterdir()) == ["ses-01.json", "ses-01.npy"]
    made = run_prepare(mine, tmp_path, settings=plain, report=lines.append)
    assert len(done) == 3 + 1 + 2 and lines[0] == "session 01: kept from before"
    assert sorted(path.name for path in made.iterdir()) == [
        "recording.json", "signals_test.npy", "signals_train.npy"]  # fmt: skip
    whole = run_prepare(mine, tmp_path / "at once", settings=plain)
    for split in ("train", "test"):
        name = f"signals_{split}.npy"
        assert (made / name).read_bytes() == (whole / name).read_bytes()
    count = len(done)
    assert run_prepare(mine, tmp_path, settings=plain, report=lines.append) == made
    assert len(done) == count and lines[-1] == f"{made}: complete"
    with pytest.raises(ValueError, match=r"made otherwise is there \(crop 'paper', now 'all'\)"):
        run_prepare(mine, tmp_path, settings=plain, wanted=Selection("all"))


@pytest.mark.filterwarnings(FEW)
@pytest.mark.parametrize("change", ["settings", "onsets", "recording", "half"])
def test_a_part_made_of_something_else_is_made_again(mine, tmp_path, monkeypatch, change):
    plain, stop = Settings(None, ()), {"session": 2}
    read = meg_session.read_run

    def stops(path, *more):
        if f"ses-{stop['session']:02d}_" in path.name:
            raise KeyboardInterrupt
        return read(path, *more)

    monkeypatch.setattr(meg_session, "read_run", stops)
    with pytest.raises(KeyboardInterrupt):
        run_prepare(mine, tmp_path, settings=plain)
    meg, part = mine / "ses-01/meg", tmp_path / "sub-01/.sessions/ses-01.npy"
    if change == "settings":
        plain = Settings(None, (Dropout(1, 1, 1, 3.0, 0.2),))
    elif change == "onsets":
        table = meg / "sub-BIGMEG1_ses-01_task-main_run-02_events.tsv"
        table.write_text(table.read_text().replace("\t3439", "\t3440"))
    elif change == "recording":
        recording = meg / "sub-BIGMEG1_ses-01_task-main_run-01_meg.fif"
        recording.unlink()
        write_run(recording, signals_of(11)[:, :-1])
    else:
        part.with_suffix(".json").unlink()
    stop["session"] = 1  # so that making it again is seen
    with pytest.raises(KeyboardInterrupt):
        run_prepare(mine, tmp_path, settings=plain)
    assert not part.with_suffix(".json").exists()


# What is wrong is said before hours of work


def test_triggers_must_be_as_many_as_events(mine, tmp_path):
    table = mine / "ses-02/meg/sub-BIGMEG1_ses-02_task-main_run-01_events.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:3], *lines[4:]]) + "\n")  # a catch trial is gone
    with pytest.warns(), pytest.raises(
        ValueError, match="ses-02.*run-01_meg.fif: 4 triggers of 64 on UPPT001, but 3 rows"
    ):
        run_prepare(mine, tmp_path, settings=Settings(None, ()))


def test_without_triggers_there_is_a_warning(tmp_path):
    raw = mne.io.RawArray(signals_of(0)[:7], mne.create_info(NAMES[:7], RATE), verbose="error")
    with pytest.warns(UserWarning, match="a_meg.fif: no channel UPPT001: whether its 5 events"):
        meg_run.check_triggers(raw, tmp_path / "a_meg.fif", 5)


def test_tables_of_version_1_are_refused(mine, tmp_path):
    for table in mine.rglob("sub-*_events.tsv"):
        rows = [line.split("\t") for line in table.read_text().splitlines()]
        table.write_text("".join("\t".join(row[:-1]) + "\n" for row in rows))
    with pytest.raises(ValueError, match="nominal onsets of version 1 .* version 2.0.0 or later"):
        run_prepare(mine, tmp_path)
    assert not (tmp_path / "sub-01").exists()


def test_missing_and_doubled_files_are_named(mine, tmp_path):
    (mine.parent / "sub-01").mkdir()  # a store beside the recordings does not hide them
    meg = mine / "ses-01/meg"
    table = meg / "sub-BIGMEG1_ses-01_task-main_run-02_events.tsv"
    kept = table.read_text()
    table.unlink()
    with pytest.raises(FileNotFoundError, match="no table .* of session 01, run 02; 4 recordings"):
        run_prepare(mine, tmp_path)
    table.write_text(kept)
    recording = meg / "sub-BIGMEG1_ses-01_task-main_run-02_meg.fif"
    (meg / "sub-BIGMEG1_ses-01_task-main_run-02_meg.ds").mkdir()
    with pytest.raises(ValueError, match="are the same run; leave one of them"):
        run_prepare(mine, tmp_path)
    (meg / "sub-BIGMEG1_ses-01_task-main_run-02_meg.ds").rmdir()
    recording.unlink()
    with pytest.raises(FileNotFoundError, match="no recording .* of session 01, run 02; 3 rec"):
        run_prepare(mine, tmp_path)
    with pytest.raises(ValueError, match="crop 'half', .*; wanted crop paper, onset"):
        Selection("half")
    with pytest.raises(FileNotFoundError, match="no recordings of subject 2; wanted the BIDS"):
        prepare(mine.parent, tmp_path, 2)
    for path in mine.rglob("*_meg.fif"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no recordings of subject 1"):
        run_prepare(mine, tmp_path)


@pytest.mark.filterwarnings(FEW, "ignore:Invalid tag")
def test_recordings_that_cannot_be_used_are_named(mine, tmp_path):
    path = mine / "ses-01/meg/sub-BIGMEG1_ses-01_task-main_run-02_meg.fif"
    good, plain = mne.io.read_raw_fif(path, preload=True, verbose="error"), Settings(None, ())
    cases = [
        (lambda raw: raw.resample(600), "sampled at 600 Hz; wanted .* 1200 Hz"),
        (lambda raw: raw.drop_channels("MRT16-1609"), "3 gradiometers.* differ in MRT16-1609"),
        (lambda raw: raw.reorder_channels(NAMES[::-1]), "the same in another order"),
        (lambda raw: raw.crop(0, 6), "run-02_meg.fif: trial 3 at sample 7041 needs .* truncated"),
        (lambda raw: raw.apply_function(lambda x: 0 * x, "MLO32-1609"),
         "trial 1 .* flat .*: MLO32-1609;"),
    ]
    for change, message in cases:
        raw = change(good.copy())
        raw.save(path, fmt="double", overwrite=True, verbose="error")
        with pytest.raises(ValueError, match=message):
            run_prepare(mine, tmp_path, settings=plain)
    path.write_bytes(b"no recording")
    with pytest.raises(ValueError, match="run-02_meg.fif: mne cannot read it"):
        run_prepare(mine, tmp_path, settings=plain)
    with pytest.raises(ValueError, match="run-01_meg.fif: .*dropout of 0.2 s at 50 s"):
        run_prepare(mine, tmp_path, settings=Settings(None, (Dropout(1, 1, 1, 50.0, 0.2),)))
    with pytest.raises(ValueError, match="run-01_meg.fif: .*700"):
        run_prepare(mine, tmp_path, settings=Settings((0.1, 700.0), ()))


@pytest.mark.filterwarnings(FEW)
def test_sessions_must_have_the_same_sensors(mine, tmp_path):
    for path in (mine / "ses-02/meg").glob("*_meg.fif"):
        raw = mne.io.read_raw_fif(path, preload=True, verbose="error").drop_channels("MZP01-1609")
        raw.save(path, fmt="double", overwrite=True, verbose="error")
    with pytest.warns(), pytest.raises(ValueError, match="3 gradiometers in session 02, other"):
        run_prepare(mine, tmp_path, settings=Settings(None, ()))


def test_without_mne_it_says_what_to_install(mine, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tinybrain-ddpm\[mne\]'"):
        run_prepare(mine, tmp_path)
