#!/usr/bin/env python3
"""From an image to the signals it evokes, in seven steps: to be read beside what it prints.

    python examples/walkthrough.py                     about a minute of one CPU core

The demo is simulated: 17 electrodes, 32 time points, small drawings. Steps print what they found
and draw figures into runs/walkthrough. Section numbers are the paper's (arXiv:2509.00787). Seconds
of training teach a network little: here is how the parts work together, not what they are worth.
Letters: b batch, n images, k trials, h sensors, w time points, l tokens, d width.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Generator, Tensor

from tinybrain import ImageToBrain, command_line
from tinybrain.attention import cross_attention_maps, plot_attention
from tinybrain.baselines import fit_ridge, mean_erp
from tinybrain.ceilings import noise_ceiling
from tinybrain.clip.model import DEMO_VISION
from tinybrain.ddpm import DDPM, cosine_schedule, linear_schedule, predict
from tinybrain.encoder import random_encoder
from tinybrain.figures import plot_denoising, plot_means
from tinybrain.metrics import mse, pcc
from tinybrain.recipes import TINYBRAIN
from tinybrain.step import start, train_step
from tinybrain.style import GENERATED, GREY, INK, ONSET, REAL, WIDTH, save_figure
from tinybrain.things import EEG2, make_demo
from tinybrain.unet import CrossAttention, UNet2D, UNetConfig, attend

SENSORS = ("Fz", "F3", "F4", "Cz", "TP9", "TP10", "P7", "P3", "Pz", "P4", "P8", "PO7", "POz",
           "PO8", "O1", "Oz", "O2")  # fmt: skip
CONCEPTS, TESTED = 200, 24  # of training, four images each; images of the test
STEPS, BATCH = 200, 16  # of training
TRIALS = 16  # samples for each test image
WIDE, DASHED = {"lw": 5, "alpha": 0.3}, {"lw": 1.2, "ls": "--"}  # both seen where they coincide


# -------------------------------------------------------------------------------------------------
# 1. The recording (Section 4.1)
#
# A single repetition is mostly noise. THINGS-EEG2 therefore shows each training image 4 times and
# each test image 80 times; the network learns from means of 4, and is judged by means of 80. The
# mean over all images, the mean ERP, is what the brain does whenever anything appears.


def step_1(out: Path) -> tuple[EEG2, EEG2]:
    print("\n1. The recording")
    root = make_demo(
        out / "data", train_concepts=CONCEPTS, test_concepts=TESTED, sensors=SENSORS, points=32
    )
    train, test = EEG2(root, 1, "train"), EEG2(root, 1, "test", repeats="single")
    print(train.summary, test.summary, sep="\n")
    erp = mean_erp(torch.from_numpy(train.signals)).numpy()                    # (h, w)
    noise = test.signals.var(axis=1, ddof=1).mean()
    print(f"mean square of the mean ERP {np.square(erp).mean():.3f}, variance of one repetition's "
          f"noise {noise:.3f}, of the mean of 80 {noise / 80:.3f}")

    figure = Figure(figsize=(WIDTH, 3), layout="constrained")
    one, many = figure.subplots(1, 2)
    ms, oz = 1000 * train.times, train.sensors.index("Oz")
    for count, alpha in ((1, 0.3), (4, 0.6), (80, 1)):
        mean = test.signals[0, :count, oz].mean(axis=0)
        one.plot(ms, mean, color=REAL, alpha=alpha, lw=1 + alpha, label=f"mean of {count}")
    one.plot(ms, erp[oz], "--", color=GREY, label="mean ERP, of all images")
    one.set(title="one image at Oz: repetitions", xlabel=ONSET, ylabel=f"signal ({train.unit})")
    many.plot(ms, erp.T, color=REAL, lw=0.8)
    many.set(title=f"mean ERP, {len(SENSORS)} electrodes", xlabel=ONSET, ylabel=one.get_ylabel())
    tell(figure, out / "1_recording.png", one)
    return train, test


# -------------------------------------------------------------------------------------------------
# 2. How much noise (Section 3.3.1)
#
# beta_t is the variance added at step t, alpha_bar_t = prod(1 - beta) what is left of the signal's,
# and SNR = alpha_bar / (1 - alpha_bar). The paper's linear schedule ends with a trace of signal,
# which a network learns to look at and never finds when it starts from pure noise. Shifted to zero
# terminal SNR (Lin et al. 2023) the last y_t is nothing but noise; cosine hardly needs it.


def step_2(out: Path) -> None:
    print("\n2. How much noise")
    schedules = {"linear": (linear_schedule(), INK), "cosine": (cosine_schedule(), GREY)}
    figure = Figure(figsize=(WIDTH, 3), layout="constrained")
    panels = figure.subplots(1, 3)
    for name, (schedule, colour) in schedules.items():
        for kind, style in ((name, WIDE), (f"{name}, zero terminal SNR", DASHED)):
            bars = schedule.alpha_bars                                         # (T,)
            for axes, values in zip(panels, (schedule.betas, bars, bars / (1 - bars))):
                axes.plot(values, color=colour, label=kind, **style)
            print(f"{kind:25s} alpha_bar at T/2 {bars[499]:.3f}, at the end {bars[-1]:.1e}")
            schedule = schedule.zero_terminal_snr()
    for axes, name in zip(panels, ("beta: noise added", "alpha_bar: signal left", "SNR")):
        axes.set(title=name, xlabel="timestep t")
    panels[0].set_ylim(0, 0.1)  # the ends, up to 1, would hide the rest
    panels[2].set_yscale("log")
    tell(figure, out / "2_schedules.png", panels[0], columns=2)


# -------------------------------------------------------------------------------------------------
# 3. A signal is noised (Section 3.3.1)
#
#     y_t = sqrt(alpha_bar_t) y_0 + sqrt(1 - alpha_bar_t) eps
#
# No loop over t: the sum of Gaussian steps is one Gaussian. If y_0 has variance 1 so has every y_t,
# and y_t correlates with y_0 by sqrt(alpha_bar_t).


def step_3(ddpm: DDPM, train: EEG2, out: Path) -> None:
    print("\n3. A signal is noised")
    signals = torch.from_numpy(train.signals)                                  # (n, h, w)
    y0 = (signals - signals.mean()) / signals.std()
    noise = torch.randn(y0.shape, generator=Generator().manual_seed(0))
    figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
    panels = figure.subplots(1, 5, sharex=True, sharey=True)
    oz = train.sensors.index("Oz")
    for axes, t in zip(panels, (0, 199, 399, 699, 999)):
        y_t, cos = ddpm.q_sample(y0, t, noise), ddpm.alpha_bar(t) ** 0.5
        found = torch.corrcoef(torch.stack([y0.flatten(), y_t.flatten()]))[0, 1]
        print(f"t = {t:3d}: variance {y_t.var():.3f}, correlation with y_0 {found:.3f}, "
              f"sqrt(alpha_bar) {cos:.3f}")
        axes.plot(1000 * train.times, y_t[0, oz], color=GREY, lw=0.8, label="y_t")
        axes.plot(1000 * train.times, cos * y0[0, oz], color=REAL, label="sqrt(alpha_bar) y_0")
        axes.set_title(f"t = {t}")
    panels[0].set_ylabel("Oz (standardised)")
    figure.supxlabel(ONSET, size=10)
    tell(figure, out / "3_noising.png", axes)


# -------------------------------------------------------------------------------------------------
# 4. Training (Sections 3.2, 3.4)
#
# The context is what an image encoder says of the image: here all 65 tokens of a small CLIP with
# random weights, the class token and 8 x 8 patches. The network starts where closed form ends: it
# models what ridge regression on the context leaves over (`encoding.py`), scaled to variance 1.
# It is asked for v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) y_0, and at first answers 0.


def encode(train: EEG2, test: EEG2) -> tuple[ImageToBrain, Tensor, Tensor, Tensor]:
    print("\n4. Training")
    encoder = random_encoder(DEMO_VISION, tokens=True)
    clip = encoder.load_clip()
    seen, new = (encoder.encode(clip, list(each.images)) for each in (train, test))
    config = UNetConfig((8, 16, 32), (False, False, True), layers_per_block=1, heads=4, groups=4,
                        context_dim=seen.shape[2], zero_output=True)
    model, y0 = ImageToBrain.prepare(replace(TINYBRAIN, lr=3e-3), config, train, seen, encoder)
    size = sum(p.numel() for p in model.unet.parameters())
    print(f"context {tuple(seen.shape)}, {size:,} parameters that add to {model.encoding.name}")
    return model, y0, seen, new


def step_4_by_hand(model: ImageToBrain, y0: Tensor, context: Tensor) -> UNet2D:
    ddpm, unet = model.ddpm, copy.deepcopy(model.unet)  # nothing is kept
    y0, context, random = y0[:BATCH], context[:BATCH], Generator().manual_seed(0)
    t = torch.randint(ddpm.steps, (BATCH,), generator=random)                  # (b,)
    eps = torch.randn(y0.shape, generator=random)                              # (b, h, w)
    bar = rearrange(ddpm.schedule.alpha_bars[t].float(), "b -> b 1 1")
    y_t = bar.sqrt() * y0 + (1 - bar).sqrt() * eps  # what the network sees
    v = bar.sqrt() * eps - (1 - bar).sqrt() * y0  # what it should answer
    answer = unet(rearrange(y_t, "b h w -> b 1 h w"), t, context)
    loss = (rearrange(answer, "b 1 h w -> b h w") - v).square().mean()
    same = ddpm.loss(unet, y0, context, generator=Generator().manual_seed(0))
    print(f"by hand: loss {loss.item():.6f}; DDPM.loss with the same seed {same.item():.6f}")

    loss.backward()
    torch.optim.AdamW(unet.parameters(), lr=model.recipe.lr).step()
    after = ddpm.losses(unet, y0, context, t, eps).mean()
    print(f"by hand: after one step of AdamW, same batch and noise, {after.item():.6f}")
    return unet


def step_4(model: ImageToBrain, y0: Tensor, context: Tensor, out: Path) -> None:
    """The library's step, again and again. `train.fit` adds held-out images, resuming, devices."""
    unets = {"untrained": copy.deepcopy(model.unet), "1 step": step_4_by_hand(model, y0, context)}
    state, random = start(model.unet, model.recipe, tokens=context.shape[1]), Generator()
    for step in range(1, STEPS + 1):
        rows = torch.randint(len(y0), (BATCH,), generator=random.manual_seed(step))
        train_step(state, model.recipe, model.ddpm, y0, context, rows)
        if step % (STEPS // 4) == 0:
            total, count = state.sums.sum(dim=1)
            print(f"step {step}: mean loss of the last {STEPS // 4}: {total / count:.3f}")
            state.sums.zero_()
    model.unet = state.average.eval()  # of the weights along the way: steadier than the last
    draw_training(model, unets | {f"{STEPS} steps": model.unet}, y0, context, out)


@torch.no_grad()
def draw_training(model: ImageToBrain, unets: dict, y0: Tensor, context: Tensor, out: Path) -> None:
    ddpm, random, oz = model.ddpm, Generator().manual_seed(0), model.sensors.index("Oz")
    eps, t = torch.randn(y0.shape, generator=random), 299
    y_t, v = ddpm.q_sample(y0, t, eps), ddpm.target(y0, eps, t)
    answer = predict(model.unet, y_t[:1], t, context[:1])
    reach = 1.1 * max(line[0, oz].abs().max().item() for line in (y0, y_t, v, answer))
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    *panels, errors = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.5))
    shown = {"y_0, what ridge\nleaves over": {REAL: y0}, f"y_t, noised\nto t = {t}": {GREY: y_t},
             "asked v (black),\nanswered (orange)": {INK: v, GENERATED: answer}}
    for axes, (title, lines) in zip(panels, shown.items()):
        for colour, line in lines.items():
            axes.plot(1000 * model.times, line[0, oz], color=colour, lw=1.2)
        axes.set(title=title, xlabel="time (ms)", ylim=(-reach, reach))
    panels[0].set_ylabel("Oz (standardised)")
    t = torch.randperm(len(y0), generator=random) * ddpm.steps // len(y0)  # evenly spread
    for (name, unet), style in zip(unets.items(), (":", "--", "-")):
        losses = ddpm.losses(unet, y0, context, t, eps)[t.argsort()].reshape(10, -1).mean(dim=1)
        print(f"loss of all training images, {name}: {losses.mean():.4f}")
        errors.plot(np.arange(50, 1000, 100), losses, style, color=INK, label=name)
    errors.set(title="mean loss of\nall training images", xlabel="timestep t", ymargin=0.6)
    errors.legend(loc="lower right", frameon=False)
    tell(figure, out / "4_training.png")


