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

import numpy as np
from torch import Tensor

from . import report
from .files import write_text
from .subjects import Subjects, together
from .uncertainty import bootstrap


def learned_and_judged(args: argparse.Namespace) -> tuple[list[int], list[int]]:
    """Numbers of the subjects to learn from, and to judge on.

    Raises
    ------
    ValueError
        Subjects twice; --leave-out of somebody who is not among them, or leaving nobody.
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
    reader: Callable[[int, str, str], object],
) -> tuple:
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
    found = []
    for split, repeats, numbers in zip(
        ("train", "test"), ("mean", "single"), learned_and_judged(args)
    ):
        parts = [reader(number, split, repeats) for number in numbers]
        several = args.subjects and (split == "train" or args.leave_out is None)
        found.append(together(parts, [name(number) for number in numbers]) if several else parts[0])
    return tuple(found)


def run_name(args: argparse.Namespace, name: Callable[[int], str]) -> str:
    """What a run is called by: "sub-01", "sub-01+sub-02", "sub-01+sub-02-without-sub-03"."""
    learned, judged = learned_and_judged(args)
    left_out = "" if args.leave_out is None else f"-without-{name(judged[0])}"
    return "+".join(name(number) for number in learned) + left_out


def demo(args: argparse.Namespace, root: Path, kind: str) -> tuple[Path, np.ndarray]:
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


def each_subject(
    train: Subjects, test: Subjects, context: dict[str, Tensor], truth: np.ndarray | None
) -> Iterator[tuple]:
    """By subject of `test`: name, recordings, contexts by split, and truth of their rows alone."""
    for name in test.subjects:
        at = {"train": train.rows(name), "test": test.rows(name)}
        own = {split: context[split][rows] for split, rows in at.items()}
        yield name, train.of(name), test.of(name), own, None if truth is None else truth[at["test"]]


def overview(reports: dict[str, dict], folder: Path) -> Path:
    """`report.md` and `report.json` above the reports of several subjects: means over them."""
    rows = mean_rows(reports)
    page = [
        "# tinybrain report: one model of several subjects", "",
        f"Means over {', '.join(reports)}; in brackets 95 % intervals, bootstrap over subjects. A "
        "row or a number that not all of them have is left out.", "",
        report.table(rows, intervals=True), "", "## Each of them", "",
        *(f"- [{name}]({name}/report.md): {report.verdict(one)}" for name, one in reports.items()),
        "", "![Training](loss.png)", "",
    ]  # fmt: skip
    content = {"rows": rows, "subjects": {name: f"{name}/report.json" for name in reports}}
    write_text(folder / "report.json", json.dumps(report.plain(content), indent=1) + "\n")
    return write_text(folder / "report.md", "\n".join(page))


def mean_rows(reports: dict[str, dict]) -> list[dict]:
    """Rows of a report's table, each number the mean over the subjects' reports.

    Only rows of all: were products in the ridge of some, a mean over those would be of other
    people than the row above it.
    """
    tables = [{row["name"]: row for row in one["rows"]} for one in reports.values()]
    names = [name for name in tables[0] if all(name in table for table in tables)]
    return [mean_row(name, [table[name] for table in tables]) for name in names]


def mean_row(name: str, same: list[dict]) -> dict:
    """One row from those of all subjects; intervals are of the bootstrap over subjects."""
    row = {"name": name, "intervals": {}}
    for key in same[0]:
        values = [one.get(key) for one in same]
        if not all(isinstance(value, (int, float)) for value in values):
            continue
        row[key] = float(np.mean(values))
        if len(values) > 1 and np.isfinite(values).all():
            row["intervals"][key] = list(bootstrap(np.array(values))[1:])
    return row
