"""`python -m tinybrain model.pt`: what a model's file says of itself, and what is refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.study_reports import report
from tests.test_subjects import prepared as several
from tests.test_train import prepared
from tests.test_verdict import HARD, JITTER, found
from tinybrain import __version__, checkpoint
from tinybrain.__main__ import USAGE, _bytes, card, main
from tinybrain.encoder import Encoder
from tinybrain.recipes import PAPER
from tinybrain.unet import UNet2D
from tinybrain.verdict import words

ROOT = Path(__file__).parents[1]


def judged(number=1, mse=0.5):
    return report(mse, data={"train": f"train of {number}", "test": f"test of {number}"},
                  versions={"python": "3.12.1", "torch": "2.9.9"},
                  verdict=found(HARD + 2 + JITTER))


def python(*arguments):
    """A fresh interpreter in the repository."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *map(str, arguments)], env=environment, text=True,
                          capture_output=True, check=False, timeout=100)


@pytest.fixture
def model():
    model = prepared()[0]
    model.card = {"epoch": 2, "report": judged()}
    return model


def entries(text):
    """Texts by label, lines joined."""
    found, label = {}, ""
    for line in text.split("\n\n")[0].splitlines():
        label = line[:11].strip() or label
        found[label] = f"{found.get(label, '')} {line[11:]}".strip()
    return found


def weigh(state):
    """Bytes of the arrays in a state, nested or not."""
    parts = [weigh(part) for part in state.values() if isinstance(part, dict)]
    tensors = [part for part in state.values() if isinstance(part, torch.Tensor)]
    return sum(parts) + sum(tensor.numpy().nbytes for tensor in tensors)


def test_parts_of_a_file_add_up_to_it(tmp_path):
    for model in (prepared()[0], several()[0]):
        path = model.save(tmp_path / "model.pt")
        content = checkpoint.load(path, "model", device="meta")
        parts = _bytes(content["unet"]) + _bytes(content["encoding"])
        base = model.encoding.state()
        base = base.get("subjects", [base])
        assert parts == weigh(model.unet.state_dict()) + sum(map(weigh, base))
        assert 0.5 < parts / path.stat().st_size < 1


def test_a_card_tells_what_the_model_is(model, tmp_path):
    path = model.save(tmp_path / "model.pt")
    told = entries(card(path))
    saved = {"network": model.unet.state_dict(), model.encoding.name: model.encoding.state()}
    sizes = [f"{name} {weigh(state) / 1e6:.1f}" for name, state in saved.items()]
    size = f"{path.stat().st_size / 1e6:.1f} MB ({', '.join(sizes)})"
    by = f"tinybrain {__version__}, torch {torch.__version__}"
    assert told["file"] == f"{path}, {size}, written by {by}"
    whole = hashlib.sha256(path.read_bytes()).hexdigest()  # as sha256sum gives it
    assert told["sha256"] == f"{whole}; the checksum at its end agrees"
    assert told["signals"] == "EEG, 3 sensors x 8 times, unit a.u."
    assert told["sensors"] == "A, B, C" and told["subjects"] == "one"
    assert told["times"] == "0 to 0.07 s from image onset at 100 Hz"
    assert told["encoder"] == f"{model.encoder.describe()}; width 12"
    count = sum(weight.numel() for weight in model.unet.state_dict().values())
    assert told["network"].startswith(f"{count:,} parameters: channels 32 32, attention False True")
    assert told["adds to"] == model.encoding.name
    assert told["epoch"] == "2, of at most 3"
    assert (told["learned"], told["judged on"]) == ("train of 1", "test of 1")
    assert told["versions"] == "python 3.12.1, torch 2.9.9"


def test_every_setting_of_recipe_and_network_is_told(model, tmp_path):
    told = entries(card(model.save(tmp_path / "model.pt")))
    for label, config in (("recipe", model.recipe), ("network", model.unet.config)):
        for name, value in checkpoint.config_to_dict(config).items():
            value = " ".join(map(str, value)) if isinstance(value, list) else value
            assert (f"{value}:" if name == "name" else f"{name} {value}") in told[label]


def test_scores_stand_beside_their_baselines_and_the_verdict(model, tmp_path):
    _, table, verdict = card(model.save(tmp_path / "model.pt")).split("\n\n")
    first = [line.split("|")[1].strip() for line in table.splitlines()]
    assert first[2:] == [row["name"] for row in model.card["report"]["rows"]]
    assert "0.6000" in table.splitlines()[2] and "0.4000" in table.splitlines()[3]
    assert " ".join(verdict.split()) == words(model.card["report"]["verdict"])


