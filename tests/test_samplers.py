"""The samplers against diffusers, exact solutions, and each other. Everything in float64."""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers import DPMSolverMultistepScheduler as DPMSolver

from tinybrain import samplers
from tinybrain.ddpm import DDPM, cosine_schedule, gaussian, linear_schedule
from tinybrain.samplers import ancestral, conditional_mean, ddim, dpm_solver, sample

F64 = torch.float64
DIFFUSERS = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}
SCHEDULES = {"linear": linear_schedule(), "cosine": cosine_schedule()}
SCHEDULES |= {f"{name}0": plain.zero_terminal_snr() for name, plain in SCHEDULES.items()}
PROCESSES = [
    pytest.param(DDPM(schedule, prediction), id=f"{name}-{prediction}")
    for name, schedule in SCHEDULES.items()
    for prediction in DIFFUSERS
    if not name.endswith("0") or prediction != "epsilon"
]
LINEAR, ZERO_V = DDPM(SCHEDULES["linear"]), DDPM(SCHEDULES["linear0"], "v")
RUNS = {"ancestral": ancestral, "ddim": ddim, "dpm_solver": dpm_solver}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=F64)


def largest(difference):
    return difference.abs().max().item()


def some_net(y_t, t, context):
    """Not a good denoiser, but one whose answer depends on everything it gets."""
    shift = context.sum((1, 2)) + 0.01 * t
    return torch.tanh(1.3 * y_t + shift[:, None, None, None]) - 0.2 * y_t


def end(run, ddpm, context, net=some_net, **options):
    *_, last = run(ddpm, net, context, (3, 4), generator=seeded(), **options)
    return last.y0


def answering(ddpm, clean):
    """The denoiser that sees the clean signal clean(y_t, alpha_bar, context) in y_t."""

    def net(y_t, t, context):
        bar = ddpm.schedule.alpha_bars[t][:, None, None, None]
        y0 = clean(y_t, bar, context)
        noise = (y_t - bar.sqrt() * y0) / (1 - bar).sqrt()
        v = bar.sqrt() * noise - (1 - bar).sqrt() * y0
        return {"epsilon": noise, "v": v, "x0": y0}[ddpm.prediction]

    return net


def gaussian_denoiser(ddpm, std):
    """The best possible denoiser of independent N(m, std^2) values, m the sum of the context."""

    def clean(y_t, bar, context):
        mean = context.sum((1, 2))[:, None, None, None]
        return mean + bar.sqrt() * std**2 / (bar * std**2 + 1 - bar) * (y_t - bar.sqrt() * mean)

    return answering(ddpm, clean)


class Float64(torch.Tensor):
    """A tensor that stays float64 where DPMSolver.step would make it float32."""

    def to(self, *args, **kwargs):
        return self


