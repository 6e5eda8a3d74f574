"""Several people in one model: whose signals are meant is told by weights w, one for each subject.

    w = (0, .. 1, .. 0)      a subject the model knows
    w = (1/s, .. 1/s)        nobody in particular
    context = [features, w]            K context = K_features features + sum_i w_i K_i
    base(x, w) = sum_i w_i base_i(x)

Each projection K of the context inside the U-Net so holds a learned vector K_i of every subject (a
subject embedding, one for each layer), and "nobody" has the mean of them all. That mean is learned
too: in training some rows are not told whose they are (`forget`). What the network adds to is an
encoding model for each subject, averaged alike; so are the offset and scale of the targets.

Baselines of a subject left out are the others' mean ERP and the average of the others' ridges.
Letters: n rows, s subjects, r repetitions, h sensors, w time points, l tokens, d width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Generator, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .recorded import Recorded

NUMBER = re.compile(r"(?:sub-?)?(?:BIGMEG|P)?0*(\d+)", re.IGNORECASE)  # of THINGS' subjects

# -------------------------------------------------------------------------------------------------
# One recording made of several


@dataclass(frozen=True)
class Subjects:
    """The same images shown to several people, all rows of one after all rows of another.

    Made by `together`. It has the fields of `things.EEG2` and `things.MEG`, and two more.

    Attributes
    ----------
    signals : (n, h, w) or (n, r, h, w) float32
    images, concepts : (n,), so the same for each subject
    subject : (n,) int64, the place in `subjects` of each row's
    subjects : their names, (s,)
    """

    signals: np.ndarray
    images: tuple[Path, ...]
    concepts: tuple[str, ...]
    sensors: tuple[str, ...]
    times: np.ndarray
    repeats: int
    kind: str
    unit: str
    summaries: tuple[str, ...]  # one of each subject
    subject: np.ndarray
    subjects: tuple[str, ...]

    @property
    def summary(self) -> str:
        """What it is, in words."""
        there = [self.subjects[i] for i in np.unique(self.subject)]
        return "; ".join(f"{name}: {text}" for name, text in zip(there, self.summaries))

    @property
    def weights(self) -> Tensor:
        """One-hot weights (n, s) float32."""
        return torch.eye(len(self.subjects))[torch.from_numpy(self.subject)]

    @property
    def place(self) -> Tensor:
        """Which image of its subject each row is, (n,): the same image has the same place."""
        _, first, back = np.unique(self.subject, return_index=True, return_inverse=True)
        return torch.from_numpy(np.arange(len(self.subject)) - first[back])

    def rows(self, name: str | int) -> slice:
        """The rows of one subject, called as `place_of` says; ValueError if there are none."""
        found = np.flatnonzero(self.subject == place_of(name, self.subjects))
        if not len(found):
            raise ValueError(f"no rows of {name!r} in this part of the recording")
        return slice(int(found[0]), int(found[-1]) + 1)

    def of(self, name: str | int) -> Subjects:
        """The part of one subject, called as `place_of` says.

        Its signals are a view, `subjects` still names all.
        """
        at = self.rows(name)
        there = np.unique(self.subject).tolist()
        return replace(
            self, signals=self.signals[at], images=self.images[at], concepts=self.concepts[at],
            subject=self.subject[at],
            summaries=(self.summaries[there.index(int(self.subject[at.start]))],),
        )


def together(recordings: Sequence[Recorded], names: Sequence[str]) -> Subjects:
    """One recording of several subjects.

    Parameters
    ----------
    recordings : of `things.EEG2`, `things.MEG` or anything with their fields
    names : of the subjects, such as "sub-01", in the same order

    Returns
    -------
    Subjects
        Its signals are a copy, in float32: ten subjects of THINGS-EEG2's training are 10.4 GB, in
        memory beside whatever the recordings themselves take there (little, where they are memory
        maps of prepared files). `signals - prediction` of training takes as much again.

    Raises
    ------
    ValueError
        No recordings, names that are not different ones for each; or a recording differs from the
        first in images, sensors, times, unit, kind, repetitions or axes.

    Examples
    --------
    >>> from tinybrain.recorded import OwnRecording
    >>> one, two = (OwnRecording(np.full((2, 1, 3), v, np.float32), ["a.jpg", "b.jpg"], ["Oz"],
    ...                          times=[0, 0.1, 0.2]) for v in (1, 2))
    >>> both = together([one, two], ["sub-01", "sub-02"])
    >>> both.signals.shape, both.of("sub-02").signals[0, 0].tolist()
    ((4, 1, 3), [2.0, 2.0, 2.0])
    """
    names, first = tuple(names), next(iter(recordings), None)
    if first is None or len(names) != len(recordings) or len(set(names)) < len(names):
        raise ValueError(
            f"{len(recordings)} recordings, named {names}; wanted one or more, a name for each, no "
            "two alike"
        )
    for name, other in zip(names, recordings):
        if differs := _difference(first, other):
            raise ValueError(
                f"{name} cannot stand beside {names[0]} in one model: {differs}; prepare both the "
                "same way, or train them apart"
            )
    signals = [np.asarray(recording.signals, np.float32) for recording in recordings]
    count = len(names)
    return Subjects(
        np.concatenate(signals), tuple(first.images) * count, tuple(first.concepts) * count,
        tuple(first.sensors), np.asarray(first.times), first.repeats, first.kind, first.unit,
        tuple(recording.summary for recording in recordings),
        np.repeat(np.arange(count), len(signals[0])), names,
    )  # fmt: skip


def _difference(first: Recorded, other: Recorded) -> str:
    """The first thing in which two recordings differ, in words; nothing if there is none."""
    for field in ("kind", "unit", "repeats"):
        if getattr(first, field) != getattr(other, field):
            return f"{field} {getattr(other, field)!r} there, {getattr(first, field)!r} here"
    shapes = [recording.signals.shape for recording in (first, other)]
    if shapes[0] != shapes[1]:
        return f"signals {shapes[1]} there, {shapes[0]} here"
    if not np.allclose(first.times, other.times, rtol=0, atol=1e-6):
        i = int(np.abs(np.subtract(first.times, other.times)).argmax())
        return f"time {i} is {other.times[i]:g} s there, {first.times[i]:g} s here"
    shown: tuple[tuple[str, Callable[[Any], str]], ...]
    shown = ("sensors", str), ("concepts", str), ("images", _short)
    for field, show in shown:
        pairs = zip(getattr(first, field), getattr(other, field))
        for i, (one, another) in enumerate((show(a), show(b)) for a, b in pairs):
            if one != another:
                return f"{field}[{i}] is {another} there, {one} here"
    return ""


def _short(image: Path) -> str:
    """A file and its folder: subjects may keep the same images in different places."""
    return f"{Path(image).parent.name}/{Path(image).name}"


def each_image_once(recording: Recorded) -> tuple[Recorded, Tensor]:
    """A recording that shows every image once, and the place (n,) of each row's image in it."""
    if not isinstance(recording, Subjects):
        return recording, torch.arange(len(recording.images))
    return recording.of(recording.subjects[recording.subject[0]]), recording.place