# -------------------------------------------------------------------------------------------------
# 5. Noise becomes a signal (Section 3.5)
#
# From pure noise downwards: at each t the network's answer tells the y_0 it sees, and a step is
# made towards it. The paper walks through all 1,000 timesteps; DPM-Solver++ needs 20 looks.


def step_5(model: ImageToBrain, context: Tensor, out: Path) -> None:
    print("\n5. Noise becomes a signal")
    states = [(t, y_t[0]) for t, y_t, _ in model.denoise_steps(context[:1])]
    shown = []
    for t, y_t in (states[look] for look in (0, 8, 12, 16, 18, 20)):
        rough = y_t.diff(dim=1).square().mean() / y_t.square().mean()
        print(f"t = {t:3d}: mean square {y_t.square().mean():.3f}, that of its jumps {rough:.2f} "
              "times as much (white noise: 2)")
        shown.append((f"t = {t}" if t >= 0 else "signal", y_t.numpy()))
    axes = {"sensors": model.sensors, "times": model.times, "unit": model.unit}
    print("figure:", plot_denoising(shown, **axes, path=out / "5_denoising.png", pick="Oz"))


# -------------------------------------------------------------------------------------------------
# 6. What cross-attention looks at (Section 3.3.2)
#
#     Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V,   Q from the signal, K and V from the image
#
# The paper has one token per image. A softmax over one key is 1 whatever the query: every position
# of every signal gets the same vector, and attention is an addition. There is something to choose
# from two tokens on. (What is chosen here means little: neither CLIP nor U-Net has learned much.)


