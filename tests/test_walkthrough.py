"""examples/walkthrough.py in miniature: what it prints obeys what it says; examples/README.md."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
MINIATURE = {
    "SENSORS": ("Cz", "P7", "Pz", "P8", "Oz"), "CONCEPTS": 20, "TESTED": 5, "STEPS": 8, "TRIALS": 8,
}  # fmt: skip
NUMBER = r"(-?[\d.]+(?:e[-+]\d+)?)"
FIGURES = ("1_recording", "2_schedules", "3_noising", "4_training", "5_denoising", "6_attention",
           "7_samples")  # fmt: skip


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """What a small walk prints, and its folder."""
    out = tmp_path_factory.mktemp("walk") / "walkthrough"
    code = (
        f"import runpy, sys; sys.argv = ['walkthrough.py', '--out', {str(out)!r}]\n"
        f"names = runpy.run_path({str(EXAMPLES / 'walkthrough.py')!r})\n"
        f"known = names['main'].__globals__; known.update({MINIATURE!r})\n"
        "draw = known['plot_means']\n"
        "def tell(*given, levels, **rest):\n"
        "    print('drawn:', levels)\n"
        "    return draw(*given, levels=levels, **rest)\n"
        "known['plot_means'] = tell\n"
        "names['main']()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=False, cwd=EXAMPLES.parent, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, out


def numbers(pattern: str, text: str) -> np.ndarray:
    """Every line that matches, as a row; # stands for a number."""
    found = re.findall(pattern.replace("#", NUMBER), text)
    assert found, f"nothing like {pattern!r} in:\n{text}"
    return np.array(found, dtype=float)


def test_every_step_is_walked_and_every_figure_drawn(walked):
    text, out = walked
    assert re.findall(r"^(\d)\. ", text, re.MULTILINE) == list("1234567")
    for name in FIGURES:
        with Image.open(out / f"{name}.png") as picture:
            assert picture.width > 900
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    assert len(list(out.glob("*.png"))) == len(FIGURES) == text.count("figure: ")


def test_noise_of_a_mean_falls_by_its_repetitions(walked):
    one, eighty = numbers("noise #, of the mean of 80 #", walked[0])[0]
    assert eighty == pytest.approx(one / 80, abs=1e-3) and 0.6 < one < 1.2


def test_schedules_end_where_they_say(walked):
    end = dict(re.findall(r"(linear|cosine|\w+, zero terminal SNR) .* the end (\S+)", walked[0]))
    assert float(end["linear, zero terminal SNR"]) == float(end["cosine, zero terminal SNR"]) == 0
    betas = np.linspace(1e-4, 2e-2, 1000)
    assert float(end["linear"]) == pytest.approx(np.prod(1 - betas), rel=0.02)


def test_noised_signals_keep_their_variance_and_lose_the_signal_as_predicted(walked):
    rows = numbers(r"variance #, correlation with y_0 #, sqrt\(alpha_bar\) #", walked[0])
    assert len(rows) == 5
    variance, found, predicted = rows.T
    np.testing.assert_allclose(variance, 1, atol=0.05)
    np.testing.assert_allclose(found, predicted, atol=0.04)
    assert predicted[0] > 0.999 and predicted[-1] == 0


def test_the_step_by_hand_is_the_librarys_and_lowers_the_loss(walked):
    by_hand, librarys = numbers("loss #; DDPM.loss with the same seed #", walked[0])[0]
    after = numbers("same batch and noise, #", walked[0])[0]
    assert by_hand == pytest.approx(librarys, abs=2e-6)
    assert after < by_hand


def test_training_lowers_the_loss_that_is_drawn(walked):
    untrained, one, eight = (
        numbers(f"loss of all training images, {name}: #", walked[0]).item()
        for name in ("untrained", "1 step", "8 steps")
    )
    assert untrained == pytest.approx(1, abs=0.1)  # answers 0, asked for what has variance 1
    assert one < untrained and eight < untrained


def test_white_noise_becomes_a_smoother_signal(walked):
    rough = numbers("its jumps #", walked[0])
    assert rough[0] == pytest.approx(2, abs=0.3)
    assert rough[-1] < 1.85


def test_one_token_leaves_nothing_to_choose(walked):
    rows = numbers(r"l = +#: weights from # to #, 1/l = #; answers differ .* by # of", walked[0])
    (one, *weights, share, spread), (many, low, high, each, choosing) = rows
    assert (one, *weights, share) == (1, 1, 1, 1) and spread < 1e-5
    assert many == 65 and low < each < high and choosing > 1e-3


def test_mse_of_means_of_samples_is_error_of_the_mean_plus_variance_over_k(walked):
    k, measured, predicted = numbers(r"mean of +# samples +# +# ", walked[0]).T
    assert k.tolist() == [1, 2, 4, 8]
    np.testing.assert_allclose(measured, predicted, rtol=0.1)
    variance = numbers("V: of the samples #", walked[0]).item()
    np.testing.assert_allclose(-np.diff(measured), -np.diff(variance / k), rtol=0.25)
    assert (np.diff(measured) < 0).all()
    mean = numbers(r"conditional mean +#", walked[0]).item()
    np.testing.assert_allclose(predicted, mean + variance / k, atol=2e-3)
    assert numbers(r"noise ceiling +#", walked[0]).item() < mean < measured[-1]


def test_what_the_network_adds_is_told_beside_what_it_starts_from(walked):
    (start,) = re.findall(r"parameters that add to (.+)", walked[0])
    change = numbers(rf"the network changed the MSE of {start} by \+?#%", walked[0]).item()
    mean, before = (numbers(rf"\n{name} +#", walked[0]).item()
                    for name in ("conditional mean", start))
    assert change == pytest.approx(100 * (mean / before - 1), abs=0.5)
    meaning = "higher, so worse: 8 steps are few" if change > 0 else "lower, so better"
    assert f"% ({meaning}); it adds the variation of samples" in walked[0]
    drawn = re.search(rf"drawn: .*'{start}': (?:np.float64\()?([\d.]+)", walked[0])
    assert float(drawn[1]) == pytest.approx(before, abs=1e-4)


def test_asking_for_help_makes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["walkthrough.py", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(EXAMPLES / "walkthrough.py"), run_name="__main__")
    assert end.value.code == 0 and "--out" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_table_of_examples_has_each_of_them_once_and_whole():
    rows = re.findall(r"^\| `(\w+\.py)` \|(.*)\|$", (EXAMPLES / "README.md").read_text("utf-8"),
                      re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(path.name for path in EXAMPLES.glob("*.py"))
    for name, rest in rows:
        what, command, time, writes = (cell.strip() for cell in rest.split(" | "))
        assert what and time and writes
        assert command.startswith(f"`python examples/{name}")


def test_thumbnails_are_small_and_of_examples():
    pictures = sorted((EXAMPLES / "thumbnails").iterdir())
    assert pictures
    for path in pictures:
        assert (EXAMPLES / f"{path.stem}.py").is_file(), f"{path}: of no example"
        assert path.stat().st_size < 40_000
        with Image.open(path) as picture:
            assert picture.format == "PNG" and 280 <= picture.width <= 320
    page = (EXAMPLES / "README.md").read_text("utf-8")
    for name in re.findall(r"(?:\]\(|src=\")([^)\"]+\.png)", page):
        assert (EXAMPLES / name).is_file(), f"examples/README.md shows {name}: no such file"