# -------------------------------------------------------------------------------------------------
# Weights, beside the features of an image


def place_of(name: str | int, subjects: Sequence[str]) -> int:
    """Where a subject is among those a model knows; ValueError, naming them, if it is not.

    It is called by its name, or by its number however that is written.

    Examples
    --------
    >>> [place_of(name, ["sub-01", "sub-02"]) for name in ("sub-02", "sub-2", "P2", "2", 2)]
    [1, 1, 1, 1, 1]
    """
    if name in subjects:
        return list(subjects).index(str(name))
    number = _number(name)
    same = [i for i, known in enumerate(subjects) if number and _number(known) == number]
    if len(same) != 1:
        known = ", ".join(subjects) or "none by name, as the model is of one subject"
        wrong = "more than one subject" if same else "no subject"
        raise ValueError(f"there is {wrong} {name!r}; known are: {known}")
    return same[0]


def _number(name: str | int) -> str:
    """Of a subject, without zeros in front; nothing where the name is no number of THINGS' kind."""
    found = NUMBER.fullmatch(str(name).strip())
    return found[1] if found else ""


def weights_of(subject: str | int | None, subjects: Sequence[str]) -> Tensor:
    """Weights (s,) of a subject, or with None of nobody in particular; raises as `place_of`."""
    if subject is None:
        return torch.full((len(subjects),), 1 / max(len(subjects), 1))
    return torch.eye(len(subjects))[place_of(subject, subjects)]


