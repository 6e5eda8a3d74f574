"""The images of THINGS-MEG: their names from numbers, and their files from names.

    images_meg/vest/vest_10s.jpg, images_test_meg/axe_14n.jpg     the experiment's folders
    images/vest/vest_10s.jpg                                      THINGS' own, 26,107 images
    Image_set/training_images/01760_vest/vest_10s.jpg             ATM's, UBP's and NeuroBridge's
    image_paths.csv                                               THINGS' names, row number - 1

A name here is "vest/vest_10s.jpg". A file's name begins with its concept's and goes on with the
number of the exemplar; files are found by it wherever they lie. Concepts have the numbers of their
folders, or their place among all 1,854 in alphabetical order with spaces for underscores:
`sorted` alone puts hot-air_balloon, ice_cream, camera1 and 17 others elsewhere.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from ...messages import first_few
from ..images import ABOVE, CONCEPT, SUFFIXES, ImageTable, visible

CONCEPTS, IMAGES = 1854, 26107
FILE = re.compile(r"(\w[\w .'-]*)_(\d{1,4})[a-z]*\.\w+")
HOLDER = re.compile(
    r"(object[-_ ]?)?images?|images?[-_ ]?(test[-_ ]?)?meg|"
    r"images?[-_ ]?set([-_ ]?resize)?|(train|training|test)[-_ ]?images?",
    re.IGNORECASE,
)
TABLE = re.compile(r"image_paths\.csv", re.IGNORECASE)
METADATA = re.compile(r"things|metadata|image[-_ ]specific", re.IGNORECASE)
PUT = (
    "put image_paths.csv of THINGS, or folders images_meg and images_test_meg, or THINGS' "
    "images beside the recordings; or sample_attributes_P?.csv, which has the names"
)


class Names(NamedTuple):
    """Names of images by their numbers."""

    by_exemplar: dict[tuple[int, int], str]  # (concept, exemplar)
    in_order: list[str]  # by image number, from 1; empty if images are missing
    source: str


def image_name(text: object, source: str = "image") -> str:
    """``"concept/file"`` of a path as any table writes it, or ValueError naming the table."""
    file = re.split(r"[/\\]", str(text))[-1]
    match = FILE.fullmatch(file)
    if match is None:
        raise ValueError(
            f"{source}: {str(text)[:60]!r} is no image of THINGS; wanted a name such as "
            "images_meg/vest/vest_10s.jpg"
        )
    return f"{match[1]}/{file}"


def exemplar_of(name: str) -> int:
    """10 of ``"vest/vest_10s.jpg"``, a name that `image_name` gave."""
    return int(cast(re.Match[str], FILE.fullmatch(name.split("/")[-1]))[2])


def things_order(name: str) -> tuple[str, str]:
    """The key by which THINGS orders its images: `sorted(names, key=things_order)`."""
    concept, file = name.split("/")
    return concept.replace("_", " "), file


# Names from numbers


def read_names(source: str | Path) -> Names:
    """Names by number, of image_paths.csv, of a folder of concepts, or of one that holds such.

    Raises
    ------
    FileNotFoundError
        Nothing there, or no images in it.
    ValueError
        Concepts are missing, so that their numbers cannot be told, or the table is another.
    """
    source = Path(source)
    if source.is_file():
        return _numbered(_read_paths(source), {}, str(source))
    files = [file for part in (source, *_holders(source)) for file in _concept_files(part)]
    if not files:
        raise FileNotFoundError(f"{source}: no images of THINGS in it; {PUT}")
    numbers = {}
    for file in files:
        if match := CONCEPT.fullmatch(file.parent.name):
            numbers[image_name(file.name).split("/")[0]] = int(match[1])
    return _numbered([image_name(file.name) for file in files], numbers, str(source))


def find_names(root: str | Path) -> Names:
    """`read_names` of the nearest table or image folder, in `root` or above it."""
    for base in _bases(Path(root)):
        if found := next(_tables(base, 3), None):
            return read_names(found)
        if any(True for holder in _holders(base) for _ in _concept_files(holder)):
            return read_names(base)
    raise FileNotFoundError(f"{root}: nothing there says which images were shown; {PUT}")


def _numbered(names: Sequence[str], numbers: dict[str, int], source: str) -> Names:
    """Numbers of concepts come from their folders, or else from their order once all are there."""
    names = sorted(set(names), key=things_order)
    concepts = list(dict.fromkeys(name.split("/")[0] for name in names))
    if missing := [concept for concept in concepts if concept not in numbers]:
        if numbers or len(concepts) != CONCEPTS:
            raise ValueError(
                f"{source}: {len(concepts)} concepts, of which {len(missing)} without a number, "
                f"the first {missing[0]}; wanted all {CONCEPTS} of THINGS, since a concept's "
                "number is its place among them, or folders such as 01760_vest"
            )
        numbers = {concept: number for number, concept in enumerate(concepts, 1)}
    order = [numbers[concept] for concept in concepts]
    if order != sorted(set(order)) or order in (list(range(1, 1655)), list(range(1, 201))):
        raise ValueError(
            f"{source}: the numbers of its folders are not those of THINGS' {CONCEPTS} concepts; "
            "THINGS-EEG2 counts its training and its test concepts from 1. " + PUT.capitalize()
        )
    by_exemplar = {(numbers[name.split("/")[0]], exemplar_of(name)): name for name in names}
    return Names(by_exemplar, names if len(names) == IMAGES else [], source)


def _read_paths(file: Path) -> list[str]:
    if file.stat().st_size > 8_000_000:
        raise ValueError(f"{file}: {file.stat().st_size} bytes; image_paths.csv has 1 MB")
    try:
        with open(file, newline="", encoding="utf-8-sig") as text:
            names = [image_name(row[0], str(file)) for row in csv.reader(text) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: no table of text: {error}") from None
    if len(set(names)) != IMAGES or names != sorted(names, key=things_order):
        raise ValueError(
            f"{file}: {len(set(names))} images; wanted the {IMAGES} of THINGS in THINGS' order"
        )
    return names


# Files from names


def find_files(names: Sequence[str], root: str | Path, source: str) -> ImageTable:
    """The file of each named image, from the nearest folder of images in `root` or above it.

    Without such a folder the paths are where the images would be, and `source` says so.

    Raises
    ------
    FileNotFoundError
        There is a folder of images and some of these are not in it.
    """
    wanted = {name.split("/")[1].casefold() for name in names}
    for base in _bases(Path(root)):
        holders = _holders(base)
        found: dict[str, Path] = {}
        for file in (file for holder in holders for file in _image_files(holder, 2)):
            if file.name.casefold() in wanted:
                found.setdefault(file.name.casefold(), file)
        if missing := [name for name in names if name.split("/")[1].casefold() not in found]:
            if not found:
                continue
            raise FileNotFoundError(
                f"{base}: {len(missing)} of {len(names)} images are missing in "
                f"{', '.join(holder.name for holder in holders)}: {first_few(missing)} "
                f"(named by {source}). Unpack them again, or move the folder away to work with "
                "the names alone"
            )
        paths = tuple(found[name.split("/")[1].casefold()] for name in names)
        concepts = tuple(_concept(path) for path in paths)
        where = ", ".join(sorted({_holder_name(path, base) for path in paths}))
        return ImageTable(paths, concepts, f"{base}/{where}, by name from {source}")
    paths = tuple(Path(root).absolute() / "images" / name for name in names)
    concepts = tuple(name.split("/")[0] for name in names)
    return ImageTable(paths, concepts, f"names from {source}; the images are not there")


def _concept(path: Path) -> str:
    """The folder's name, or in a folder of all concepts the one that begins the file's name."""
    folder, concept = path.parent.name, image_name(path.name).split("/")[0]
    return folder if folder.casefold().endswith(concept.casefold()) else concept


def _holder_name(path: Path, base: Path) -> str:
    return path.relative_to(base).parts[0]


def _bases(root: Path) -> list[Path]:
    root = root.absolute()
    return [root, *list(root.parents)[:ABOVE]]


def _holders(base: Path) -> list[Path]:
    """Folders of images in a folder; the experiment's own before THINGS' whole set."""
    found = [part for part in visible(base) if HOLDER.fullmatch(part.name) and part.is_dir()]
    return sorted(found, key=lambda part: "meg" not in part.name.lower())


def _tables(base: Path, depth: int) -> Iterator[Path]:
    parts = visible(base)
    yield from (part for part in parts if TABLE.fullmatch(part.name))
    for part in parts:
        if depth and (METADATA.fullmatch(part.name) or HOLDER.fullmatch(part.name)):
            yield from _tables(part, depth - 1)


def _concept_files(folder: Path) -> Iterator[Path]:
    return (file for file in _image_files(folder, 2) if FILE.fullmatch(file.name))


def _image_files(folder: Path, depth: int) -> Iterator[Path]:
    """Images in a folder and `depth` levels of folders in it, sorted, without hidden ones."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if depth:
                yield from _image_files(Path(entry.path), depth - 1)
        elif entry.name.lower().endswith(SUFFIXES):
            yield Path(entry.path)
