"""Pieces: what is finished is not run again, what was begun goes on, what differs is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.study_reports import finish, report, study
from tinybrain import experiment
from tinybrain.clip.model import DEMO_VISION
from tinybrain.study import command, pieces, plan, tables
from tinybrain.study.pieces import WAYS, Piece
from tinybrain.unet import UNet2D


@pytest.fixture
def runs(monkeypatch):
    """Training replaced by a note of whose it was; what it is told to do is written down."""
    noted = []
    recording = SimpleNamespace(signals=np.zeros((2, 3, 4)))

    def learn(args, train, test, folder, device, here):
        noted.append((folder.parent.name, folder.name, args.conditioning, args.tokens))
        if args.force == "break":
            raise KeyboardInterrupt("stopped")
        return SimpleNamespace(card={}, save=lambda path: path), {"train": None, "test": None}

    def leave(folder, *_):
        for name in ("generated.npz", "report.json"):
            (folder / name).write_text("{}")

    monkeypatch.setattr(pieces.Study, "recordings", lambda self, piece: (recording, recording))
    monkeypatch.setattr(pieces, "read_truth", lambda *_: SimpleNamespace(test=None))
    monkeypatch.setattr(pieces.experiment, "learn", learn)
    monkeypatch.setattr(pieces.report, "evaluate", lambda *_, **__: SimpleNamespace(report={}))
    monkeypatch.setattr(pieces.experiment, "leave", leave)
    monkeypatch.setattr(pieces.report, "verdict", lambda report: "")
    return noted


def test_every_piece_has_a_folder_and_a_run_of_its_own(tmp_path, runs):
    of = study(tmp_path, subjects=(1, 2))
    assert [pieces.make(of, piece) for piece in of.pieces(*WAYS)] == [True] * 8
    assert runs[:4] == [
        ("sub-01", "addition-1", "addition", False),
        ("sub-01", "concatenation-1", "concatenation", False),
        ("sub-01", "cross_attention-1", "cross_attention", False),
        ("sub-01", "cross_attention-all", "cross_attention", True),
    ]
    assert {run[0] for run in runs} == {"sub-01", "sub-02"} and len(set(runs)) == 8


def test_what_is_finished_is_not_run_again(tmp_path, runs):
    of, piece = study(tmp_path), Piece("eeg", 1)
    assert pieces.look(of, piece).word == "to do"
    assert pieces.make(of, piece) and not pieces.make(of, piece) and len(runs) == 1
    assert pieces.look(of, piece).word == "finished"
    (of.folder(piece) / "generated.npz").unlink()  # as if killed before it was written
    assert pieces.look(of, piece).word == "begun"
    assert pieces.make(of, piece) and len(runs) == 2
    assert pieces.make(study(tmp_path, restart=True), piece) and len(runs) == 3


def test_what_was_stopped_goes_on(tmp_path, runs):
    of, piece = study(tmp_path), Piece("eeg", 2)
    with pytest.raises(KeyboardInterrupt):
        pieces.make(study(tmp_path, force="break"), piece)
    (of.folder(piece) / "run-00000120.pt").write_text("")
    assert pieces.look(of, piece) == pieces.State("begun", 120)
    assert pieces.make(of, piece) and pieces.look(of, piece).word == "finished"


def test_other_settings_are_shown_and_refused_unless_forced(tmp_path, runs):
    piece = Piece("eeg", 1)
    pieces.make(study(tmp_path), piece)
    other = study(tmp_path, epochs=77, trials=9)
    assert pieces.look(other, piece).differences == (
        "recipe.epochs: 10 there, 77 asked for", "trials: 4 there, 9 asked for")
    with pytest.raises(ValueError, match="(?s)cross_attention-1: holds.*epochs: 10 there, 77"):
        pieces.make(other, piece)
    assert not pieces.make(study(tmp_path, epochs=77, trials=9, force=True), piece)
    assert pieces.make(study(tmp_path, epochs=77, trials=9, restart=True), piece)
    assert pieces.look(other, piece).word == "finished" and len(runs) == 2


def test_other_settings_are_refused_before_anything_is_made(tmp_path, runs, monkeypatch, capsys):
    """All of them, those that differ alike together; with --plan they are only shown."""
    monkeypatch.setattr(plan, "time_steps", lambda *_: plan.Estimate(60.0, "thin air"))
    pieces.make(study(tmp_path), Piece("eeg", 2))
    pieces.make(study(tmp_path), Piece("eeg", 3))
    pieces.make(study(tmp_path, trials=9), Piece("eeg", 4))
    other = study(tmp_path, subjects=(1, 2, 3, 4), epochs=77)
    work, ours = [(other, piece) for piece in other.pieces()], len(runs)
    assert not command.walk(work, only_plan=True)
    with pytest.raises(ValueError, match="other settings") as refused:
        command.walk(work, only_plan=False)
    folders = [str(other.folder(piece)) for piece in other.pieces()]
    assert str(refused.value).splitlines() == [
        f"{folders[1]}, {folders[2]}: hold models with other settings:",
        "  recipe.epochs: 10 there, 77 asked for",
        f"{folders[3]}: holds a model with other settings:",
        "  recipe.epochs: 10 there, 77 asked for", "  trials: 9 there, 4 asked for",
        "choose another --out, --restart to train all models anew, or --force to take those "
        "there as they are",
    ]
    assert len(runs) == ours and not Path(folders[0]).exists()
    assert capsys.readouterr().out.count("other settings") == 2 * 3  # both plans show it
    forced = study(tmp_path, subjects=(1, 2, 3, 4), epochs=77, force=True)
    assert command.walk([(forced, piece) for piece in forced.pieces()], only_plan=False)
    assert len(runs) == ours + 1


def test_a_damaged_note_of_settings_is_named(tmp_path):
    of, piece = study(tmp_path), Piece("eeg", 1)
    folder = finish(of, piece, report())
    (folder / "piece.json").write_text("{")
    with pytest.raises(ValueError, match="piece.json is damaged"):
        pieces.look(of, piece)
    (folder / "report.json").write_text("{")
    with pytest.raises(ValueError, match="report.json is damaged"):
        pieces.read_report(of, piece)


def test_leaving_one_out_takes_all_the_others(tmp_path):
    of = study(tmp_path, subjects=(1, 3, 4))
    left_out = of.pieces_without()
    assert [(piece.subject, piece.others) for piece in left_out] == [
        (1, (3, 4)), (3, (1, 4)), (4, (1, 3))]
    assert of.folder(left_out[1]).parent.name == "without-03"
    assert json.dumps(of.settings(left_out[1])["piece"]["others"]) == "[1, 4]"


# -------------------------------------------------------------------------------------------------
# The plan


def test_a_plan_reckons_by_what_is_finished_else_by_timing_once_a_way(tmp_path):
    of = study(tmp_path, subjects=(1, 2, 3))
    finish(of, Piece("eeg", 1), report(seconds=50.0))
    finish(of, Piece("eeg", 2), report(seconds=70.0))
    timed = []

    def measure(study_, piece):
        timed.append(str(piece))
        return plan.Estimate(30.0, "2 steps of 1 s")

    work = [(of, piece) for piece in of.pieces(*WAYS)]
    entries = plan.make_plan(work, measure)
    by_piece = {str(entry.piece): entry for entry in entries}
    assert timed == ["eeg sub-01 cross_attention-all"]
    assert by_piece["eeg sub-01 cross_attention-1"].estimate is None
    assert by_piece["eeg sub-03 cross_attention-1"].estimate == (60.0, "2 finished of eeg")
    assert by_piece["eeg sub-02 addition-1"].estimate.seconds == 60.0
    table = plan.to_table(entries)
    assert "10 of 12 models to make, about 0:08:30" in table.caption  # 7 x 60 s + 3 x 30 s
    assert "| eeg sub-01 cross_attention-1   | finished |" in tables.to_markdown(table)


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """A study of 12 training images whose every step takes two seconds, and the rows of each."""
    few = SimpleNamespace(
        signals=np.zeros((12, 4, 6), np.float32), images=range(12), concepts=tuple("aabbccddeeff")
    )
    tests, rows, step = SimpleNamespace(images=range(5)), [], plan.train_step
    monkeypatch.setattr(plan.Study, "recordings", lambda self, piece: (few, tests))
    clock = iter(range(0, 100, 2))
    monkeypatch.setattr(plan, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    def counted(state, recipe, ddpm, y0, *given, **named):
        rows.append(len(y0))
        step(state, recipe, ddpm, y0, *given, **named)

    monkeypatch.setattr(plan, "train_step", counted)
    of = study(tmp_path, channels=[8, 8], batch_size=4, epochs=3, heldout=0.34, steps=6, trials=2,
               device="cpu")
    return of, rows


def test_timing_multiplies_steps(timed):
    of, rows = timed
    seconds, source = plan.time_steps(of, Piece("eeg", 1))
    training = 2 * 3 * 2  # seconds, epochs, steps of 4 of the 8 rows that are not held out
    assert seconds == pytest.approx(training + 2 / 3 * 6 * 2 * 5 / 4)
    assert source == "2 steps of 2 s" and rows == [4, 4, 4]


def test_one_row_of_a_large_network_is_timed_on_a_cpu_in_place_of_a_batch(timed, monkeypatch):
    monkeypatch.setattr(plan, "LARGE", 1)
    of, rows = timed
    seconds, source = plan.time_steps(of, Piece("eeg", 1))
    assert seconds == pytest.approx(4 * (2 * 3 * 2 + 2 / 3 * 6 * 2 * 5 / 4))
    assert source == "2 steps of 2 s on 1 row, times 4" and rows == [1, 1, 1]


def test_what_is_timed_is_said_before_anything_that_takes_time(timed, monkeypatch, capsys):
    (of, _), piece, said = timed, Piece("eeg", 1), []
    found = of.recordings(piece)

    def recordings(*_):
        said.append(capsys.readouterr().err)
        return found

    monkeypatch.setattr(plan.Study, "recordings", recordings)
    plan.time_steps(of, piece)
    config = experiment.settings(of.arguments(piece), "eeg", DEMO_VISION.embed_dim)[1]
    weights = sum(p.numel() for p in UNet2D(config).parameters())
    words = f"timing 2 steps of a network of {weights:,} parameters for the plan ...\n"
    assert said == [words]
    assert capsys.readouterr() == ("", "")
