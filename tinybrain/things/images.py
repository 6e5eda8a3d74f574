"""Which image belongs to which row of a recording.

THINGS-EEG2 keeps its images in numbered folders of concepts and their order in a table:

    Image_set/training_images/00001_aardvark/aardvark_01b.jpg
    Image_set/image_metadata.npy        {"train_img_concepts": [...], "train_img_files": [...] ...}

Row i of the recording is row i of the table. Each row is looked up by concept and file name, never
by its position in a folder: a missing or a surplus file must not shift the others. Folders may lack
the numbers, as THINGS' own do; numbers that are there must agree. Without the table the order is
sorted(folder), sorted(file), the order in which the recording was made; this needs numbered
folders, since THINGS does not number its concepts in the order of `sorted` names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from ..messages import first_few
from . import pickles

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
IMAGE_SET = re.compile(r"images?[-_ ]?sets?", re.IGNORECASE)
SPLIT_FOLDER = {
    "train": re.compile(r"train(ing)?[-_ ]?images?", re.IGNORECASE),
    "test": re.compile(r"test[-_ ]?images?", re.IGNORECASE),
}
FOLDER = {"train": "training_images", "test": "test_images"}
Key = tuple[str, str, str]  # of an image: its concept's number and name, and its file's name
METADATA = re.compile(r"image_metadata\.npy", re.IGNORECASE)
CONCEPT = re.compile(r"0*(\d+)_(.+)")
ABOVE = 3  # folders from .../eeg_dataset/preprocessed_data/sub-01 up to the project


@dataclass(frozen=True)
class ImageTable:
    """The image of each row of a recording.

    Attributes
    ----------
    paths : tuple of Path, (n,)
        They exist, unless `source` says that only the names are known.
    concepts : tuple of str, (n,)
        Folder names such as ``"00001_aardvark"``.
    source : str
        Where the order and the files come from, in words.

    See Also
    --------
    image_table, named_images : how it is found.
    """

    paths: tuple[Path, ...]
    concepts: tuple[str, ...]
    source: str


def image_table(root: str | Path, split: str, rows: int | None = None) -> ImageTable:
    """Find the image of each row of a recording.

    Parameters
    ----------
    root : str or Path
        The THINGS folder, or a folder inside it: the image set is looked for there and above.
    split : "train" or "test"
    rows : int, optional
        How many images the recording has; not checked without it.

    Returns
    -------
    ImageTable

    Raises
    ------
    FileNotFoundError
        Neither images nor their table, or images that the table names are missing.
    ValueError
        Another number of images than `rows`, a table or folder that cannot be understood.

    Examples
    --------
    A table of names alone, without the images:

    >>> import tempfile
    >>> names = {"test_img_concepts": ["00001_ant"], "test_img_files": ["ant_01b.jpg"]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/image_metadata.npy", np.array(names, dtype=object))
    ...     table = image_table(folder, "test", rows=1)
    >>> table.concepts, table.paths[0].name
    (('00001_ant',), 'ant_01b.jpg')
    """
    folder, metadata = _find(Path(root), split)
    if metadata is not None:
        names, where = _read_names(metadata, split), metadata
        table = _look_up(names, folder, metadata, metadata.parent / FOLDER[split])
    elif folder is not None:
        found, where = _sorted_images(folder), folder
        concepts = tuple(path.parent.name for path in found)
        table = ImageTable(found, concepts, f"{folder} in sorted order, without a table of names")
    else:
        raise FileNotFoundError(
            f"{Path(root).absolute()}: no images of the {split} split; wanted Image_set/"
            f"{split}*_images with a folder for each concept, or Image_set/image_metadata.npy with "
            "their names, here or above"
        )
    if rows is not None and len(table.paths) != rows:
        raise ValueError(
            f"{where}: {len(table.paths)} {split} images, but the recording has {rows} rows; "
            "wanted one image a row: are both from the same data set and split?"
        )
    return table


def named_images(
    root: str | Path,
    split: str,
    names: Sequence[tuple[str, str]],
    told_by: str | Path = "the file",
    sorted_by_name: bool = False,
) -> ImageTable:
    """Find images that a recording names itself.

    Parameters
    ----------
    root, split : as in `image_table`.
    names : (concept, file) of each row.
    told_by : where the names stand, for messages.
    sorted_by_name : whether they were taken from a sorted folder, and so hold only if this was
        numbered as the recording; checked against the table of images where there is one.

    Returns
    -------
    ImageTable, in the order of `names`.

    Raises
    ------
    FileNotFoundError
        There is an image folder of this split, and some of the images are not in it. Without such
        a folder the names alone are given.
    ValueError
        The names are not in the order in which the recording was made, or it cannot be told.
    """
    folder, metadata = _find(Path(root), split)
    if sorted_by_name:
        _check_order(names, metadata, split, told_by)
    return _look_up(list(names), folder, told_by, Path(root) / "Image_set" / FOLDER[split])


def list_images(source: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    """The image files of a folder and its subfolders, sorted, or of a list, in the list's order.

    Parameters
    ----------
    source : an image, a folder, or a list of both.

    Returns
    -------
    tuple of Path, (n,)

    Raises
    ------
    FileNotFoundError
        A path does not exist.
    ValueError
        A folder is without images.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.jpg", "notes.txt"):
    ...         (Path(folder) / name).touch()
    ...     [path.name for path in list_images(folder)]
    ['a.jpg', 'b.png']
    """
    paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(item) for item in source]
    if missing := [str(path) for path in paths if not path.exists()]:
        raise FileNotFoundError(f"no such image: {first_few(missing)}")
    listed: list[Path] = []
    for path in paths:
        if not path.is_dir():
            listed.append(path)
        elif inside := [file for file in path.rglob("*") if _is_image(file)]:
            listed += sorted(inside, key=lambda file: file.parts)
        else:
            endings = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
            raise ValueError(f"{path}: no images in it; wanted files that end in {endings}")
    return tuple(listed)


def visible(folder: Path) -> list[Path]:
    """What a folder holds, sorted by name, without hidden files; nothing if it cannot be read."""
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        return []
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(shown, key=lambda path: path.name)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _find(root: Path, split: str) -> tuple[Path | None, Path | None]:
    """The split's image folder and the table, from the nearest folder that has either."""
    root = root.absolute()
    for base in (root, *list(root.parents)[:ABOVE]):
        here = visible(base)
        places = here + [path for part in here if IMAGE_SET.fullmatch(part.name)
                         for path in visible(part)]  # fmt: skip
        folders = [p for p in places if SPLIT_FOLDER[split].fullmatch(p.name) and p.is_dir()]
        tables = [path for path in places if METADATA.fullmatch(path.name)]
        if len(folders) > 1 or len(tables) > 1:
            raise ValueError(
                f"{base}: several image sets, and no way to tell which was shown: "
                f"{first_few(folders + tables)}; leave one of each"
            )
        if folders or tables:
            return (*folders, None)[0], (*tables, None)[0]
    return None, None


def _read_names(metadata: Path, split: str) -> list[tuple[str, str]]:
    """The (concept, file) of each row, from image_metadata.npy."""
    content, columns = pickles.read(metadata), []
    for key in (f"{split}_img_concepts", f"{split}_img_files"):
        if not isinstance(content, dict) or key not in content:
            came = sorted(content)[:10] if isinstance(content, dict) else "an array"
            raise ValueError(f"{metadata}: wanted a dict with {key}; came {came}")
        column = content[key]
        column = column.tolist() if isinstance(column, np.ndarray) else column
        plain = isinstance(column, (list, tuple)) and all(isinstance(name, str) for name in column)
        if not plain or any(re.search(r"[/\\\0]|^\.*$", name) for name in column):
            raise ValueError(f"{metadata}: {key} is not a list of names of folders or files")
        columns.append([str(name) for name in column])
    concepts, files = columns
    if len(concepts) != len(files):
        raise ValueError(f"{metadata}: {len(concepts)} concepts for {len(files)} {split} files")
    return list(zip(concepts, files))


def _key(concept: str, file: str) -> Key:
    """What must agree: the concept's number and name, and the file's name, capitals aside."""
    number, name = match.groups() if (match := CONCEPT.fullmatch(concept)) else ("", concept)
    return number, name.casefold(), file.casefold()


def _concept_images(folder: Path) -> Iterator[Path]:
    for concept in visible(folder):
        yield from (path for path in visible(concept) if _is_image(path))


def _look_up(
    names: Sequence[tuple[str, str]], folder: Path | None, told_by: str | Path, would_be: Path
) -> ImageTable:
    """The image of each named row; without a folder the paths where the images would be."""
    concepts = tuple(concept for concept, _ in names)
    if folder is None:
        source = f"names from {told_by}; the images are not there"
        return ImageTable(tuple(would_be / c / f for c, f in names), concepts, source)
    on_disk: dict[Key, Path] = {}
    for path in _concept_images(folder):
        other = on_disk.setdefault(_key(path.parent.name, path.name), path)
        if other is not path:
            raise ValueError(f"{other} and {path} differ in capitals only; leave one of them")
    by_name: dict[tuple[str, str], list[Key]] = {}
    for there in on_disk:
        by_name.setdefault(there[1:], []).append(there)
    keys = [_fitting(_key(concept, file), by_name) for concept, file in names]
    if missing := [f"{c}/{f}" for (c, f), key in zip(names, keys) if key is None]:
        raise FileNotFoundError(
            f"{folder}: {len(missing)} of {len(names)} images named in {told_by} are missing: "
            f"{first_few(missing)}; the folder holds {len(on_disk)} images"
            f"{_renumbered(missing, by_name)}. Unpack them again, or move the folder away to work "
            "with the names alone"
        )
    found = cast(list[Key], keys)  # none is missing
    source = f"{folder}, by name from {Path(told_by).name}"
    if surplus := sorted(set(on_disk) - set(found)):
        left = [str(on_disk[key].relative_to(folder)) for key in surplus]
        source += f" ({len(left)} images there belong to no row: {first_few(left, 2)})"
    return ImageTable(tuple(on_disk[key] for key in found), concepts, source)


def _fitting(key: Key, by_name: Mapping[tuple[str, str], Sequence[Key]]) -> Key | None:
    """The image on disk that a key means: of the same number, or one of the two has none.

    THINGS itself does not number its folders. A folder with another number is another order of
    concepts, and must not be guessed at.
    """
    there = by_name.get(key[1:], [])
    fit = [other for other in there if other[0] == key[0]]
    fit = fit or [other for other in there if "" in (other[0], key[0])]
    return fit[0] if len(fit) == 1 else None


def _renumbered(
    missing: Sequence[str], by_name: Mapping[tuple[str, str], Sequence[Key]]
) -> str:
    """Say so where an image is missing because its concept has another number."""
    for name in missing:
        if others := by_name.get(_key(*name.split("/", 1))[1:]):
            return f", with other numbers of concepts ({others[0][0]} for {name})"
    return ""


def _check_order(
    names: Sequence[tuple[str, str]], metadata: Path | None, split: str, told_by: str | Path
) -> None:
    """Refuse names of a sorted folder that disagree with the table, or that had no numbers."""
    if metadata is None:
        _check_numbers({concept for concept, _ in names}, told_by)
        return
    rows = _read_names(metadata, split)
    if len(rows) != len(names):
        raise ValueError(f"{told_by}: {len(names)} images; {metadata} names {len(rows)}")
    for row, (name, other) in enumerate(zip(names, rows)):
        (number, *one), (known, *two) = _key(*name), _key(*other)
        if one != two or (number and known and number != known):
            raise ValueError(
                f"{told_by}: {'/'.join(name)} in row {row}, where {metadata} has "
                f"{'/'.join(other)}: another order of images, or not the same ones"
            )


def _check_numbers(concepts: set[str], where: str | Path) -> None:
    if bare := sorted(name for name in concepts if not CONCEPT.fullmatch(name)):
        raise ValueError(
            f"{where}: concept folders without numbers ({first_few(bare)}); their order cannot be "
            "told without image_metadata.npy: put it beside the folder"
        )


def _sorted_images(folder: Path) -> tuple[Path, ...]:
    found = tuple(_concept_images(folder))
    _check_numbers({path.parent.name for path in found}, folder)
    return found