def test_of_several_subjects_each_is_told(tmp_path):
    model = several()[0]
    model.card = {"epoch": 1, "report": {"sub-01": judged(1), "sub-05": judged(5, 0.7)}}
    text = card(model.save(tmp_path / "model.pt"))
    told = entries(text)
    assert told["subjects"] == "sub-01, sub-02, sub-05"
    assert told["adds to"] == "ridge, one for each subject"
    assert told["learned"] == "train of 1; train of 5" and told["encoder"].endswith("width 5")
    assert text.index("\nsub-01\n") < text.index("0.5000") < text.index("\nsub-05\n")
    assert text.index("\nsub-05\n") < text.index("0.7000")


def test_a_model_that_was_not_judged_says_so(tmp_path):
    text = card(prepared(PAPER)[0].save(tmp_path / "model.pt"))
    told = entries(text)
    assert told["epoch"] == "not trained" and told["adds to"] == "nothing"
    assert " MB, written by" in told["file"]  # all of it is the network
    assert text.endswith("Not judged yet: training ends with a report, which is then kept here.")
    assert "learned" not in told


def test_licences_of_weights_and_data_are_told(model, tmp_path):
    path = tmp_path / "model.pt"
    told = entries(card(model.save(path)))
    assert told["licence"].startswith("of these weights: not stated: ask whoever trained it")
    assert told["terms"].endswith("(a demo is free): not known")
    for name, where in (("THINGS-EEG2", "osf.io/3jk45"), ("THINGS-MEG", "CC0")):
        model.card = {"licence": "CC BY 4.0", "report": report(
            0.5, data={"train": f"{name} train, x", "test": "y"}, versions={})}
        told = entries(card(model.save(path)))
        assert told["licence"] == "of these weights: CC BY 4.0"
        assert where in told["terms"] and "photographs of THINGS" in told["terms"]
        assert "CLIP" not in told["terms"]
    model.encoder = Encoder("clip", weights="ViT-L/14")
    assert "CLIP: MIT" in entries(card(model.save(path)))["terms"]


def test_a_run_folder_is_its_model(model, tmp_path):
    model.save(tmp_path / "model.pt")
    assert card(tmp_path) == card(tmp_path / "model.pt")


def test_no_network_is_built_and_no_weight_is_held(model, tmp_path, monkeypatch):
    path, load, read = model.save(tmp_path / "model.pt"), checkpoint.load, {}

    def watch(*given, **how):
        read.update(load(*given, **how))
        return read

    def built(*given):
        raise AssertionError("the network was built")

    monkeypatch.setattr(checkpoint, "load", watch)
    monkeypatch.setattr(UNet2D, "__init__", built)
    assert "parameters" in card(path)
    assert read["unet"] and all(weight.is_meta for weight in read["unet"].values())
    assert read["encoding"]["ridge"]["weights"].is_meta


def test_the_command_prints_the_card_or_one_line_of_usage(model, tmp_path, capsys):
    path = model.save(tmp_path / "model.pt")
    done = python("-m", "tinybrain", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, card(path) + "\n", "")
    for arguments in ([], ["--help"], ["a.pt", "-h"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert not ended.value.code and capsys.readouterr().out == USAGE + "\n"


def test_several_files_are_shown_in_turn_under_their_names(model, tmp_path, capsys):
    one, two = (str(model.save(tmp_path / name)) for name in ("one.pt", "two.pt"))
    main([one, two])
    told = f"==> {one} <==\n{card(one)}\n\n==> {two} <==\n{card(two)}\n"
    assert capsys.readouterr().out == told
    with pytest.raises(SystemExit) as ended:
        main([one, str(tmp_path / "no.pt"), two])  # what is there is shown all the same
    assert "no.pt: no such checkpoint" in str(ended.value.code)
    assert card(two) in capsys.readouterr().out


def test_files_that_are_no_models_are_one_line(model, tmp_path):
    path = model.save(tmp_path / "model.pt")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.pt").write_bytes(damaged)
    (tmp_path / "cut.pt").write_bytes(damaged[:1000])
    (tmp_path / "note.txt").write_text("a model")
    (tmp_path / "empty").mkdir()
    checkpoint.save(tmp_path / "run.pt", "run", {"step": 1})
    for name, told in (
        ("no.pt", "no.pt: no such checkpoint"),
        ("empty", "model.pt: no such checkpoint"),
        ("damaged.pt", "damaged.pt: damaged, it does not agree with the checksum at its end"),
        ("cut.pt", "cut.pt: not a file that tinybrain wrote"),
        ("note.txt", "note.txt: not a file that tinybrain wrote"),
        ("run.pt", "run.pt: a checkpoint of kind 'run'; wanted 'model'"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(tmp_path / name)])
        said = ended.value.code
        assert said.startswith("tinybrain: ") and told in said and "\n" not in said
