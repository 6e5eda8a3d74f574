"""Several subjects on one command line: what is read, what each is judged on, the averages.

`--subjects 1 2 3` makes one model of three, judged on each of them. With `--leave-out 2` it learns
from 1 and 3, and is judged on 2, told of nobody in particular: beside the mean ERP of the others
and a ridge of them all, which never heard of 2 either.
Letters: n images, h sensors, w time points.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from . import report
from .files import write_text
from .recorded import Recorded
from .subjects import Subjects, together
from .uncertainty import student

Floats = NDArray[np.floating[Any]]
Report = dict[str, Any]  # of one subject, as `report.evaluate` makes it


class Reader(Protocol):
    """What reads a subject's recording of a split from a folder, as `things.EEG2` does."""

    def __call__(self, root: Path, subject: int, split: str, *, repeats: str) -> Recorded: ...


class Asked(NamedTuple):
    """What an experiment is made of."""

    train: Recorded
    test: Recorded  # single repetitions
    truth: Floats | None  # (n, h, w) of the rows of `test`, where the signal's noise is known
    name: str  # of the run


def learned_and_judged(args: argparse.Namespace) -> tuple[list[int], list[int]]:
    """Numbers of the subjects to learn from, and to judge on.

    Raises
    ------
    ValueError
        Subjects twice; --leave-out of somebody who is not among them, or leaving nobody.

    Examples
    --------
    >>> learned_and_judged(argparse.Namespace(subject=1, subjects=[1, 2, 3], leave_out=2))
    ([1, 3], [2])
    """
    numbers, out = args.subjects or [args.subject], args.leave_out
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"--subjects {numbers}: each of them once")
    if out is None:
        return numbers, numbers
    if out not in (args.subjects or ()) or len(numbers) < 2:
        raise ValueError(f"--leave-out {out}: wanted one of --subjects {numbers}, of two or more")
    return [number for number in numbers if number != out], [out]


def read(
    args: argparse.Namespace, name: Callable[[int], str],
    reader: Callable[[int, str, str], Recorded],
) -> tuple[Recorded, Recorded]:
    """The training and the test recording that the command line asks for.

    Parameters
    ----------
    args : of `experiment.arguments`
    name : of a subject by number, such as "sub-01"
    reader : the recording of a subject's number, a split, and "mean" or "single" repetitions

    Raises
    ------
    ValueError
        As `learned_and_judged`, `subjects.together` and the reader.
    """
    learned, judged = learned_and_judged(args)

    def joined(numbers: list[int], split: str, repeats: str, several: bool) -> Recorded:
        parts = [reader(number, split, repeats) for number in numbers]
        return together(parts, [name(number) for number in numbers]) if several else parts[0]

    several = bool(args.subjects)
    return (joined(learned, "train", "mean", several),
            joined(judged, "test", "single", several and args.leave_out is None))


def run_name(args: argparse.Namespace, name: Callable[[int], str]) -> str:
    """What a run is called by.

    Examples
    --------
    >>> asked = argparse.Namespace(subject=1, subjects=[1, 2, 3], leave_out=2)
    >>> run_name(asked, "sub-{:02d}".format)
    'sub-01+sub-03-without-sub-02'
    """
    learned, judged = learned_and_judged(args)
    left_out = "" if args.leave_out is None else f"-without-{name(judged[0])}"
    return "+".join(name(number) for number in learned) + left_out


def recordings(
    args: argparse.Namespace, kind: str, name: Callable[[int], str], reader: Reader
) -> Asked:
    """The recordings that a command line asks for; those of the embedded demo if it names none.

    Parameters
    ----------
    args : of `experiment.arguments`
    kind : "eeg" or "meg"
    name : of a subject by number, such as "sub-01"
    reader : `things.EEG2`, `things.MEG`, or what reads recordings of yours as they do

    Raises
    ------
    FileNotFoundError, ValueError
        As `read`.
    """
    data, truth, suffix = args.data, None, "" if kind == "eeg" else f"-{kind}"
    called = run_name(args, name) if kind == "eeg" else f"{kind}-{run_name(args, name)}"
    if not data:
        data, truth = demo(args, Path("runs") / f"demo-data{suffix}", kind)
        called = f"demo-{called}" if args.subjects else f"demo{suffix}"

    def of(number: int, split: str, repeats: str) -> Recorded:
        return reader(data, number, split, repeats=repeats)

    return Asked(*read(args, name, of), truth, called)


