"""What a report's numbers say, as facts and in words; both are computed, never written by hand.

    above mean ERP, ridge   the difference of squared errors, image by image: "yes" if its 95 %
                            interval is above 0, "no" if below, "undecided" if 0 is inside
    adds to                 the same, above the encoding model that the network adds to: what the
                            network itself is worth
    share of the ceiling    (MSE(mean ERP) - MSE) / (MSE(mean ERP) - MSE(noise ceiling))
    one sample              its squared error less that of a perfect sampler's sample, "reached"
                            where 0 is inside the interval: "above" is worse, "below" is too quiet
    realism                 measures beyond chance: p < 0.05 after Holm's (1979) correction for
                            the number of measures; n images swapped at random give no p < 2^-n
    image effect            the permutation test's p, and the gap with its interval

Interval and p say what these images can tell. "Undecided" and "not told apart" are not "equal".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from .messages import digits
from .scores import Triple, explained, interval, mean
from .uncertainty import gap_closed

LEVEL = 0.05
TIMES = 10  # a reference's MSE: beyond, a share of it says less than how many times it is
ANSWERS = {1: "yes", 0: "undecided", -1: "no"}  # by the side of 0 where the interval lies


def facts(
    errors: Mapping[str, np.ndarray], best: str, sample_ceiling: np.ndarray | None,
    ceiling: np.ndarray | None, realism: Mapping[str, Any], effect: Mapping[str, Any],
    seed: int = 0, *, adds_to: str | None = None,
) -> dict[str, Any]:
    """The verdict as a dictionary that JSON holds.

    Parameters
    ----------
    errors : squared errors (n,) by a row's name: "mean ERP", "one sample", `best`, maybe "ridge"
    best : the prediction judged: "conditional mean", or without one the mean of the samples
    sample_ceiling, ceiling : (n,) expected squared error of a perfect sampler's sample and of the
        expected response itself; None where it is not known
    realism, effect : those sections of the report
    seed : of the bootstraps
    adds_to : name among `errors` of the encoding model that the network adds to; None without one

    Returns
    -------
    prediction, mse, above_mean_erp, above_ridge, adds_to (its name, and as above), ceiling (its
    MSE), share_of_ceiling, one_sample, realism, image_effect; None for what cannot be told.

    Examples
    --------
    >>> erp, own, ceiling = np.random.default_rng(0).normal([[4], [2], [1]], 0.1, size=(3, 50))
    >>> errors = {"mean ERP": erp, "conditional mean": own, "one sample": own + 1}
    >>> none = {"reason": "there was no time"}
    >>> print(words(facts(errors, "conditional mean", None, ceiling, none, none)))
    Conditional mean: MSE 2.0033 (1.9759 to 2.0312), better than the mean ERP (50.1 % less, 95 %
    interval 49.3 to 50.8 %); ridge was not fitted. It is 67 % of the way from the mean ERP to the
    noise ceiling (66 to 68 %). Realism of samples was not tested: there was no time. Whether the
    image matters was not tested: there was no time.
    """
    own = errors[best]
    return {
        "prediction": best,
        "mse": interval(mean(own, seed)),
        "above_mean_erp": above(own, errors["mean ERP"], seed),
        "above_ridge": above(own, errors["ridge"], seed) if "ridge" in errors else None,
        "adds_to": None if adds_to is None
        else {"name": adds_to} | above(own, errors[adds_to], seed),
        "ceiling": None if ceiling is None else interval(mean(ceiling, seed)),
        "share_of_ceiling": _share(own, errors["mean ERP"], ceiling, seed),
        "one_sample": _one_sample(errors["one sample"], sample_ceiling, seed),
        "realism": beyond_chance(realism),
        "image_effect": effect,
    }


def above(own: np.ndarray, reference: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Is a prediction better than a reference? From squared errors (n,) of the same images.

    Returns
    -------
    answer : "yes", "no", "undecided"; None where there is one image
    gain : [value, low, high], the MSE taken off, unit^2
    share : the same as a share of the reference's MSE, which is R^2 against it; or None

    Examples
    --------
    >>> ridge = np.random.default_rng(0).chisquare(1, size=200)
    >>> found = above(0.9 * ridge, ridge)
    >>> print(found["answer"], "{:.2f}, {:.2f} to {:.2f}".format(*found["gain"]))
    yes 0.11, 0.09 to 0.13
    """
    gain = interval(mean(reference - own, seed))
    share = interval(explained(own, reference, seed))
    return {"answer": _answer(ANSWERS, gain), "gain": gain,
            "share": None if share[1] is None else share}


