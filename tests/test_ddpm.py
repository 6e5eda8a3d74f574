"""The diffusion process against closed forms, Bayes' rule, the paper's formulas and diffusers."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from tinybrain.ddpm import DDPM, Schedule, cosine_schedule, gaussian, linear_schedule, predict

F64 = torch.float64
DIFFUSERS = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}
LINEAR, COSINE = linear_schedule(), cosine_schedule()
ZERO = {"linear0": LINEAR.zero_terminal_snr(), "cosine0": COSINE.zero_terminal_snr()}
SCHEDULES = {"linear": LINEAR, "cosine": COSINE} | ZERO
PROCESSES = [
    pytest.param(DDPM(schedule, prediction), id=f"{name}-{prediction}")
    for name, schedule in SCHEDULES.items()
    for prediction in DIFFUSERS
    if name not in ZERO or prediction != "epsilon"
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=F64)


def some_net(y_t, t, context):
    """Not a good denoiser, but one whose answer depends on everything it gets."""
    shift = context.sum((1, 2)) + 0.01 * t
    return torch.tanh(1.3 * y_t + shift[:, None, None, None]) - 0.2 * y_t


def close(got, want, atol):
    return torch.allclose(got, want, rtol=0, atol=atol)


# Schedules

def test_linear_schedule_is_ho_et_als():
    betas = [1e-4 + (2e-2 - 1e-4) * t / 999 for t in range(1000)]
    assert LINEAR.betas.tolist() == pytest.approx(betas, rel=1e-13)
    assert LINEAR.alpha_bars[-1].item() == pytest.approx(4.0358e-5, rel=1e-4)
    assert close(LINEAR.betas, DDPMScheduler().betas.double(), 1e-8)


def test_cosine_schedule_is_nichol_and_dhariwals():
    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1000)]
    assert close(COSINE.alpha_bars[:999], torch.tensor(f[1:], dtype=F64) / f[0], 1e-13)
    assert COSINE.betas[-1] == 0.999


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_alpha_bars_are_products_in_float64(schedule):
    assert torch.equal(schedule.alphas, 1 - schedule.betas) and schedule.betas.dtype == F64
    product, ddpm = 1.0, DDPM(schedule, "v")
    for t, beta in enumerate(schedule.betas.tolist()):
        product *= 1 - beta
        assert ddpm.alpha_bar(t) == schedule.alpha_bars[t] == pytest.approx(product, rel=1e-12)
    assert ddpm.alpha_bar(-1) == 1


@pytest.mark.parametrize("plain", [LINEAR, COSINE])
def test_zero_terminal_snr_shifts_and_scales_the_root(plain):
    zero = plain.zero_terminal_snr()
    assert zero.alpha_bars[0] == plain.alpha_bars[0] and zero.alpha_bars[-1] == 0
    before, after = plain.alpha_bars.sqrt(), zero.alpha_bars.sqrt()
    scale = (after[0] - after[500]) / (before[0] - before[500])
    assert close(after, after[0] + scale * (before - before[0]), 1e-13)
    assert close(zero.betas, rescale_zero_terminal_snr(plain.betas), 1e-11)
    assert close(zero.zero_terminal_snr().betas, zero.betas, 1e-12)


@pytest.mark.parametrize(
    "betas, complaint",
    [
        ([0.1, 0.0, 0.2], "0 to 0.2"),
        ([0.1, -0.1, 0.2], "-0.1 to 0.2"),
        ([0.1, 1.0, 0.2], "last alone"),
        ([0.1, 0.2, 1.1], "0.1 to 1.1"),
        ([0.1, math.nan], "nan"),
        ([1e-18, 0.1], "1e-18 to 0.1"),  # 1 - beta is 1, in float64
        ([], r"\(0,\)"),
        ([[0.1]], r"\(1, 1\)"),
        ([0.9] * 400, "gone .* after 37 of 400"),
    ],
)
def test_impossible_betas_are_refused(betas, complaint):
    with pytest.raises(ValueError, match=complaint):
        Schedule(torch.tensor(betas))


def test_impossible_schedules_are_refused():
    for steps in (0, -1, 2.5, "10"):
        for make in (linear_schedule, cosine_schedule):
            with pytest.raises(ValueError, match="whole number"):
                make(steps)
    with pytest.raises(ValueError, match="at least two"):
        linear_schedule(1).zero_terminal_snr()
    with pytest.raises(ValueError, match="fewer steps"):
        linear_schedule(100_000)
    betas = torch.full((3,), 0.1, dtype=F64)
    schedule = Schedule(betas)
    betas[0] = 7
    assert schedule.betas[0] == 0.1  # what was checked stays


# Section 3.3.1: noise is added

@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_single_steps_compose_to_the_closed_form(schedule):
    """T times q(y_t | y_{t-1}) has at every t the moments that q(y_t | y_0) states."""
    ddpm = DDPM(schedule, "v")
    zero, one = torch.zeros(1, 1, 1, dtype=F64), torch.ones(1, 1, 1, dtype=F64)
    mean, variance = 3 * one, 0 * one
    for t in range(ddpm.steps):
        mean = ddpm.forward_step(mean, t, noise=zero)
        kept, added = ddpm.forward_step(one, t, zero), ddpm.forward_step(zero, t, one)
        variance = kept**2 * variance + added**2
        assert close(ddpm.q_sample(3 * one, t, zero), mean, 1e-12)
        assert close(ddpm.q_sample(zero, t, one) ** 2, variance, 1e-12)


def test_forward_process_is_the_papers_by_the_number():
    ddpm = DDPM(Schedule(torch.tensor([0.1, 0.2, 0.4], dtype=F64)))
    y, noise = normal(3, 2, 5), normal(3, 2, 5, seed=1)
    all_steps = ddpm.q_sample(y, torch.tensor([2, 0, 1]), noise)
    for row, bar in enumerate([0.9 * 0.8 * 0.6, 0.9, 0.9 * 0.8]):
        want = math.sqrt(bar) * y[row] + math.sqrt(1 - bar) * noise[row]
        assert close(all_steps[row], want, 1e-14)
    assert close(ddpm.forward_step(y, 2, noise), 0.6**0.5 * y + 0.4**0.5 * noise, 1e-14)


# What the network answers

@pytest.mark.parametrize("ddpm", PROCESSES)
def test_answers_round_trip_at_every_timestep(ddpm):
    t = torch.arange(ddpm.steps)
    y0, noise = 2 * normal(ddpm.steps, 2, 3), normal(ddpm.steps, 2, 3, seed=1)
    y_t, right = ddpm.q_sample(y0, t, noise), ddpm.target(y0, noise, t)
    assert close(ddpm.to_y0(right, y_t, t), y0, 1e-11)
    for one in (0, 500, 999):  # one timestep for a whole batch, here with a channel axis
        assert close(ddpm.to_y0(right[one, None, None], y_t[one, None, None], one), y0[one], 1e-11)


def test_targets_are_what_their_names_say():
    y0, noise, t = normal(4, 2, 3), normal(4, 2, 3, seed=1), torch.tensor([0, 10, 500, 999])
    bar = LINEAR.alpha_bars[t][:, None, None]
    assert torch.equal(DDPM(LINEAR, "epsilon").target(y0, noise, t), noise)
    assert torch.equal(DDPM(LINEAR, "x0").target(y0, noise, t), y0)
    v = bar.sqrt() * noise - (1 - bar).sqrt() * y0
    assert close(DDPM(LINEAR, "v").target(y0, noise, t), v, 1e-14)
    last = DDPM(ZERO["linear0"], "v")  # nothing but noise, and v is exactly -y0
    assert torch.equal(last.q_sample(y0, 999, noise), noise)
    assert torch.equal(last.target(y0, noise, 999), -y0)


# Section 3.4: the network is trained

def test_losses_are_the_squared_errors_of_section_3_4():
    ddpm, context, y0 = DDPM(LINEAR), normal(5, 2, 3), normal(5, 4, 7, seed=1)
    t, noise, _ = ddpm.draw(y0, generator=seeded(2))
    losses = ddpm.losses(some_net, y0, context, t, noise)
    for row in range(5):
        bar = LINEAR.alpha_bars[t[row]]
        y_t = bar.sqrt() * y0[row] + (1 - bar).sqrt() * noise[row]
        answer = some_net(y_t[None, None], t[row, None], context[row, None])[0, 0]
        want = sum(error**2 for error in (noise[row] - answer).flatten().tolist()) / 28
        assert losses[row].item() == pytest.approx(want, rel=1e-12)
    loss = ddpm.loss(some_net, y0, context, generator=seeded(2))
    assert loss.shape == () and loss.item() == pytest.approx(losses.mean().item(), rel=1e-12)


@pytest.mark.parametrize("prediction", DIFFUSERS)
def test_loss_of_the_exact_denoiser_is_the_known_minimum(prediction):
    """For y0 ~ N(m, s^2), target and y_t are jointly normal: regress the one on the other."""
    mean, std, t = 0.7, 0.5, torch.arange(0, 1000, 20)
    bar = LINEAR.alpha_bars[t]
    cos, sin = bar.sqrt(), (1 - bar).sqrt()
    clean, noisy = {"epsilon": (0 * cos, 1), "v": (-sin, cos), "x0": (1, 0 * cos)}[prediction]
    covariance, variance = clean * cos * std**2 + noisy * sin, bar * std**2 + 1 - bar
    slope, start = covariance / variance, (clean - covariance / variance * cos) * mean
    least = clean**2 * std**2 + noisy**2 - covariance**2 / variance

    def exact(y_t, t, context):
        return slope[:, None, None, None] * y_t + start[:, None, None, None]

    y0, noise = mean + std * normal(50, 100, 400), normal(50, 100, 400, seed=1)
    args = y0, torch.zeros(50, 1, 1), t, noise
    losses = DDPM(LINEAR, prediction).losses(exact, *args)
    assert ((losses / least - 1).abs() < 5 * math.sqrt(2 / 40_000)).all()
    off = DDPM(LINEAR, prediction).losses(lambda *inputs: exact(*inputs) + 0.3, *args)
    assert close(off - losses, torch.full_like(off, 0.09), 0.02)


def test_dropped_contexts_become_zeros_and_the_others_stay():
    ddpm, y0, context, seen = DDPM(LINEAR), normal(400, 1, 1), normal(400, 2, 3, seed=1), []

    def net(y_t, t, context):
        seen.append(context)
        return y_t

    keep = ddpm.draw(y0, generator=seeded(), drop_context=0.25).keep
    assert 70 <= (~keep).sum() <= 130  # 100 expected, standard deviation 8.7
    for drop_context in (0.25, 0.0, 1.0):
        ddpm.loss(net, y0, context, generator=seeded(), drop_context=drop_context)
    assert torch.equal(seen[0][keep], context[keep]) and (seen[0][~keep] == 0).all()
    assert torch.equal(seen[1], context) and (seen[2] == 0).all()


def test_timesteps_are_uniform_and_can_be_spread_evenly():
    ddpm, generator = DDPM(linear_schedule(10)), seeded()
    t = ddpm.draw(torch.zeros(20_000, 1, 1), generator=generator).t
    counts = torch.bincount(t, minlength=10)
    assert len(counts) == 10 and ((counts - 2000) ** 2 / 2000).sum() < 27.9  # chi2(9), p = 0.001
    firsts = []
    for _ in range(400):
        t = DDPM(LINEAR).draw(torch.zeros(50, 1, 1), generator=generator, stratified=True).t
        assert torch.equal(t.sort().values // 20, torch.arange(50))  # one in each fiftieth
        assert (t.diff() < 0).any()
        firsts.append(t[0].item())
    counts = torch.bincount(torch.tensor(firsts) // 100, minlength=10)  # any of them is uniform
    assert len(counts) == 10 and ((counts - 40) ** 2 / 40).sum() < 27.9
    assert {t % 20 for t in firsts} == set(range(20))


def test_the_generator_decides_everything():
    ddpm, y0, context = DDPM(LINEAR), normal(6, 3, 4), normal(6, 2, 3)
    before = torch.get_rng_state()

    def loss(seed):
        return ddpm.loss(some_net, y0, context, generator=seeded(seed), drop_context=0.5)

    assert loss(1) == loss(1) and loss(1) != loss(2)
    assert torch.equal(torch.get_rng_state(), before)
    plain = ddpm.draw(y0, generator=seeded(1))
    dropped = ddpm.draw(y0, generator=seeded(1), drop_context=0.5)
    assert torch.equal(plain.t, dropped.t) and torch.equal(plain.noise, dropped.noise)


@pytest.mark.parametrize("stratified", [False, True])
def test_a_cpu_generator_serves_every_device_alike(stratified):
    """The meta device holds no numbers: drawing there would leave the generator as it was."""
    ddpm, y0, here, there = DDPM(LINEAR), torch.zeros(6, 3, 4), seeded(), seeded()
    ddpm.draw(y0, generator=here, drop_context=0.5, stratified=stratified)
    draw = ddpm.draw(y0.to("meta"), generator=there, drop_context=0.5, stratified=stratified)
    assert torch.equal(here.get_state(), there.get_state())
    assert {x.device.type for x in draw} == {"meta"}


@pytest.mark.parametrize("prediction", DIFFUSERS)
def test_the_loss_never_waits_for_the_device(prediction):
    """On the meta device asking for a number (`.item()`, `if tensor`) is an error."""
    y0, context = torch.zeros(6, 3, 4, device="meta"), torch.zeros(6, 2, 3, device="meta")
    ddpm = DDPM(LINEAR, prediction)
    loss = ddpm.loss(some_net, y0, context, generator=seeded(), drop_context=0.5)
    assert loss.device.type == "meta"


@pytest.mark.parametrize("given", [torch.bfloat16, torch.float32, F64])
def test_precision_is_the_signals_and_at_least_float32(given):
    ddpm, y0 = DDPM(LINEAR), torch.ones(3, 2, 2, dtype=given)
    want = F64 if given == F64 else torch.float32
    t, noise, _ = ddpm.draw(y0, generator=seeded())
    y_t = ddpm.q_sample(y0, t, noise)
    answer = predict(lambda y_t, t, context: y_t.bfloat16(), y_t, t, y0)
    assert noise.dtype == y_t.dtype == answer.dtype == want
    assert ddpm.losses(some_net, y0, y0, t, noise).dtype == want
    sin = (1 - LINEAR.alpha_bars).sqrt().to(want)  # rounded once, not from rounded alpha_bars
    one = torch.ones(1000, 1, 1, dtype=want)
    assert torch.equal(ddpm.q_sample(0 * one, torch.arange(1000), one).flatten(), sin)


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="'noise'.*epsilon"):
        DDPM(LINEAR, "noise")
    with pytest.raises(ValueError, match="alpha_bar is 0.*'v' or 'x0'"):
        DDPM(ZERO["linear0"], "epsilon")
    ddpm, y0 = DDPM(LINEAR), torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match=r"\(2, 1, 3, 4\); wanted \(batch"):
        ddpm.loss(some_net, y0[:, None], y0)
    for context in (y0[:1], y0[:, 0]):
        with pytest.raises(ValueError, match=r"2 signals, a context .*; wanted \(2, tokens, wid"):
            ddpm.loss(some_net, y0, context)
    with pytest.raises(ValueError, match="drop_context is 1.5"):
        ddpm.loss(some_net, y0, y0, drop_context=1.5)


# Section 3.5: noise is removed

@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_posterior_is_bayes_rule(schedule):
    """q(y_s | y_t, y0) ~ q(y_t | y_s) q(y_s | y0): precisions add, means weigh by precision."""
    ddpm, bars = DDPM(schedule, "v"), schedule.alpha_bars.tolist()
    y0, y_t = normal(1, 2, 3), normal(1, 2, 3, seed=1)
    for t, s in [(1, 0), (999, 998), (500, 499), (999, 0), (700, 20)]:
        alpha = bars[t] / bars[s]
        prior, likelihood = 1 / (1 - bars[s]), alpha / (1 - alpha)
        variance = 1 / (prior + likelihood)
        mean = prior * math.sqrt(bars[s]) * y0 + math.sqrt(alpha) / (1 - alpha) * y_t
        assert ddpm.posterior_variance(t, s) == pytest.approx(variance, rel=1e-9)
        assert close(ddpm.posterior_mean(y0, y_t, t, s), variance * mean, 1e-11)
    assert ddpm.posterior_variance(500, -1) == 0
    assert torch.equal(ddpm.posterior_mean(y0, y_t, 500, -1), y0)


@pytest.mark.parametrize("schedule", [LINEAR, COSINE])
def test_reverse_step_is_the_papers_formula(schedule):
    y_t, eps, z = (normal(2, 3, 4, seed=seed) for seed in range(3))
    alphas, bars = schedule.alphas.tolist(), [*schedule.alpha_bars.tolist(), 1.0]
    for t in range(1000):
        alpha, bar, before = alphas[t], bars[t], bars[t - 1]
        sigma = math.sqrt((1 - alpha) * (1 - before) / (1 - bar))
        paper = (y_t - (1 - alpha) / math.sqrt(1 - bar) * eps) / math.sqrt(alpha) + sigma * z
        got = DDPM(schedule).reverse_step(eps, y_t, t, z)
        assert torch.allclose(got, paper, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("ddpm", PROCESSES)
def test_reverse_step_is_diffusers(ddpm):
    """Every timestep, DDPMScheduler with our float64 schedule in place of its float32 one."""
    theirs = DDPMScheduler(clip_sample=False, prediction_type=DIFFUSERS[ddpm.prediction])
    theirs.alphas_cumprod = ddpm.schedule.alpha_bars
    y_t, answer, z = (normal(2, 1, 3, 4, seed=seed) for seed in range(3))
    for t in range(ddpm.steps):
        want = theirs.step(answer, t, y_t, generator=seeded(2))
        assert close(ddpm.reverse_step(answer, y_t, t, z), want.prev_sample, 1e-11)
        assert close(ddpm.to_y0(answer, y_t, t), want.pred_original_sample, 1e-11)


def test_sample_is_section_3_5(capfd):
    schedule, context, generator = linear_schedule(20, 1e-3, 0.3), normal(3, 2, 2), seeded()
    y = gaussian((3, 4, 5), generator, like=context)
    for t in reversed(range(20)):
        alpha, bar = schedule.alphas[t], schedule.alpha_bars[t]
        eps = some_net(y[:, None], torch.full((3,), t), context)[:, 0]
        y = (y - (1 - alpha) / (1 - bar).sqrt() * eps) / alpha.sqrt()
        if t > 0:
            sigma = ((1 - alpha) * (1 - schedule.alpha_bars[t - 1]) / (1 - bar)).sqrt()
            y = y + sigma * gaussian((3, 4, 5), generator, like=context)
    got = DDPM(schedule).sample(
        some_net, context.requires_grad_(), (4, 5), generator=seeded(), progress=True
    )
    assert got.dtype == F64 and not got.requires_grad and close(got, y, 1e-11)
    assert "20/20" in capfd.readouterr().err