def demo(args: argparse.Namespace, root: Path, kind: str) -> tuple[Path, Floats]:
    """The embedded demo, of as many subjects as are asked for, and its truth (n, h, w).

    The truth is of the test images, for all rows of the recording that `read` will give.
    """
    from .things.demo import make_demo, read_truth

    _, judged = learned_and_judged(args)
    if not args.subjects:
        data = make_demo(root, kind, seed=0)
        return data, read_truth(data).test
    count = max(args.subjects)
    data = make_demo(root.with_name(f"{root.name}-of-{count}"), kind, seed=0, subjects=count)
    return data, np.concatenate([read_truth(data, number).test for number in judged])


class Own(NamedTuple):
    """One subject of several: what they are judged by."""

    train: Subjects
    test: Subjects
    context: dict[str, Tensor]  # (n, l, d) of their rows, by split
    truth: Floats | None


def each_subject(
    train: Subjects, test: Subjects, context: dict[str, Tensor], truth: Floats | None
) -> Iterator[tuple[str, Own]]:
    """The subjects of `test` by name, each with what belongs to them alone."""
    for name in test.subjects:
        at = {"train": train.rows(name), "test": test.rows(name)}
        own = {split: context[split][rows] for split, rows in at.items()}
        known = None if truth is None else truth[at["test"]]
        yield name, Own(train.of(name), test.of(name), own, known)


def overview(reports: dict[str, Report], folder: Path) -> Path:
    """`report.md` and `report.json` above the reports of several subjects: means over them."""
    rows = mean_rows(reports)
    page = [
        "# tinybrain report: one model of several subjects", "",
        f"Means over {', '.join(reports)}; in brackets 95 % intervals, Student's t over subjects. "
        "A row or a number that not all of them have is left out.", "",
        report.table(rows, intervals=True), "", "## Each of them", "",
        *(f"- [{name}]({name}/report.md): {report.verdict(one)}" for name, one in reports.items()),
        "", "![Training](loss.png)", "",
    ]  # fmt: skip
    content = {"rows": rows, "subjects": {name: f"{name}/report.json" for name in reports}}
    write_text(folder / "report.json", json.dumps(report.plain(content), indent=1) + "\n")
    return write_text(folder / "report.md", "\n".join(page))


def mean_rows(reports: dict[str, Report]) -> list[dict[str, Any]]:
    """Rows of a report's table, each number the mean over the subjects' reports.

    Only rows of all: were products in the ridge of some, a mean over those would be of other
    people than the row above it.

    Examples
    --------
    >>> mean_rows({"sub-01": {"rows": [{"name": "ridge", "mse": 0.2}]},
    ...            "sub-02": {"rows": [{"name": "ridge", "mse": 0.4}]}})
    [{'name': 'ridge', 'intervals': {'mse': [-0.97..., 1.57...]}, 'mse': 0.3...}]
    """
    tables = [{row["name"]: row for row in one["rows"]} for one in reports.values()]
    names = [name for name in tables[0] if all(name in table for table in tables)]
    return [mean_row(name, [table[name] for table in tables]) for name in names]


def mean_row(name: str, same: list[dict[str, Any]]) -> dict[str, Any]:
    """One row from those of all subjects; intervals are Student's t over subjects."""
    row: dict[str, Any] = {"name": name, "intervals": {}}
    for key in same[0]:
        values = [one.get(key) for one in same]
        numbers = [value for value in values if isinstance(value, (int, float))]
        if len(numbers) < len(values):
            continue
        row[key] = float(np.mean(numbers))
        if len(numbers) > 1 and np.isfinite(numbers).all():
            row["intervals"][key] = list(student(numbers)[1:])
    return row
