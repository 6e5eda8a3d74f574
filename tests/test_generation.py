"""Signals of many images, into a folder: what is written, and what a stop anywhere leaves."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from tests.test_pipeline import TOWER, gaussian_model
from tests.test_train import CONFIG, prepared, recording
from tinybrain import generation
from tinybrain.clip.model import TextConfig
from tinybrain.encoder import random_encoder
from tinybrain.generation import Plan, generate
from tinybrain.pipeline import ImageToBrain
from tinybrain.recipes import PAPER, TINYBRAIN
from tinybrain.signals import BrainSignals
from tinybrain.stimuli import find_stimuli

PLAN = Plan(trials=3, seed=4, batch_size=5)  # 7 images: blocks cut through images, the last is 1


def saved(path, model, seed=1):
    """A model whose network answers something."""
    torch.nn.init.normal_(
        model.unet.conv_out.weight, std=0.1, generator=torch.Generator().manual_seed(seed)
    )
    return model.save(path)


@pytest.fixture
def inputs(tmp_path):
    """A model of features in a file, and 7 features."""
    path = tmp_path / "features.npy"
    np.save(path, np.random.default_rng(2).normal(size=(7, 12)).astype(np.float32))
    return saved(tmp_path / "model.pt", prepared(heldout=0.0)[0]), find_stimuli([path])


def photos(folder, count=4):
    rng = np.random.default_rng(3)
    for i in range(count):
        (folder / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"c{i % 2}" / f"{i}.png")
    return folder


def test_the_files_hold_what_the_model_generates(inputs, tmp_path):
    path, stimuli = inputs
    assert generate(path, stimuli, PLAN, tmp_path / "out") == 21
    model, signals = ImageToBrain.load(path), BrainSignals.load(tmp_path / "out")
    wanted = model.generate(np.array(stimuli.features), trials=3, seed=4, batch_size=5)
    np.testing.assert_array_equal(signals.data, wanted.data)
    assert isinstance(signals.data, np.memmap) and signals.data.std(axis=1).min() > 0
    np.testing.assert_array_equal(signals.times, wanted.times)
    assert (signals.sensors, signals.kind, signals.unit) == (("A", "B", "C"), "eeg", "a.u.")
    about = json.loads((tmp_path / "out/signals.json").read_text())
    asked = {"trials": 3, "sampler": "dpm_solver", "steps": 5, "guidance": 1.0, "seed": 4}
    assert {name: about[name] for name in asked} == asked
    assert about["images"][6] == "features.npy row 6" and len(about["files"]["features.npy"]) == 64
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {
        "signals.npy", "signals.json", "lock"
    }


def test_sampler_and_steps_are_those_asked_for(inputs, tmp_path):
    path, stimuli = inputs
    generate(path, stimuli, Plan(sampler="ddim", steps=3, guidance=2.0), tmp_path / "out")
    wanted = ImageToBrain.load(path).generate(
        np.array(stimuli.features), sampler="ddim", steps=3, guidance=2.0
    )
    np.testing.assert_array_equal(BrainSignals.load(tmp_path / "out").data, wanted.data)
    model = ImageToBrain.load(path)  # T = 50
    assert [Plan(sampler=name).settled(model).steps for name in (None, "ancestral", "ddim")] == [
        5, 50, 50
    ]


def test_conditional_mean(inputs, tmp_path):
    path, stimuli = inputs
    generate(path, stimuli, Plan(mean=True, batch_size=7), tmp_path / "out")
    wanted = ImageToBrain.load(path).mean(np.array(stimuli.features))
    np.testing.assert_array_equal(BrainSignals.load(tmp_path / "out").data, wanted.data)
    about = json.loads((tmp_path / "out/signals.json").read_text())
    assert about["content"] == "conditional mean" and about["seed"] is about["sampler"] is None


def test_pictures_are_encoded_block_by_block(tmp_path, monkeypatch):
    path = saved(tmp_path / "model.pt", gaussian_model())
    stimuli, sizes = find_stimuli([photos(tmp_path / "set")]), []
    assert stimuli.names == ("c0/0.png", "c0/2.png", "c1/1.png", "c1/3.png")
    encode, draw = ImageToBrain.encode, ImageToBrain.draw

    def watch_encode(self, images, captions, **whose):
        sizes.append(("encode", len(images)))
        return encode(self, images, captions, **whose)

    def watch_draw(self, context, rows, **how):
        sizes.append(("draw", len(rows)))
        return draw(self, context, rows, **how)

    monkeypatch.setattr(ImageToBrain, "encode", watch_encode)
    monkeypatch.setattr(ImageToBrain, "draw", watch_draw)
    generate(path, stimuli, Plan(trials=2, batch_size=3), tmp_path / "out")
    assert sizes == [("encode", 2), ("draw", 3)] * 2 + [("encode", 1), ("draw", 2)]
    monkeypatch.undo()
    wanted = ImageToBrain.load(path).generate(list(stimuli.images), trials=2).data
    np.testing.assert_allclose(BrainSignals.load(tmp_path / "out").data, wanted, atol=1e-4)


def test_each_picture_is_told_with_its_caption(tmp_path):
    data, context = recording()
    words = TextConfig(514, width=16, layers=1, heads=2, embed_dim=12)
    encoder = random_encoder(TOWER, context="image+text", text=words)
    recipe = dataclasses.replace(TINYBRAIN, sampling_steps=5)
    model, _ = ImageToBrain.prepare(recipe, CONFIG, data, context.expand(-1, 2, -1), encoder)
    path, captions = saved(tmp_path / "model.pt", model), ["a cat", "a dog", "a fox", "an owl"]
    table, pictures = tmp_path / "table.csv", photos(tmp_path / "set")
    rows = zip("0213", captions)  # the files in the order of their paths
    table.write_text("image,caption\n" + "".join(f"{i}.png,{words}\n" for i, words in rows))
    stimuli = find_stimuli([pictures], table)
    generate(path, stimuli, Plan(batch_size=2), tmp_path / "out")
    wanted = ImageToBrain.load(path).generate(list(stimuli.images), captions=captions).data
    np.testing.assert_allclose(BrainSignals.load(tmp_path / "out").data, wanted, atol=1e-4)
    with pytest.raises(ValueError, match="needs a table of captions"):
        generate(path, find_stimuli([pictures]), Plan(), tmp_path / "more")


def test_a_full_disk_is_found_at_the_start(inputs, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match=r"no room for 2.02e-06 GB of signals \(No space left"):
        generate(*inputs, PLAN, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["lock"]
    monkeypatch.undo()
    assert generate(*inputs, PLAN, tmp_path / "out") == 21


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def test_killed_before_any_write_or_rename_it_continues_to_the_same_files(
    inputs, tmp_path, monkeypatch
):
    """The run is cut at its first, second, ... call that changes the disk; then it continues."""

    class Killed(BaseException):
        pass

    path, stimuli = inputs
    generate(path, stimuli, PLAN, tmp_path / "whole")
    wanted = contents(tmp_path / "whole")
    for cut in range(100):
        out, calls = tmp_path / f"out{cut}", []
        with monkeypatch.context() as patch:
            for name in ("fsync", "replace"):
                def dying(*args, real=getattr(os, name), calls=calls, cut=cut):
                    calls.append(args)
                    if len(calls) > cut:
                        raise Killed
                    return real(*args)

                patch.setattr(os, name, dying)
            try:
                generate(path, stimuli, PLAN, out)
                break
            except Killed:
                pass
        begun = (out / "signals.json.part").exists() and (out / "signals.npy.part").exists()
        known = (out / "signals.done.part").read_bytes() if begun else bytes(5)
        drawn = generate(path, stimuli, PLAN, out)
        assert contents(out) == wanted, cut
        if cut < 14:  # later all is drawn: only names are wanted
            assert drawn == 21 - sum(size for size, done in zip((5, 5, 5, 5, 1), known) if done)
    assert cut == 4 + 2 * 5 + 2  # done.part, json.part; two for each block; two names at the end


def test_only_what_is_missing_is_drawn(inputs, tmp_path, monkeypatch):
    path, stimuli = inputs
    generate(path, stimuli, PLAN, tmp_path / "whole")
    draw, rows = generation.draw_block, []

    def failing(model, stimuli, plan, those):
        if those.start == 10 and 10 not in rows:
            rows.append(10)
            raise ValueError("broken image")
        rows.append(those.start)
        return draw(model, stimuli, plan, those)

    monkeypatch.setattr(generation, "draw_block", failing)
    with pytest.raises(ValueError, match="broken image"):
        generate(path, stimuli, PLAN, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="signals.json does not exist"):
        BrainSignals.load(tmp_path / "out")
    assert generate(path, stimuli, PLAN, tmp_path / "out") == 11
    assert rows == [0, 5, 10, 10, 15, 20]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert generate(path, stimuli, PLAN, tmp_path / "out") == 0


def test_ctrl_c_stops_after_the_block_under_way(inputs, tmp_path, monkeypatch):
    path, stimuli = inputs
    draw = generation.draw_block

    def interrupted(model, stimuli, plan, those):
        if those.start == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(model, stimuli, plan, those)

    monkeypatch.setattr(generation, "draw_block", interrupted)
    with pytest.raises(KeyboardInterrupt, match="10 of 21 signals are drawn; the same command"):
        generate(path, stimuli, PLAN, tmp_path / "out")
    monkeypatch.undo()
    assert generate(path, stimuli, PLAN, tmp_path / "out") == 11


def stopped(path, stimuli, plan, out):
    """A run that got no further than its first block."""
    with pytest.MonkeyPatch.context() as patch:
        def stop(*args):
            raise ValueError("stop")

        patch.setattr(generation, "draw_block", stop)
        with pytest.raises(ValueError, match="stop"):
            generate(path, stimuli, plan, out)


@pytest.mark.parametrize("finished", [False, True])
def test_another_request_is_refused_by_what_differs(inputs, tmp_path, finished):
    path, stimuli = inputs
    out = tmp_path / "out"
    (generate if finished else stopped)(path, stimuli, PLAN, out)
    other = tmp_path / "other.npy"
    np.save(other, 2 * np.array(stimuli.features))
    before = contents(out)
    model = saved(tmp_path / "sub/model.pt", prepared(heldout=0.0)[0], seed=2)
    for arguments, told in (
        ((path, stimuli, Plan(trials=3, seed=5, batch_size=5)), "  seed: 4 there, 5 now\nname"),
        ((path, stimuli, Plan(trials=3, seed=4)), "  batch_size: 5 there, 64 now\nname"),
        ((path, stimuli, Plan(4, seed=4, batch_size=5)), "trials: 3 there, 4 now"),
        ((path, find_stimuli([other]), PLAN), r"images\[0\]: features.npy row 0 there, other.npy"),
        ((model, stimuli, PLAN), r"else:\n  model.sha256: \w+ there, \w+ now\nname another folder"),
    ):
        with pytest.raises(ValueError, match=told):
            generate(*arguments, out)
    assert contents(out) == before
    plan = Plan(trials=3, seed=5, batch_size=5)
    assert generate(path, stimuli, plan, out, restart=True) == 21
    generate(path, stimuli, plan, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_a_changed_picture_is_another_request(tmp_path):
    path, folder = saved(tmp_path / "model.pt", gaussian_model()), photos(tmp_path / "set")
    stopped(path, find_stimuli([folder]), Plan(), tmp_path / "out")
    Image.new("RGB", (40, 40)).save(folder / "c1/3.png")
    with pytest.raises(ValueError, match=r"  files.c1/3.png: \w{64} there, \w{64} now\nname"):
        generate(path, find_stimuli([folder]), Plan(), tmp_path / "out")


def test_damaged_folders_are_refused(inputs, tmp_path):
    path, stimuli = inputs
    for name, size, told in (
        ("signals.done.part", 3, "is cut short"), ("signals.npy.part", 300, "is cut short"),
        ("signals.json.part", 30, "json.part is damaged"), ("signals.done.part", None, "is gone"),
    ):
        out = tmp_path / f"{name}{size}"
        stopped(path, stimuli, PLAN, out)
        if size is None:
            (out / name).unlink()
        else:
            os.truncate(out / name, size)
        with pytest.raises(ValueError, match=f"{told}.*"):
            generate(path, stimuli, PLAN, out)
        assert generate(path, stimuli, PLAN, out, restart=True) == 21
    mine = tmp_path / "mine"
    mine.mkdir()
    np.save(mine / "signals.npy", np.zeros(3))
    with pytest.raises(ValueError, match="holds a signals.npy that no signals.json describes"):
        generate(path, stimuli, PLAN, mine)
    assert np.load(mine / "signals.npy").shape == (3,)


def test_what_cannot_be_is_refused_before_a_folder_is_made(inputs, tmp_path):
    path, stimuli = inputs
    seeing = saved(tmp_path / "seeing.pt", gaussian_model())
    paper = saved(tmp_path / "paper.pt", prepared(PAPER, heldout=0.0)[0])
    narrow = tmp_path / "narrow.npy"
    np.save(narrow, np.zeros((2, 11), np.float32))
    pictures = photos(tmp_path / "set")
    table = tmp_path / "table.csv"
    table.write_text("image,caption\n" + "".join(f"{i}.png,a thing\n" for i in range(4)))
    refused = [
        (path, find_stimuli([narrow]), Plan(), r"narrow.npy: features are \(1, 1, 11\); .*12\)"),
        (path, find_stimuli([pictures]), Plan(), "holds no image encoder"),
        (seeing, find_stimuli([pictures], table), Plan(), "reads no captions"),
        (paper, stimuli, Plan(guidance=2), "has seen the null context"),
        (paper, stimuli, Plan(mean=True), "no zero terminal SNR"),
        (path, stimuli, Plan(mean=True, trials=2), "one signal per image, not 2"),
        (path, stimuli, Plan(steps=51), "steps is 51; wanted 1 to 50"),
        (path, stimuli, Plan(steps=0), "steps is 0"),
        (path, stimuli, Plan(trials=0), "trials is 0; wanted 1 or more"),
        (path, stimuli, Plan(sampler="dpm"), "sampler is 'dpm'; wanted one of ancestral"),
    ]
    for model, given, plan, told in refused:
        with pytest.raises(ValueError, match=told):
            generate(model, given, plan, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        generate(tmp_path / "none.pt", stimuli, Plan(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sources_that_are_no_images_and_no_features(tmp_path):
    np.save(tmp_path / "whole.npy", np.zeros((2, 12), int))
    np.save(tmp_path / "a.npy", np.zeros((2, 12), np.float32))
    (tmp_path / "empty").mkdir()
    for sources, told in (
        (["whole.npy"], "features are floats"), (["a.npy", "whole.npy"], "one .npy alone"),
        (["empty"], "no images in it"),
    ):
        with pytest.raises(ValueError, match=told):
            find_stimuli([tmp_path / source for source in sources])
    with pytest.raises(FileNotFoundError, match=r"none\.npy is not a file"):
        find_stimuli([tmp_path / "none.npy"])


def test_nan_is_not_written(inputs, tmp_path):
    path, stimuli = inputs
    features = np.array(stimuli.features)
    features[4] = np.nan
    np.save(tmp_path / "nan.npy", features)
    with pytest.raises(ValueError, match=r"nan.npy row 4: its features hold NaN"):
        generate(path, find_stimuli([tmp_path / "nan.npy"]), PLAN, tmp_path / "out")
    assert (tmp_path / "out/signals.done.part").read_bytes() == b"\1\1\0\0\0"
    model = ImageToBrain.load(path)
    model.unet.conv_out.bias.data.fill_(np.inf)
    with pytest.raises(ValueError, match=r"features.npy row 0, trial 0: NaN or infinity in the"):
        generate(model.save(tmp_path / "inf.pt"), stimuli, PLAN, tmp_path / "inf")
