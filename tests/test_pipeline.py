"""The whole object: images or features in, signals out, saved and loaded."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.test_train import CONFIG, prepared, recording, weights
from tinybrain.clip.model import VisionConfig
from tinybrain.denoiser import seeded
from tinybrain.encoder import Encoder, random_encoder
from tinybrain.generation import Plan
from tinybrain.pipeline import BrainSignals, ImageToBrain
from tinybrain.recipes import PAPER, TINYBRAIN
from tinybrain.recorded import OwnRecording
from tinybrain.samplers import ddim
from tinybrain.unet import UNetConfig

TOWER = VisionConfig(image_size=32, patch_size=16, width=16, layers=1, heads=2, embed_dim=12)


def gaussian_model(tokens=False):
    """A model with an image tower and an exact network: y0 ~ N(token . probe, 0.5^2)."""
    recipe = dataclasses.replace(TINYBRAIN, sampling_steps=5)
    data, context = recording()
    model, _ = ImageToBrain.prepare(
        recipe, CONFIG, data, context, random_encoder(TOWER, tokens=tokens)
    )
    return model


class Exact(torch.nn.Module):
    """The v that N(m(context), s^2) implies; m is the first feature at every sensor and time."""

    def __init__(self, ddpm, s=0.5):
        super().__init__()
        self.ddpm, self.s, self.config = ddpm, s, CONFIG
        self.dummy = torch.nn.Parameter(torch.zeros(1))

    def encode_context(self, context):
        return context

    def forward(self, y_t, t, context):
        bar = self.ddpm.schedule.alpha_bars[t].float().view(-1, 1, 1, 1)
        m = context[:, :1, :1, None]
        y0 = m + bar.sqrt() * self.s**2 / (bar * self.s**2 + 1 - bar) * (y_t - bar.sqrt() * m)
        noise = (y_t - bar.sqrt() * y0) / (1 - bar).sqrt()
        return bar.sqrt() * noise - (1 - bar).sqrt() * y0


@pytest.fixture
def exact():
    model = gaussian_model()
    model.unet = Exact(model.ddpm)
    return model


FEATURES = np.random.default_rng(5).normal(size=(6, 12)).astype(np.float32)


def test_samples_have_the_mean_and_spread_the_network_was_asked_for(exact):
    signals = exact.generate(FEATURES, trials=400, steps=40, batch_size=2400)
    assert signals.data.shape == (6, 400, 3, 8)
    features = torch.from_numpy(FEATURES)[:, None]
    y0 = exact.condition(features)[:, :, :1].expand(6, 3, 8)
    wanted = exact.signal(y0, exact.base(features)).numpy()
    spread = 0.5 * exact.scale.numpy()[:, None]
    np.testing.assert_allclose(signals.data.mean(1), wanted, atol=5 * spread.max() / 20)
    np.testing.assert_allclose(signals.data.std(1).mean((0, 2)), spread[:, 0], rtol=0.03)


def test_mean_is_the_conditional_mean(exact):
    features = torch.from_numpy(FEATURES)[:, None]
    y0 = exact.condition(features)[:, :, :1].expand(6, 3, 8)
    wanted = exact.signal(y0, exact.base(features)).numpy()
    np.testing.assert_allclose(exact.mean(FEATURES).data[:, 0], wanted, rtol=1e-4, atol=1e-5)


def test_scaling_is_inverted_exactly():
    """`prepare` took base, offset and scale off; `signal` puts them back."""
    model, y0, context, _ = prepared(heldout=0.0)
    data = torch.from_numpy(recording()[0].signals)
    assert torch.allclose(y0.mean(dim=(0, 2)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(y0.std(dim=(0, 2)), torch.ones(3), atol=1e-5)
    from tinybrain.baselines import fit_ridge

    _, left_out = fit_ridge(context[:, 0], data, groups=recording()[0].concepts)
    torch.testing.assert_close(model.signal(y0, left_out), data, rtol=1e-5, atol=1e-5)


def test_the_paper_s_recipe_models_the_bare_signal():
    model, y0, _, _ = prepared(PAPER, heldout=0.0)
    assert torch.equal(y0, torch.from_numpy(recording()[0].signals))
    assert model.encoding is None
    context = torch.randn(2, 1, 12)
    assert torch.equal(model.condition(context), context)


def test_a_trial_does_not_depend_on_its_batch(exact):
    whole = exact.generate(FEATURES, trials=3, seed=7, batch_size=64).data
    parts = exact.generate(FEATURES, trials=3, seed=7, batch_size=5).data
    few = exact.generate(FEATURES[:2], trials=2, seed=7).data
    np.testing.assert_allclose(whole, parts, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole[:2, :2], few, rtol=1e-5, atol=1e-6)
    assert not np.allclose(whole, exact.generate(FEATURES, trials=3, seed=8).data)
    assert not np.allclose(whole[:, 0], whole[:, 1])


def test_seeded_generators_differ_and_repeat():
    draws = {
        key: torch.randn(4, generator=seeded(*key)) for key in [(0, 1), (1, 0), (0, 1, 0), (1,)]
    }
    assert torch.equal(draws[0, 1], torch.randn(4, generator=seeded(0, 1)))
    assert len({tuple(draw.tolist()) for draw in draws.values()}) == 4


def test_images_in_every_form_give_the_same_signals(exact, tmp_path):
    rng = np.random.default_rng(0)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(2)
    ]
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for picture, path in zip(pictures, paths):
        picture.save(path)
    wanted = exact.generate(paths).data
    arrays = [np.asarray(picture) for picture in pictures]
    for form in (
        tmp_path,
        str(tmp_path),
        pictures,
        arrays,
        exact.encode(paths),
        exact.encode(paths)[:, 0],
    ):
        np.testing.assert_allclose(exact.generate(form).data, wanted, rtol=1e-4, atol=1e-5)
    many = np.stack(arrays)  # (n, H, W, 3)
    np.testing.assert_allclose(exact.generate(many).data, wanted, rtol=1e-4, atol=1e-5)
    for form in (paths[0], pictures[0], arrays[0]):
        np.testing.assert_allclose(exact.generate(form).data, wanted[:1], rtol=1e-4, atol=1e-5)


def test_no_images_and_no_trials_are_named(exact):
    for images in ([], (), np.zeros((0, 12), np.float32), np.zeros((0, 9, 9, 3), np.uint8)):
        with pytest.raises(ValueError, match="^no images"):
            exact.generate(images)
    for count in (0, -1):
        for name in ("trials", "batch_size"):
            with pytest.raises(ValueError, match=f"^{name} is {count}; wanted 1 or more"):
                exact.generate(FEATURES, **{name: count})
        for name in ("draws", "batch_size"):
            with pytest.raises(ValueError, match=f"^{name} is {count}; wanted 1 or more"):
                exact.mean(FEATURES, **{name: count})


def test_what_is_no_whole_number_is_named(exact):
    for count in (2.5, 2.0, "2", None):
        told = f"is {count!r}; wanted a whole number, 1 or more"
        for name in ("trials", "batch_size", "steps"):
            if (name, count) != ("steps", None):
                with pytest.raises(ValueError, match=f"^{name} {told}"):
                    exact.generate(FEATURES, **{name: count})
        for name in ("draws", "batch_size"):
            with pytest.raises(ValueError, match=f"^{name} {told}"):
                exact.mean(FEATURES, **{name: count})
        with pytest.raises(ValueError, match=f"^trials {told}"):
            Plan(trials=count).settled(exact)
    with pytest.raises(ValueError, match="^steps is 2.5; wanted a whole number"):
        Plan(steps=2.5).settled(exact)
    for kind in (np.int64, np.int32):
        signals = exact.generate(FEATURES[:2], kind(3), steps=kind(2), batch_size=kind(4))
        assert signals.data.shape == (2, 3, 3, 8)
        assert exact.mean(FEATURES[:2], draws=kind(2)).data.shape == (2, 1, 3, 8)


def test_a_device_that_is_not_there_is_named(tmp_path):
    path = gaussian_model().save(tmp_path / "model.pt")
    for device in ("cuda:99", torch.device("cuda:99"), "gpu"):
        with pytest.raises(ValueError, match=rf"device '{device}' cannot be used .* wanted cpu"):
            ImageToBrain.load(path, device=device)
    for device in ("cpu", torch.device("cpu")):
        assert ImageToBrain.load(path, device=device).device == torch.device("cpu")


def test_floats_that_may_be_meant_as_images_are_told_so(exact):
    hint = r"if these are images they must be uint8 \(H, W, 3\)"
    for shape in ((40, 50, 3), (2, 40, 50, 3)):
        with pytest.raises(ValueError, match=hint):
            exact.generate(np.zeros(shape, np.float32))
    with pytest.raises(ValueError) as caught:
        exact.generate(np.zeros((2, 7), np.float32))
    assert "images" not in str(caught.value)


def test_a_run_folder_is_its_model(tmp_path):
    model = gaussian_model()
    model.save(tmp_path / "model.pt")
    assert torch.equal(weights(ImageToBrain.load(tmp_path)), weights(model))
    with pytest.raises(FileNotFoundError, match="none/model.pt: no such checkpoint"):
        (tmp_path / "none").mkdir()
        ImageToBrain.load(tmp_path / "none")


def test_a_model_is_shown_on_one_line():
    model = gaussian_model()
    count = sum(weight.numel() for weight in model.unet.parameters())
    assert repr(model) == (
        "<ImageToBrain eeg: image to 3 sensors x 8 points 0.000 to 0.070 s, a.u.; recipe "
        f"tinybrain, {count:,} parameters on cpu>"
    )


def test_saved_and_loaded_is_the_same_model(tmp_path):
    model = gaussian_model()
    torch.nn.init.normal_(model.unet.conv_out.weight)
    model.card = {"epoch": 3, "note": "kept"}
    again = ImageToBrain.load(model.save(tmp_path / "model.pt"))
    for field in dataclasses.fields(model):
        if field.name not in ("unet", "encoding", "times") and not field.name.startswith(
            ("offset", "sc", "con")
        ):
            assert getattr(again, field.name) == getattr(model, field.name), field.name
    assert torch.equal(weights(again), weights(model))
    picture = Image.fromarray(np.full((40, 40, 3), 99, np.uint8))
    np.testing.assert_array_equal(
        again.generate(picture, steps=3).data, model.generate(picture, steps=3).data
    )
    np.testing.assert_array_equal(again.mean(picture).data, model.mean(picture).data)
    np.testing.assert_array_equal(again.times, model.times)


@pytest.mark.parametrize(
    "how",
    [{}, {"steps": 3}, {"sampler": "ddim"}, {"sampler": "ddim", "steps": 7, "guidance": 1.5},
     {"sampler": "ancestral", "steps": 6, "guidance": 2.0}, {"sampler": "dpm_solver"}],
)  # fmt: skip
def test_denoising_ends_in_the_generated_signals(exact, how):
    *_, last = exact.denoise_steps(FEATURES[:3], seed=2, **how)
    wanted = exact.generate(FEATURES[:3], seed=2, **how).data[:, 0]
    assert last.t == -1
    np.testing.assert_allclose(last.y0, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last.y_t, wanted, rtol=1e-5, atol=1e-6)


def test_denoising_is_in_signal_units_all_the_way(exact):
    """y_t = sqrt(bar) (base + offset + scale y0) + sqrt(1 - bar) scale eps, from q_sample."""
    features = torch.from_numpy(FEATURES[:2])[:, None]
    mean = exact.signal(exact.condition(features)[:, :, :1].expand(2, 3, 8), exact.base(features))
    steps = list(exact.denoise_steps(FEATURES[:2], steps=5, seed=2))
    assert [step.t for step in steps] == [999, 799, 599, 399, 199, -1]
    noise = torch.cat([torch.randn(1, 3, 8, generator=seeded(2, row, 0)) for row in range(2)])
    torch.testing.assert_close(steps[0].y_t, exact.scale[:, None] * noise)  # and nothing else
    torch.testing.assert_close(steps[0].y0, mean, rtol=1e-4, atol=1e-5)  # seen in nothing else
    at, bar = steps[3], exact.ddpm.alpha_bar(steps[3].t)
    gain = bar**0.5 * 0.25 / (bar * 0.25 + 1 - bar)  # of the exact denoiser of N(mean, 0.5^2)
    seen = mean + gain * (at.y_t - bar**0.5 * mean)
    torch.testing.assert_close(at.y0, seen, rtol=1e-3, atol=1e-4)


def test_a_sampler_may_be_a_function(exact):
    wanted = exact.generate(FEATURES[:2], sampler="ddim", steps=4).data
    np.testing.assert_array_equal(exact.generate(FEATURES[:2], sampler=ddim, steps=4).data, wanted)
    *_, last = exact.denoise_steps(FEATURES[:2], sampler=ddim, steps=4)
    np.testing.assert_allclose(last.y0, wanted[:, 0], rtol=1e-5, atol=1e-6)


def test_a_sampler_that_is_none_is_told_what_one_yields(exact):
    def tensors(ddpm, denoiser, context, shape, *, steps, guidance, generator):
        yield context

    def number(ddpm, denoiser, context, shape, *, steps, guidance, generator):
        return 3

    for wrong in (number, tensors, 3):
        with pytest.raises(TypeError, match="; a sampler of your own yields samplers.Step$"):
            exact.generate(FEATURES[:1], sampler=wrong)


def test_denoising_refuses_what_generating_does(exact):
    with pytest.raises(ValueError, match="sampler is 'euler'; wanted one of ancestral, ddim"):
        next(exact.denoise_steps(FEATURES[:1], sampler="euler"))
    with pytest.raises(ValueError, match="guidance 2 needs"):
        next(prepared(PAPER, heldout=0.0)[0].denoise_steps(FEATURES[:1], guidance=2))


def test_importing_the_class_reads_no_image_and_no_recording():
    """Neither PIL, CLIP, readers of recordings nor anything that draws, before they are used."""
    code = "from tinybrain import ImageToBrain; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    found = set(done.stdout.split())
    assert "tinybrain.pipeline" in found
    assert not found & {"PIL", "matplotlib", "mne", "scipy", "ftfy", "regex", "tinybrain.clip",
                        "tinybrain.things", "tinybrain.recorded"}


def test_features_may_lie_in_memory_as_they_like(exact):
    wanted = exact.mean(FEATURES[::-1].copy()).data
    for other in (FEATURES[::-1], np.asfortranarray(FEATURES[::-1]),
                  FEATURES[::-1].astype(">f4"), FEATURES[::-1].astype(np.float64)):
        np.testing.assert_array_equal(exact.mean(other).data, wanted)


@pytest.mark.parametrize("rows, points", [(5, 8), (1, 8), (1, 1)])
def test_scales_of_what_does_not_vary_are_numbers(rows, points):
    """One image, one time point, features that are all alike: nothing is divided by 0."""
    recording = OwnRecording(np.ones((rows, 3, points)), [f"{i}.jpg" for i in range(rows)],
                             ["O1", "Oz", "O2"], np.arange(points) / 50)
    config = UNetConfig(channels=(4, 8), attention=(False, True), heads=2, groups=2,
                        layers_per_block=1, context_dim=6)
    told = torch.ones(rows, 1, 6)
    recipe = dataclasses.replace(TINYBRAIN, residual=False)
    model, y0 = ImageToBrain.prepare(recipe, config, recording, told, Encoder("features"))
    assert y0.isfinite().all() and model.condition(told).isfinite().all()
    assert np.isfinite(model.mean(told).data).all()


def test_what_cannot_be_is_refused(exact):
    features_only, *_ = prepared(heldout=0.0)
    with pytest.raises(ValueError, match="holds no image encoder"):
        features_only.generate(Image.new("RGB", (40, 40)))
    for wrong, shape in ((FEATURES[:, :11], "6, 1, 11"), (FEATURES[0], "12,")):
        with pytest.raises(ValueError, match=rf"are \({shape}\); this model wants \(n, 12\)"):
            exact.generate(wrong)
    paper, *_ = prepared(PAPER, heldout=0.0)
    with pytest.raises(ValueError, match="guidance 2 needs a model that has seen the null context"):
        paper.generate(FEATURES, guidance=2)
    with pytest.raises(ValueError, match="average many samples"):
        paper.mean(FEATURES)
    with pytest.raises(ValueError, match="guidance is nan; wanted a number"):
        exact.generate(FEATURES, guidance=float("nan"))
    broken = FEATURES.copy()
    broken[[1, 4], 3] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"2 of 6 images hold NaN or infinity \(rows 1, 4, count"):
        exact.mean(broken)


def test_to_mne_keeps_data_names_and_times():
    data = np.random.default_rng(0).normal(size=(2, 3, 4, 20)).astype(np.float32)
    signals = BrainSignals(data, ("Oz", "O1", "Cz", "Pz"), np.arange(20) / 50 + 0.1, "eeg", "a.u.")
    epochs = signals.to_mne()
    np.testing.assert_allclose(epochs.get_data(copy=True), data.reshape(6, 4, 20), rtol=1e-6)
    assert epochs.ch_names == ["Oz", "O1", "Cz", "Pz"]
    np.testing.assert_allclose(epochs.times, signals.times, atol=1e-9)
    assert epochs.events[:, 2].tolist() == [0, 0, 0, 1, 1, 1]