@torch.no_grad()
def step_6(model: ImageToBrain, context: Tensor, image: Path, out: Path) -> None:
    print("\n6. What cross-attention looks at")
    layer = next(m for m in model.unet.modules() if isinstance(m, CrossAttention))
    signal = torch.randn(1, 40, layer.q.in_features, generator=Generator().manual_seed(0))
    noise = torch.randn(1, 1, *model.shape, generator=Generator().manual_seed(0))
    last, found = torch.tensor([model.ddpm.steps - 1]), {}
    for tokens in (1, context.shape[1]):
        some = context[:1, :tokens]
        q, k, v = (rearrange(x, "b l (n d) -> b n l d", n=layer.heads) for x in
                   (layer.q(layer.norm(signal)), layer.k(some), layer.v(some)))
        answer = layer.out(attend(q, k, v))                                    # (b, p, d)
        spread = (answer - answer.mean(dim=1, keepdim=True)).norm() / answer.norm()
        found[tokens] = cross_attention_maps(model.unet, noise, last, some)[-1]  # (b, heads, p, l)
        low, high = found[tokens].min(), found[tokens].max()
        print(f"l = {tokens:2d}: weights from {low:.4f} to {high:.4f}, 1/l = {1 / tokens:.4f}; "
              f"answers differ between positions by {spread:.1e} of their size")
    apart = 2 ** (len(model.unet.config.channels) - 1)  # a position of the lowest level to the next
    axes = {"sensors": model.sensors[::apart], "times": model.times[::apart]}
    weights, path = found[context.shape[1]][0].mean(dim=0), out / "6_attention.png"
    print("figure:", plot_attention(weights, Image.open(image), **axes, path=path))


