"""What a model file says of itself: `python -m tinybrain model.pt`; of several, one by one.

The file's checksum is compared and its weights are passed over, never held: a card takes a second
and no memory, whatever the size of the network. Letters: s subjects.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import torch

from . import checkpoint
from .download import file_sha256
from .model_files import model_file

USAGE = "usage: python -m tinybrain MODEL.pt ...    print what trained models say of themselves"
LABEL, WIDTH = 11, 100  # columns of a label, and of the page
PHOTOGRAPHS = "photographs of THINGS, as https://osf.io/jum2f states"
TERMS = {  # by what the summary of a recording names, as that of a made-up demo does too
    "THINGS-EEG2": f"THINGS-EEG2, as https://osf.io/3jk45 states; {PHOTOGRAPHS}",
    "THINGS-MEG": f"THINGS-MEG, CC0 (OpenNeuro ds004212); {PHOTOGRAPHS}",
}


def card(path: str | Path) -> str:
    """The card of a model, as text.

    Parameters
    ----------
    path : a file that `ImageToBrain.save` wrote, or the folder of a run, which holds model.pt

    Returns
    -------
    str : the file and its sha256, signals, subjects, encoder, network, recipe, epoch, data,
        versions and licences; then, of a model that was judged, the scores beside their baselines,
        in words too

    Raises
    ------
    FileNotFoundError, ValueError
        As `checkpoint.load`: no such file, damaged, or no model.

    Examples
    --------
    >>> import tempfile
    >>> from tinybrain.tiny import tiny_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(card(tiny_model().save(f"{folder}/model.pt")))  # or: python -m tinybrain FILE
    file ...
    signals    EEG, 3 sensors x 16 times, unit a.u.
    ...
    """
    path = model_file(path)
    content = checkpoint.load(path, "model", device="meta")  # shapes without values
    writer = content.get("written_by", {})
    lines = [*_file(path, writer, _sizes(content)), *_signals(content), *_network(content),
             *_learned(content), *_licences(content)]
    page = [fill(f"{label:{LABEL}}{text}", WIDTH, subsequent_indent=" " * LABEL,
                 break_long_words=False, break_on_hyphens=False) for label, text in lines]
    return "\n".join([*page, *_judged(content["card"].get("report"))])


def _file(path: Path, writer: Mapping[str, str], sizes: str) -> list[tuple[str, str]]:
    """Size, writer, and the sha256 that other tools give too; `checkpoint.load` has checked it."""
    by = f", written by {_settings(writer)}" if writer else ""  # the first files do not say
    return [("file", f"{path}, {path.stat().st_size / 1e6:,.1f} MB{sizes}{by}"),
            ("sha256", f"{file_sha256(path)}; the checksum at its end agrees")]


def _sizes(content: Mapping[str, Any]) -> str:
    """What makes the file as large as it is, where that is more than the network."""
    if content["encoding"] is None:
        return ""
    network, base = (_bytes(content[part]) / 1e6 for part in ("unet", "encoding"))
    name = _base(content["encoding"]).partition(",")[0]  # of several subjects, all of theirs
    return f" (network {network:,.1f}, {name} {base:,.1f})"


def _bytes(content: Any) -> int:
    """Of all tensors in it, whose shapes and types say it."""
    if isinstance(content, torch.Tensor):
        return content.nbytes
    parts = list(content.values()) if isinstance(content, Mapping) else content
    return sum(map(_bytes, parts)) if isinstance(parts, list) else 0


def _signals(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the model makes, of whom, and what it wants for it."""
    from .encoder import Encoder

    sensors, times, people = content["sensors"], content["times"], content.get("subjects", [])
    rate = f" at {(len(times) - 1) / (times[-1] - times[0]):g} Hz" if len(times) > 1 else ""
    encoder = checkpoint.config_from_dict(Encoder, content["encoder"])
    width = len(content["context_mean"]) - len(people)  # who it is stands behind the features
    return [
        ("signals", f"{content['kind'].upper()}, {len(sensors)} sensors x {len(times)} times, "
                    f"unit {content['unit']}"),
        ("sensors", ", ".join(sensors)),
        ("times", f"{times[0]:g} to {times[-1]:g} s from image onset{rate}"),
        ("subjects", ", ".join(people) if people else "one"),
        ("encoder", f"{encoder.describe()}; width {width}"),
    ]


def _network(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The network and the recipe, every setting of them."""
    count = sum(weight.numel() for weight in content["unet"].values())
    recipe = dict(content["recipe"])
    return [("network", f"{count:,} parameters: {_settings(content['unet_config'])}"),
            ("adds to", _base(content["encoding"])),
            ("recipe", f"{recipe.pop('name')}: {_settings(recipe)}")]


def _settings(config: Mapping[str, Any]) -> str:
    shown = {key: " ".join(map(str, value)) if isinstance(value, list) else value
             for key, value in config.items()}
    return ", ".join(f"{key} {value}" for key, value in shown.items())


def _base(encoding: Mapping[str, Any] | None) -> str:
    """The encoding model that the network's answer is added to."""
    if encoding is None:
        return "nothing"
    parts = encoding.get("subjects", [encoding])
    name = "ridge with products" if any(part["products"] for part in parts) else "ridge"
    return name if "subjects" not in encoding else f"{name}, one for each subject"


def _learned(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What it has learned from, how long, and with what."""
    about, longest = content["card"], content["recipe"]["epochs"]
    reports = _by_subject(about.get("report")).values()
    kept = f"{about['epoch']}, of at most {longest}" if "epoch" in about else "not trained"
    lines = [("epoch", kept)]
    for split, label in (("train", "learned"), ("test", "judged on")):
        told = dict.fromkeys(report["data"][split] for report in reports)
        lines += [(label, "; ".join(told))] if told else []
    versions = dict.fromkeys(_settings(report["versions"]) for report in reports)
    return lines + ([("versions", "; ".join(versions))] if versions else [])


def _licences(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of the weights, as whoever trained them says; and where the terms of the data are."""
    about, encoder = content["card"], content["encoder"]
    given = about.get("licence", "not stated: ask whoever trained it (kept in the model's `card`)")
    names = " ".join(part for report in _by_subject(about.get("report")).values()
                     for part in report["data"].values())
    terms = [terms for name, terms in TERMS.items() if name in names]
    if encoder["name"] == "clip":
        terms += ["CLIP: MIT for OpenAI's weights"]
    return [("licence", f"of these weights: {given}"),
            ("terms", f"of what they learned from (a demo is free): "
                      f"{'; '.join(terms) or 'not known'}")]


def _by_subject(report: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Reports by the subject's name; "" where there is one alone, nothing without any."""
    if not report:
        return {}
    return {"": report} if "rows" in report else dict(report)


def _judged(report: Mapping[str, Any] | None) -> list[str]:
    """Scores and verdict of each subject."""
    from .report_page import table
    from .verdict import words

    if not report:
        return ["", "Not judged yet: training ends with a report, which is then kept here."]
    page = []
    for name, own in _by_subject(report).items():
        page += ["", name] if name else []
        page += ["", table(own["rows"])]
        page += ["", fill(words(own["verdict"]), WIDTH)] if "verdict" in own else []
    return page


def main(arguments: list[str]) -> None:
    """Print the cards of models, several under their names; or how to ask for them."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE)
        raise SystemExit
    problems = []
    for place, path in enumerate(arguments):
        if len(arguments) > 1:
            print("\n" * (place > 0) + f"==> {path} <==")
        try:
            print(card(path))
        except (OSError, ValueError) as problem:
            problems.append(f"tinybrain: {problem}")
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main(sys.argv[1:])