def diffusers_scheduler(kind, ddpm, steps, **options):
    """A diffusers scheduler with our float64 schedule in place of its float32 one."""
    name = DIFFUSERS[ddpm.prediction]
    theirs = kind(prediction_type=name, timestep_spacing="trailing", **options)
    theirs.set_timesteps(steps)
    theirs.alphas_cumprod = ddpm.schedule.alpha_bars
    bars = ddpm.schedule.alpha_bars[theirs.timesteps].clamp(min=1e-300)  # for a finite sigma
    theirs.sigmas = torch.cat([((1 - bars) / bars).sqrt(), torch.zeros(1, dtype=F64)])
    return theirs


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize(
    "run, kind, options, their_options",
    [(ancestral, DDPMScheduler, {}, {"clip_sample": False})]
    + [(ddim, DDIMScheduler, {"eta": x}, {"clip_sample": False}) for x in (0.0, 0.5, 1.0)]
    + [(dpm_solver, DPMSolver, {"order": x}, {"solver_order": x}) for x in (1, 2)],
)
@pytest.mark.parametrize("ddpm", PROCESSES)
def test_every_step_is_diffusers(ddpm, run, kind, options, their_options):
    context, noise = normal(2, 1, 3), seeded()
    theirs = diffusers_scheduler(kind, ddpm, 10, **their_options)
    walk = list(run(ddpm, some_net, context, (3, 4), steps=10, generator=seeded(), **options))
    assert [step.t for step in walk[:-1]] == theirs.timesteps.tolist()
    assert torch.equal(walk[0].y_t, gaussian((2, 3, 4), noise, like=context))
    for i, (now, then) in enumerate(pairwise(walk)):
        y_t = now.y_t[:, None].as_subclass(Float64)
        answer = some_net(y_t, torch.full((2,), now.t), context)
        if run is dpm_solver and i == 1 and ddpm.alpha_bar(999) == 0:
            theirs.lower_order_nums = 0  # the limit of order 2 after a jump from sigma = inf
        extra = options if run is ddim else {}
        want = theirs.step(answer, now.t, y_t, generator=noise, **extra).prev_sample
        # DDPMScheduler's variances are at least 1e-20, so its last step still adds 1e-10 noise.
        assert largest(then.y_t - want.as_subclass(torch.Tensor)[:, 0]) < 1e-9


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 50, 333, 999, 1000])
def test_timesteps_are_trailing(steps):
    walk = ddim(LINEAR, lambda y_t, t, c: y_t, torch.zeros(1, 1, 1), (1, 1), steps=steps)
    times = [step.t for step in walk]
    assert times[0] == 999 and times[-1] == -1 and len(times) == steps + 1
    assert len({t - s for t, s in pairwise(times)}) <= 2  # gaps as even as they can be
    assert times[:-1] == diffusers_scheduler(DDIMScheduler, LINEAR, steps).timesteps.tolist()


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("run, order", [(ddim, 1), (dpm_solver, 2)])
def test_convergence_to_the_exact_path(run, order, zero_snr):
    """For signals N(m, s^2) the path keeps (y_t - cos m) / sqrt(cos^2 s^2 + sin^2) as it is."""
    total, std = 16_384, 0.5
    schedule = linear_schedule(total, 0.1 / total, 20 / total)
    ddpm = DDPM(schedule.zero_terminal_snr() if zero_snr else schedule, "v")
    net, context = gaussian_denoiser(ddpm, std), torch.full((2, 1, 1), 0.7, dtype=F64)

    def standardised(step):
        bar = ddpm.alpha_bar(step.t)
        return (step.y_t - math.sqrt(bar) * 0.7) / math.sqrt(bar * std**2 + 1 - bar)

    errors = []
    for steps in (64, 128, 256):
        walk = list(run(ddpm, net, context, (2, 3), steps=steps, generator=seeded()))
        assert walk[3 * steps // 4].t == total // 4 - 1  # all three grids pass here
        errors.append(largest(standardised(walk[3 * steps // 4]) - standardised(walk[0])))
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.03)
    assert largest(standardised(walk[-1]) - standardised(walk[0])) < {1: 0.03, 2: 3e-4}[order]


@pytest.mark.parametrize("ddpm", PROCESSES)
def test_ancestral_mean_and_variance_are_the_datas(ddpm, monkeypatch):
    """With an affine denoiser a sample is an affine map of all the noise that was drawn.

    Each draw puts a one in a row of its own and zeros elsewhere; the squares of what becomes of
    the ones add up to the variance of a sample, without sampling error. The last row has no noise.
    """
    std, draws = 0.5, []

    def one_hot(shape, generator, *, like):
        draws.append(torch.zeros(shape, dtype=F64))
        draws[-1][len(draws) - 1] = 1
        return draws[-1]

    monkeypatch.setattr(samplers, "gaussian", one_hot)
    monkeypatch.setattr(samplers, "pure_noise", lambda c, s, g: one_hot((len(c), *s), g, like=c))
    context = torch.full((1001, 1, 1), 0.7, dtype=F64)
    y = sample(ddpm, gaussian_denoiser(ddpm, std), context, (1, 1)).flatten()
    assert len(draws) == 1000  # y_T, and every step but the last
    variance = ((y[:-1] - y[-1]) ** 2).sum().item()
    assert variance == pytest.approx(variance_recursion(ddpm.schedule, std), rel=1e-9)
    assert variance == pytest.approx(std**2, rel=0.02)  # nearer with more steps, see below
    assert y[-1].item() == pytest.approx(0.7, rel=0.01)


def variance_recursion(schedule, std):
    """Variance after all y_{t-1} = E[y_{t-1} | y_t] + sigma_t z: regression, from the alphas."""
    alphas, bars = schedule.alphas.tolist(), [*schedule.alpha_bars.tolist(), 1.0]
    variance = 1.0
    for t in reversed(range(len(alphas))):
        true, before = (bar * std**2 + 1 - bar for bar in (bars[t], bars[t - 1]))
        slope = alphas[t] ** 0.5 * before / true
        variance = slope**2 * variance + (1 - alphas[t]) * (1 - bars[t - 1]) / (1 - bars[t])
    return variance


def test_ancestral_samples_have_the_datas_moments():
    fine = linear_schedule(10_000, 1e-5, 2e-3)
    assert variance_recursion(fine, 0.5) == pytest.approx(0.25, rel=0.002)
    ddpm = DDPM(linear_schedule(100, 1e-3, 0.2))
    context = torch.full((40, 1, 1), -1.0, dtype=F64)
    y = sample(ddpm, gaussian_denoiser(ddpm, 1.0), context, (25, 40), generator=seeded())
    assert y.mean().item() == pytest.approx(-1, abs=0.025)  # five standard errors, and below
    assert y.var().item() == pytest.approx(variance_recursion(ddpm.schedule, 1.0), rel=0.035)


@pytest.mark.parametrize("run", [ddim, dpm_solver])
@pytest.mark.parametrize("ddpm", PROCESSES)
def test_deterministic_samplers_land_on_the_data(ddpm, run):
    """If only seven signals exist, the ideal denoiser leads every noise to one of them."""
    data = 3 * normal(7, 3, 4, seed=9)

    def clean(y_t, bar, context):
        distance = ((y_t - bar.sqrt() * data) ** 2).sum((2, 3))                # (b, 7)
        weight = torch.softmax(-distance / (2 * (1 - bar[:, :, 0, 0])), dim=1)
        return torch.einsum("bi,ihw->bhw", weight, data)[:, None]

    y = end(run, ddpm, torch.zeros(30, 1, 1, dtype=F64), answering(ddpm, clean), steps=50)
    distance = (y[:, None] - data).abs().amax((2, 3))                          # (30, 7)
    assert (distance.min(dim=1).values < 1e-9).all()
    assert len(distance.argmin(dim=1).unique()) > 2


@pytest.mark.parametrize("ddpm", PROCESSES)
def test_identities_between_samplers(ddpm):
    context = normal(2, 1, 3)
    paper = ddpm.sample(some_net, context, (3, 4), generator=seeded())
    assert torch.equal(end(ancestral, ddpm, context), paper)
    still = end(ddim, ddpm, context, steps=30)
    noisy = end(ddim, ddpm, context, steps=30, eta=1.0)
    assert largest(end(ancestral, ddpm, context, steps=30) - noisy) < 1e-9
    assert largest(end(dpm_solver, ddpm, context, steps=30, order=1) - still) < 1e-9
    one_step = end(dpm_solver, ddpm, context, steps=1)
    assert largest(one_step - end(ddim, ddpm, context, steps=1)) < 1e-9


@pytest.mark.parametrize("run", RUNS.values())
def test_walks_yield_every_look_and_then_the_signal(run):
    context, modes = normal(2, 1, 3).requires_grad_(), []

    def net(y_t, t, context):
        modes.append(torch.is_grad_enabled())
        return some_net(y_t, t, context)

    walk = []
    for step in run(ZERO_V, net, context, (3, 4), steps=5):
        assert torch.is_grad_enabled() and not step.y0.requires_grad  # no_grad stays inside
        walk.append(step)
    assert [step.t for step in walk] == [999, 799, 599, 399, 199, -1] and modes == [False] * 5
    for step in walk[:-1]:
        answer = some_net(step.y_t[:, None], torch.full((2,), step.t), context)[:, 0]
        assert torch.equal(step.y0, ZERO_V.to_y0(answer, step.y_t, step.t))
    assert walk[-1].y_t is walk[-1].y0 and walk[-1].y0.shape == (2, 3, 4)
    assert largest(walk[-1].y0 - walk[-2].y0) < 1e-14  # the last step believes the network


@pytest.mark.parametrize("run", RUNS.values())
def test_guidance(run):
    context, null, seen = normal(2, 2, 3), torch.zeros(2, 2, 3, dtype=F64), []

    def net(y_t, t, context):
        seen.append((len(y_t), len(t), context))
        return some_net(y_t, t, context)

    plain = end(run, ZERO_V, context, steps=6)
    assert torch.equal(end(run, ZERO_V, context, net, steps=6, guidance=1.0), plain)
    assert [(b, bt, len(c)) for b, bt, c in seen] == [(2, 2, 2)] * 6  # nothing to pay at 1
    seen.clear()
    none = end(run, ZERO_V, context, net, steps=6, guidance=0.0)
    assert largest(none - end(run, ZERO_V, null, steps=6)) < 1e-12
    assert [(b, bt, len(c)) for b, bt, c in seen] == [(4, 4, 4)] * 6  # one doubled batch
    assert torch.equal(seen[0][2], torch.cat([null, context]))
    step = next(run(ZERO_V, some_net, context, (3, 4), steps=6, guidance=2.5))
    look = [-some_net(step.y_t[:, None], torch.full((2,), 999), c) for c in (context, null)]
    assert largest(step.y0[:, None] - (2.5 * look[0] - 1.5 * look[1])) < 1e-14


def test_contexts_are_encoded_once():
    encoded, context = [], normal(2, 1, 3)

    def encode(context):
        encoded.append((len(context), torch.is_grad_enabled()))
        return {"keys": context}

    def net(y_t, t, memory):
        return some_net(y_t, t, memory["keys"])

    net.encode_context = encode
    for run in RUNS.values():
        plain = end(run, ZERO_V, context, steps=4, guidance=2.0)
        assert torch.equal(end(run, ZERO_V, context, net, steps=4, guidance=2.0), plain)
    conditional_mean(ZERO_V, net, context, (3, 4), draws=3)
    ZERO_V.sample(net, context, (3, 4))
    assert encoded == [(4, False)] * 3 + [(2, False)] * 2


def test_sample_runs_the_sampler_named_with_its_usual_steps(capfd):
    context = normal(2, 1, 3)
    for ddpm in (LINEAR, DDPM(linear_schedule(30))):
        for name, steps in {"ancestral": 1000, "ddim": 50, "dpm_solver": 20}.items():
            y = sample(ddpm, some_net, context, (3, 4), sampler=name, generator=seeded())
            assert torch.equal(y, end(RUNS[name], ddpm, context, steps=min(steps, ddpm.steps)))
    assert not capfd.readouterr().err
    options = {"steps": 3, "guidance": 2.0, "generator": seeded()}
    y = sample(ddpm, some_net, context, (3, 4), sampler="ddim", progress=True, **options)
    assert torch.equal(y, end(ddim, ddpm, context, steps=3, guidance=2.0))
    assert "3/3" in capfd.readouterr().err


@pytest.mark.parametrize("sampler", RUNS)
def test_the_generator_decides_everything(sampler):
    before, contexts = torch.get_rng_state(), torch.zeros(3, 1, 1)

    def draw(g, context=contexts):
        return sample(ZERO_V, some_net, context, (3, 4), sampler=sampler, steps=6, generator=g)

    assert torch.equal(draw(seeded(1)), draw(seeded(1)))
    assert not torch.equal(draw(seeded(1)), draw(seeded(2)))
    together = draw([seeded(1), seeded(2), seeded(3)])
    alone = [draw([seeded(seed)], contexts[:1])[0] for seed in (1, 2, 3)]
    assert largest(together - torch.stack(alone)) < 1e-5  # a row does not depend on its batch
    assert torch.equal(torch.get_rng_state(), before) and together.dtype == torch.float32


@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_conditional_mean_is_the_closed_form(prediction):
    ddpm, context = DDPM(SCHEDULES["cosine0"], prediction), normal(5, 2, 3)
    y = conditional_mean(ddpm, gaussian_denoiser(ddpm, 0.5), context, (4, 6))
    assert largest(y - context.sum((1, 2))[:, None, None]) < 1e-14 and y.shape == (5, 4, 6)


@pytest.mark.parametrize("draws", [1, 3])
def test_conditional_mean_averages_draws_and_ignores_the_batch(draws):
    def leaky(y_t, t, context):  # a network that has not learned to ignore the noise
        return -context.sum((1, 2))[:, None, None, None] - y_t

    context, g = normal(5, 2, 3), seeded()
    noise = sum(gaussian((4, 6), g, like=context) for _ in range(draws)) / draws
    y = conditional_mean(ZERO_V, leaky, context, (4, 6), draws=draws)
    assert largest(y - context.sum((1, 2))[:, None, None] - noise) < 1e-14  # the same in all rows
    assert torch.equal(conditional_mean(ZERO_V, leaky, context[2:4], (4, 6), draws=draws), y[2:4])


@pytest.mark.parametrize(
    "complaint, call",
    [
        ("eta is 1.1", lambda *args: next(ddim(*args, steps=5, eta=1.1))),
        ("order is 3", lambda *args: next(dpm_solver(*args, steps=5, order=3))),
        ("wanted one of ancestral, ddim, dpm_solver", lambda *args: sample(*args, sampler="heun")),
        ("2 generators, 1 rows", lambda *args: sample(*args, generator=[seeded(), seeded()])),
        ("without the batch", lambda *args: sample(*args[:3], (1, 1, 1))),
        ("4e-05, not 0.*average many samples", lambda *args: conditional_mean(*args)),
        ("draws is 0", lambda _, *args: conditional_mean(ZERO_V, *args, draws=0)),
        ("steps is 1001; wanted 1 to 1000", lambda *args: sample(*args, steps=1001)),
        ("steps is 0", lambda *args: sample(*args, steps=0)),
    ],
)
def test_impossible_requests_are_refused(complaint, call):
    with pytest.raises(ValueError, match=complaint):
        call(LINEAR, some_net, torch.zeros(1, 1, 1), (1, 1))