# -------------------------------------------------------------------------------------------------
# 7. What a sample is worth (Section 4.3)
#
# A sample is the model's mean m plus noise of the variance V that training targets have: that is
# what it was trained for. Against a recording y the mean of k samples therefore has
#
#     MSE = |m - y|^2 + V / k
#
# so one sample looks bad however much m knows. At zero terminal SNR m is one look of the network
# at pure noise, `ImageToBrain.mean`. It has to beat the baselines; perfection has the noise
# ceiling's MSE. Seconds of training add little or nothing to ridge with products, its start.


def step_7(model: ImageToBrain, train: EEG2, test: EEG2, seen: Tensor, new: Tensor, out: Path
           ) -> None:
    print("\n7. What a sample is worth")
    real, n = test.signals.mean(axis=1), len(test.images)                      # (n, h, w)
    samples = model.generate(new, trials=TRIALS).data                          # (n, k, h, w)
    signals = torch.from_numpy(train.signals)
    ridge, _ = fit_ridge(seen[:, 0], signals, groups=train.concepts)
    guesses = {
        "zero": 0 * real, "mean ERP": np.stack([mean_erp(signals)] * n),
        "ridge": ridge.predict(new[:, 0]).numpy(), model.encoding.name: model.base(new).numpy(),
        "conditional mean": model.mean(new).data[:, 0],
    }
    errors = {name: mse(guess, real) for name, guess in guesses.items()}
    ceiling, variance = noise_ceiling(test.signals, splits=20), samples.var(axis=1, ddof=1).mean()
    print(f"V: of the samples {variance:.3f}, noise of a training target "
          f"{ceiling.noise_variance / train.repeats:.3f}")
    print(f"{'':22s}MSE   predicted  PCC image")
    points = {}
    for k in (2**i for i in range(TRIALS.bit_length())):
        groups = rearrange(samples, "n (g k) h w -> g k n h w", k=k).mean(axis=1)
        points[k] = np.mean([mse(group, real) for group in groups])
        print(f"mean of {k:2d} samples  {points[k]:8.4f}    "
              f"{errors['conditional mean'] + variance / k:7.4f}   "
              f"{np.mean([pcc(group, real, 'image') for group in groups]):8.3f}")
    for name, guess in guesses.items():
        print(f"{name:19s}{errors[name]:8.4f}{pcc(guess, real, 'image'):22.3f}")
    print(f"{'noise ceiling':19s}{ceiling.mse:8.4f}{ceiling.corrected['image']:22.3f}")
    added = errors["conditional mean"] / errors[model.encoding.name] - 1
    means = f"higher, so worse: {STEPS} steps are few" if added > 0 else "lower, so better"
    print(f"the network changed the MSE of {model.encoding.name} by {added:+.1%} ({means}); "
          "it adds the variation of samples")
    levels = {name: errors[name] for name in ("zero", "mean ERP", model.encoding.name)}
    levels |= {"noise ceiling": ceiling.mse}
    print("figure:", plot_means(points, errors["conditional mean"], variance, levels=levels,
                                unit=test.unit, path=out / "7_samples.png"))


def tell(figure: Figure, path: Path, labelled: Axes | None = None, columns: int = 4) -> None:
    if labelled:
        lines = labelled.get_legend_handles_labels()
        figure.legend(*lines, loc="outside upper center", ncols=columns, frameon=False)
    print(f"figure: {save_figure(figure, path)}")


def main() -> None:
    cli = command_line.parser(__doc__)
    cli.add_argument("--out", type=Path, default=Path("runs/walkthrough"), help="folder to fill")
    out = cli.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    train, test = step_1(out)
    step_2(out)
    step_3(TINYBRAIN.ddpm(), train, out)
    model, y0, seen, new = encode(train, test)
    step_4(model, y0, model.condition(seen), out)
    step_5(model, new, out)
    step_6(model, model.condition(new), test.images[0], out)
    step_7(model, train, test, seen, new, out)


if __name__ == "__main__":
    command_line.run(main)