def beyond_chance(realism: Mapping[str, Any]) -> dict[str, Any]:
    """Which of realism's measures tell samples from recordings, by Holm's step-down test.

    Parameters
    ----------
    realism : "measures" as `Realism.numbers()` gives them, or "reason", why there are none;
        "images" of the test, "averaged" repetitions in each signal, where they are known

    Returns
    -------
    answer : "told apart", "not told apart"; "too few" if not even the least p that so many images
        can give would be beyond chance; None without measures, then with a reason
    measures : by name unit, generated, chance, p, and "beyond"
    images, averaged : as given, if given

    Examples
    --------
    Of two measures, the lesser p must be below 0.05 / 2:

    >>> found = beyond_chance({"measures": {"variance": {"p": 0.04}, "spectrum": {"p": 0.03}}})
    >>> found["answer"]
    'not told apart'
    """
    if "measures" not in realism:
        return {"answer": None, "reason": realism["reason"], "measures": {}}
    measures = {name: dict(found) for name, found in realism["measures"].items()}
    defined = [name for name, found in measures.items() if np.isfinite(found["p"])]
    known = {key: realism[key] for key in ("images", "averaged") if key in realism}
    going = reachable = _least_p(known) * len(defined) < LEVEL  # a p may be less by luck
    for place, name in enumerate(sorted(defined, key=lambda name: measures[name]["p"])):
        going &= measures[name]["p"] * (len(defined) - place) < LEVEL
        measures[name]["beyond"] = bool(going)
    for name in set(measures) - set(defined):
        measures[name]["beyond"] = None
    if not defined:
        return {"answer": None, "reason": "no measure is defined", "measures": measures}
    told = any(found["beyond"] for found in measures.values())
    answer = "told apart" if told else "not told apart" if reachable else "too few"
    return {"answer": answer, "measures": measures, **known}


def _least_p(realism: Mapping[str, Any]) -> float:
    """Of 2^n ways to swap samples and recordings of n images, one is as it was found."""
    return float(2.0 ** -realism["images"]) if "images" in realism else 0.0


def _side(found: Triple) -> int | None:
    """1 above 0, -1 below, 0 if 0 is inside; None without bounds."""
    _, low, high = found
    return None if low is None or high is None else int(low > 0) - int(high < 0)


def _answer(answers: Mapping[int, str], found: Triple) -> str | None:
    """The answer by the side of 0 where an interval lies; None without bounds."""
    side = _side(found)
    return None if side is None else answers[side]


def _share(
    own: np.ndarray, erp: np.ndarray, ceiling: np.ndarray | None, seed: int
) -> Triple | None:
    """None where the mean ERP is not clearly above the ceiling: a share of nothing."""
    if ceiling is None or _side(interval(mean(erp - ceiling, seed))) != 1:
        return None
    return interval(gap_closed(own, erp, ceiling, seed=seed))


def _one_sample(error: np.ndarray, best: np.ndarray | None, seed: int) -> dict[str, Any] | None:
    if best is None:
        return None
    excess = interval(mean(error - best, seed))
    answer = _answer({0: "reached", 1: "above", -1: "below"}, excess)
    return {"answer": answer, "mse": interval(mean(error, seed)),
            "best": interval(mean(best, seed)), "excess": excess}


# -------------------------------------------------------------------------------------------------
# In words

CALLED = {
    "variance": "variance of sensors", "spectrum": "spectrum", "covariance": "spatial covariance",
    "autocorrelation": "autocorrelation", "frechet": "Fréchet distance in ridge's patterns",
    "classifier": "a classifier",
}


def words(found: Mapping[str, Any]) -> str:
    """The facts as one paragraph."""
    name = found["prediction"]
    said = [f"{name[0].upper()}{name[1:]}: MSE {_with(found['mse'], '.4f')}"]
    *others, last = _references(found)
    said[0] += "".join(f", {one}" for one in others) + f", {'and ' * bool(others)}{last}"
    said[0] += "; ridge was not fitted." if found["above_ridge"] is None else "."
    said += [_of_network(found), _of_ceiling(found), _of_sample(found["one_sample"]),
             _of_realism(found["realism"]), _of_effect(found["image_effect"])]
    return " ".join(sentence for sentence in said if sentence)


def _references(found: Mapping[str, Any]) -> list[str]:
    """The prediction beside each thing it must beat; what the network adds to is the last."""
    base = found.get("adds_to")  # a report of before may lack it
    said = [_compared("the mean ERP", found["above_mean_erp"])]
    if found["above_ridge"] is not None and (base is None or base["name"] != "ridge"):
        said.append(_compared("ridge", found["above_ridge"]))
    return said if base is None else [*said, _compared(base["name"], base, ", which it adds to")]


def _compared(reference: str, above_: Mapping[str, Any], aside: str = "") -> str:
    answer, gain, share = above_["answer"], above_["gain"], above_["share"]
    if answer is None:
        word = "below" if gain[0] > 0 else "not below"
        return f"{word} {reference}'s, on one image, which decides nothing"
    amount = "" if share is None else f" ({_amount(share)})"
    return {"yes": "better than ", "no": "worse than ",
            "undecided": "not told apart from "}[answer] + reference + aside + amount