def tell(context: Tensor, weights: Tensor) -> Tensor:
    """Features (n, l, d) and whose signals they are to become, weights (n, s) or (s,) of all.

    Every token is told, (n, l, d + s), since any of them may be the one attended to.

    Examples
    --------
    >>> tell(torch.zeros(1, 1, 2), weights_of("sub-02", ["sub-01", "sub-02"]))
    tensor([[[0., 0., 0., 1.]]])
    """
    weights = weights[:, None] if weights.ndim == 2 else weights
    return torch.cat([context, weights.to(context).expand(*context.shape[:2], -1)], dim=2)


def untold(context: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """What `tell` has joined, for `count` subjects: features (n, l, d) and weights (n, s)."""
    width = context.shape[2] - count
    return context[..., :width], context[:, 0, width:]


def tell_asked(
    context: Tensor, width: int, subject: str | int | None, subjects: tuple[str, ...]
) -> Tensor:
    """Features (n, l, d) told of the subject who is asked for, where a model is of several.

    What has weights already, (n, l, width), is left as it is.

    Raises
    ------
    ValueError : as `place_of`; another width, or a subject asked for beside weights.
    """
    weights, wanted = weights_of(subject, subjects), width - len(subjects)
    if subjects and subject is None and context.ndim == 3 and context.shape[2] == width:
        return context
    if context.ndim != 3 or context.shape[2] != wanted:
        image = context.ndim > 2 and context.shape[1] > 1  # or so it may be
        raise ValueError(
            f"features are {tuple(context.shape)}; this model wants (n, {wanted}) or "
            f"(n, tokens, {wanted})"
            + ("; if these are images they must be uint8 (H, W, 3)" if image else "")
        )
    return tell(context, weights) if subjects else context


def tell_whose(context: Tensor, recording: Recorded, subjects: tuple[str, ...]) -> Tensor:
    """Features (n, l, d) of a recording's rows, told as a model of these subjects must be.

    One-hot for a recording of the same subjects; nobody in particular for any other's, who was
    left out; unchanged where the model is of one subject.

    Raises
    ------
    ValueError : the recording is of several subjects, but not of these.
    """
    if isinstance(recording, Subjects):
        if recording.subjects != subjects:
            raise ValueError(f"a recording of {recording.subjects} for a model of {subjects}")
        return tell(context, recording.weights)
    return tell(context, weights_of(None, subjects)) if subjects else context


def forget(context: Tensor, count: int, share: float, generator: Generator) -> Tensor:
    """Contexts (b, l, d + s), each with probability `share` of nobody in particular.

    The mean over the s columns of a one-hot row is 1/s, whatever scale the columns have.
    """
    gone = torch.rand(len(context), generator=generator) < share               # (b,)
    gone = gone.to(context.device, non_blocking=True)[:, None, None]
    width = context.shape[2] - count
    weights = context[..., width:]
    nobody = weights.mean(dim=2, keepdim=True).expand_as(weights)
    return torch.cat([context[..., :width], nobody.where(gone, weights)], dim=2)


def per_subject(values: Tensor, weights: Tensor | None) -> Tensor:
    """A scale of sensors, to multiply signals by: (h,) as (h, 1); (s, h), weighed, as (n, h, 1)."""
    if values.ndim == 1:
        return values[:, None]
    return (cast(Tensor, weights).cpu() @ values)[..., None]  # (s, h) never comes without them


# -------------------------------------------------------------------------------------------------
# Baselines of a subject who is left out


def mean_of_others(
    values: Mapping[Hashable, NDArray[Any]], left_out: Hashable
) -> NDArray[np.float32]:
    """What the other subjects say together: the mean of theirs, each counting the same.

    Parameters
    ----------
    values : by subject, arrays of one shape: mean ERPs (h, w), predicted signals (n, h, w)
    left_out : the subject who does not count

    Returns
    -------
    float32 array of that shape; the mean is taken in float64.

    Raises
    ------
    ValueError : `left_out` is not among them, or nobody else is, or shapes differ.

    Examples
    --------
    >>> erps = {"sub-01": np.zeros(2), "sub-02": np.ones(2), "sub-03": np.full(2, 3.0)}
    >>> mean_of_others(erps, "sub-01")
    array([2., 2.], dtype=float32)
    """
    if left_out not in values:
        known = ", ".join(map(str, values))
        raise ValueError(f"there is no subject {left_out!r}; known are: {known}")
    others = {name: np.asarray(value) for name, value in values.items() if name != left_out}
    shapes = {name: value.shape for name, value in others.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"without {left_out}: {shapes}; wanted one or more arrays of one shape")
    total = np.zeros(next(iter(shapes.values())))
    for value in others.values():
        total += value
    return (total / len(others)).astype(np.float32)
