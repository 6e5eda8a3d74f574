"""The README's table of equations: what it names exists, and what no other test checks, is checked.

A function or a test that is renamed, or an equation that is left out, breaks the table.
"""

import ast
import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.test_pipeline import gaussian_model
from tinybrain import clip, denoiser, step
from tinybrain.ddpm import DDPM, linear_schedule, pure_noise
from tinybrain.recipes import PAPER
from tinybrain.unet import CrossAttention, UNet2D, UNetConfig

ROOT = Path(__file__).parents[1]
SMALL = UNetConfig(channels=(32, 64), attention=(False, True), context_dim=12)
# what each numbered section of the paper displays, by the start of its left side
DISPLAYED = {
    "3.1": ["f:"],
    "3.2": ["h_img", "ε_θ"],
    "3.3.1": ["q(y_t given y_{t-1})", "q(y_t given y_0)", "α_t"],
    "3.3.2": ["Q", "K", "V", "Attention"],
    "3.4": ["L_diffusion", "L_MSE"],
    "3.5": ["y_T", "h_img", "y_{t-1}", "σ_t", "t ="],
}


def table():
    """Rows of (place in the paper, equation, functions, tests)."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    body = text.split("| the paper | in symbols | is | checked by |\n")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in row[1:-1].split(" | ")] for row in body.splitlines()[1:]]
    names = re.compile("`(.+?)`").findall
    return [(place, equation, names(what), names(by)) for place, equation, what, by in rows]


ROWS = table()
FUNCTIONS = sorted({name for *_, names, _ in ROWS for name in names})
TESTS = sorted({name for *_, names in ROWS for name in names})


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


# The table itself


def test_every_equation_of_sections_3_1_to_3_5_has_its_row():
    listed = [(place.split(",")[0], equation) for place, equation, *_ in ROWS]
    for section, left_sides in DISPLAYED.items():
        equations = [equation for place, equation in listed if place == section]
        assert len(equations) == len(left_sides), section
        for equation, left in zip(equations, left_sides):
            assert equation.startswith(left), (section, equation)
    assert all(functions and tests for *_, functions, tests in ROWS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_of_the_table_exists(name):
    module, *path = name.split(".")
    found = importlib.import_module(f"tinybrain.{module}")
    for part in path:
        found = getattr(found, part)


@pytest.mark.parametrize("name", TESTS)
def test_every_test_of_the_table_exists_and_is_about_its_function(name):
    file, _, test = name.partition("::")
    source = (ROOT / "tests" / file).read_text(encoding="utf-8")
    known = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    assert test in known, f"tests/{file} has {known}"
    for *_, functions, tests in ROWS:
        for function in functions if name in tests else ():
            words = function.split(".")[-2:]  # a method, or the class that is called
            assert any(re.search(rf"\b{word}\b", source) for word in words), function


# The equations that no other file checks


def encoder_states(unet):
    """The modules whose answers are D_enc(y_t, t, h_img), in the order of the forward."""
    levels = (part for level in unet.down for pair in level.blocks() for part in pair if part)
    return [unet.conv_in, *levels, *(level.resample for level in unet.down if level.resample)]


@torch.no_grad()
def test_the_decoder_knows_the_signal_by_the_encoder_alone():
    """eps_theta = D_dec(D_enc(y_t, t, h), t, h): with D_enc held, y_t no longer matters."""
    torch.manual_seed(0)
    unet = UNet2D(SMALL)
    y, other = normal(2, 2, 1, 9, 14, dtype=torch.float32)
    h, stranger = normal(2, 2, 3, 12, dtype=torch.float32)
    t, later = torch.tensor([3, 70]), torch.tensor([30, 700])
    states, parts = [], encoder_states(unet)
    hooks = [part.register_forward_hook(lambda *call: states.append(call[2])) for part in parts]
    whole = unet(y, t, h)
    for hook in hooks:
        hook.remove()
    assert not torch.allclose(unet(other, t, h), whole, atol=1e-3)
    called = iter(())
    for part in parts:
        part.register_forward_hook(lambda *call: next(called))

    def decoded(*inputs):
        nonlocal called
        called = iter(states)
        answer = unet(*inputs)
        assert next(called, None) is None  # every state was taken
        return answer

    assert torch.equal(decoded(other, t, h), whole)
    assert not torch.allclose(decoded(y, later, h), whole, atol=1e-3)
    assert not torch.allclose(decoded(y, t, stranger), whole, atol=1e-3)


@torch.no_grad()
def test_cross_attention_is_the_papers_by_loops():
    """Q, K, V and softmax(Q K^T / sqrt(d_k)) V, one head and one position at a time.

    The paper's H_brain is what the layer's norm makes of its input; W_out joins the heads.
    """
    torch.manual_seed(0)
    layer = CrossAttention(16, 12, heads=2).double()
    torch.nn.init.normal_(layer.norm.weight)
    x, context = normal(3, 5, 16), normal(3, 4, 12, seed=1)
    w_q, w_k, w_v = (part.weight.T.numpy() for part in (layer.q, layer.k, layer.v))
    wanted = np.zeros((3, 5, 16))
    for b in range(3):
        h_brain, h_img = layer.norm(x[b]).numpy(), context[b].numpy()
        for head in (slice(0, 8), slice(8, 16)):
            q, k, v = h_brain @ w_q[:, head], h_img @ w_k[:, head], h_img @ w_v[:, head]
            for p in range(5):
                weights = np.exp([q[p] @ key / np.sqrt(8) for key in k])
                wanted[b, p, head] = weights / weights.sum() @ v
    got = layer(x, layer.remember(context))
    torch.testing.assert_close(got, layer.out(torch.from_numpy(wanted)), rtol=0, atol=1e-13)


def test_the_objective_is_the_expectation_over_t_signals_and_noise():
    """eps_theta = (t / T) y_t and y0 ~ N(m, s^2): each t's error is known, all t count alike.

    E (eps - c y_t)^2 = (1 - c sqrt(1 - alpha_bar))^2 + c^2 alpha_bar (m^2 + s^2)
    """
    schedule, m, s = linear_schedule(), 0.7, 0.5
    c = torch.arange(1000, dtype=torch.float64) / 1000
    bars = schedule.alpha_bars
    wanted = ((1 - c * (1 - bars).sqrt()) ** 2 + c**2 * bars * (m**2 + s**2)).mean().item()
    loss = DDPM(schedule).loss(
        lambda y_t, t, context: c[t][:, None, None, None] * y_t,
        m + s * normal(20_000, 4, 4, seed=1), torch.zeros(20_000, 1, 1), generator=seeded(),
    )
    assert loss.item() == pytest.approx(wanted, abs=0.01)


def test_the_reverse_process_starts_from_pure_noise():
    """y_T ~ N(0, I): mean 0, variance 1, no correlation; nothing of the context but its rows."""
    context = normal(4000, 1, 3)
    y = pure_noise(context, (3, 5), seeded())
    assert y.shape == (4000, 3, 5)
    assert torch.equal(y, pure_noise(100 + context, (3, 5), seeded()))
    y = y.flatten(1)                                                           # (4000, 15)
    error = 4000**-0.5
    assert y.mean(0).abs().max() < 4 * error
    assert (y.T @ y / 4000 - torch.eye(15)).abs().max() < 5 * error
    assert abs((y**4).mean() - 3) < 5 * (96 / y.numel()) ** 0.5  # a Gaussian's fourth moment


def test_generate_walks_down_by_the_papers_step():
    """`samplers.ancestral`, by which `generate` samples, is `reverse_step` from T-1 to 0."""
    model = gaussian_model()
    features = np.random.default_rng(1).normal(size=(1, 12)).astype(np.float32)
    got = model.generate(features, sampler="ancestral", steps=1000).data[0]    # (1, h, w)
    context, z = torch.from_numpy(features)[None], denoiser.seeded(0, 0, 0)
    told, y = model.condition(context), torch.randn(model.shape, generator=z)[None]
    model.unet.eval()
    for t in reversed(range(1000)):
        answer = model.unet(y[:, None], torch.tensor([t]), told)[:, 0]
        noise = torch.randn(model.shape, generator=z)[None] if t else torch.zeros_like(y)
        y = model.ddpm.reverse_step(answer, y, t, noise).detach()
    torch.testing.assert_close(torch.from_numpy(got), model.signal(y, model.base(context)))


def test_a_model_is_told_what_clip_sees():
    """h_img = E_CLIP(x_img): nothing comes between the tower and the context."""
    model = gaussian_model()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    size = model.clip.visual.config.image_size
    with torch.no_grad():
        h_img = model.clip.encode_image(clip.preprocess(picture, size)[None])  # (1, d)
    torch.testing.assert_close(model.encode(picture)[:, 0], h_img, rtol=1e-5, atol=1e-6)


def test_the_recipe_is_that_of_section_4_2():
    (group,) = step.start(UNet2D(SMALL), PAPER).optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-4, 1e-5)
    assert (PAPER.epochs, PAPER.batch_size, PAPER.timesteps) == (50, 16, 1000)
    assert (PAPER.prediction, PAPER.schedule, PAPER.sampler) == ("epsilon", "linear", "ancestral")
    assert not any((PAPER.residual, PAPER.standardise, PAPER.ema_width, PAPER.drop_context))