def _amount(share: Triple) -> str:
    value, low, high = cast(tuple[float, float, float], tuple(share))
    if _times(share) > TIMES:
        return f"{1 - value:,.0f} times the MSE, 95 % interval {1 - high:,.0f} to {1 - low:,.0f}"
    word = "less"
    if value < 0:
        value, low, high, word = -value, -high, -low, "more"
    form = ".2f" if max(abs(low), abs(high)) < 0.01 else ".1f"  # so that bounds near 0 are seen
    value, low, high = 100 * value, 100 * low, 100 * high
    return f"{value:{form}} % {word}, 95 % interval {low:{form}} to {high:{form}} %"


def _times(share: Triple | None) -> float:
    """How many times a reference's MSE it is, of the share of it that is taken off."""
    return 1.0 if share is None or share[0] is None else 1 - share[0]


def _of_network(found: Mapping[str, Any]) -> str:
    """Only of a conditional mean: a mean of samples holds their noise, which is no fault."""
    base = found.get("adds_to")
    if base is None or found["prediction"] != "conditional mean":
        return ""
    shown = {"undecided": ", as far as these images show", "no": ""}.get(base["answer"])
    return "" if shown is None else (f"So the network does not improve the mean{shown}; it adds "
                                     "the variation of samples.")


def _of_ceiling(found: Mapping[str, Any]) -> str:
    share = found["share_of_ceiling"]
    if max(_times(found["above_mean_erp"]["share"]), _times(share)) > TIMES:
        return ""  # so far off that it is on no way to it
    if share is not None:
        value, low, high = (100 * part for part in share)
        if value < 0:
            return ""  # the mean ERP is better, as was said
        return (f"It is {round(value)} % of the way from the mean ERP to the noise ceiling "
                f"({round(low)} to {round(high)} %).")
    if found["ceiling"] is None:
        return "There is no noise ceiling: the test has one repetition of an image."
    return "The mean ERP is not told apart from the noise ceiling, so no share of it is given."


def _of_sample(one: Mapping[str, Any] | None) -> str:
    if one is None or one["answer"] is None:
        return ""
    told = {"reached": "reaches what a perfect sampler's would",
            "above": "does not reach what a perfect sampler's would",
            "below": "errs less than a perfect sampler's would, so it has too little of the noise "
                     "that it should have"}
    _, low, high = one["excess"]
    return (f"One sample {told[one['answer']]} (MSE {one['mse'][0]:.4f} against "
            f"{one['best'][0]:.4f}, difference {low:+.4f} to {high:+.4f}).")


def _of_realism(found: Mapping[str, Any]) -> str:
    if found["answer"] is None:
        return f"Realism of samples was not tested: {found['reason']}."
    defined = {name: each for name, each in found["measures"].items()
               if each["beyond"] is not None}
    beyond = {name: each for name, each in defined.items() if each["beyond"]}
    number, averaged = len(defined), found.get("averaged", 1)
    recorded = "single recordings" if averaged == 1 else f"means of {averaged} repetitions"
    if found["answer"] == "too few":
        said = (f"{found['images']} test images are too few to tell samples from {recorded}: they "
                f"give no p below {_least_p(found):.2g}, and {number} measures need one below "
                f"{LEVEL / number:.2g}.")
        if "classifier" not in defined:
            return said
        told, chance = (100 * defined["classifier"][of][0] for of in ("generated", "chance"))
        return f"{said} A classifier is right in {told:.0f} %, of recordings in {chance:.0f} %."
    if not beyond:
        return (f"Samples are not told apart from {recorded} by any of {number} measures "
                f"(least p = {min(each['p'] for each in defined.values()):.2g}).")
    listed = "; ".join(_measured(CALLED[name], each) for name, each in beyond.items())
    return (f"Samples are told apart from {recorded} by {len(beyond)} of {number} "
            f"measures: {listed}.")


def _measured(name: str, each: Mapping[str, Any]) -> str:
    value, chance, unit = each["generated"][0], each["chance"][0], each["unit"]
    if unit == "accuracy":
        return f"{name} (right in {100 * value:.0f} %, of recordings {100 * chance:.0f} %)"
    unit = "" if unit == "correlation" else f" {'of variance' if 'share' in unit else unit}"
    return f"{name} (off by {value:.2g}{unit}, recordings by {chance:.2g})"


def _of_effect(effect: Mapping[str, Any]) -> str:
    if "reason" in effect:
        return f"Whether the image matters was not tested: {effect['reason']}."
    said = []
    for name, each in effect.items():
        if each["value"] is None or not np.isfinite(each["value"]):
            said.append(f"nothing of the {name} varies with the image")
            continue
        shown = each["p"] < LEVEL / len(effect)  # any of them by chance: at LEVEL
        answer = "depends" if shown else "is not shown to depend"
        said.append(f"the {name} {answer} on the image (PCC image {digits(each['value'], '.3f')}, "
                    f"shuffled {digits(each['shuffled'][0], '.3f')}, p = {each['p']:.2g})")
    text = "; ".join(said) + "."
    return text[0].upper() + text[1:]


def _with(found: Triple, form: str) -> str:
    value, low, high = found
    return f"{value:{form}}" + ("" if low is None else f" ({low:{form}} to {high:{form}})")
