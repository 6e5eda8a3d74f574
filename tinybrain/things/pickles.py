"""Read the .npy files and pickles of THINGS without executing them and without loading them.

Three containers are in circulation: a dict written by np.save (OSF), a bare pickle of that dict
which is also called .npy (NICE and its users), and a dict written by torch.save (UBP, see
`torch_files.py`). `machine.py` follows the pickle in each without running it, and arrays come back
as views of a memory map, so that opening 8 GB takes milliseconds.

    read(path)       -> dict or array
    container(path)  -> "npy", "pickle" or "torch", by the first bytes and not by the name

Source of the .npy header: the documentation of numpy.lib.format.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from .machine import Array, Machine, Span, UnsafePickle, dtype_of, view

__all__ = ["UnsafePickle", "container", "read"]

WANTED = (
    "wanted an array or a dict from np.save, a dict from torch.save, or a pickle of protocol 3, 4 "
    "or 5"
)
TRIPPED = (
    AttributeError, IndexError, KeyError, OverflowError, TypeError, UnicodeError, struct.error
)  # fmt: skip
KNOWN = {
    b"\x89HDF": "an HDF5 file",
    b"MATLAB": "a MATLAB file",
    b"\x1f\x8b": "a gzip archive",
    b"version https://git-lfs": "a Git LFS pointer in place of the file",
    b"<": "a web page or XML, perhaps of a download that failed",
}


def read(path: str | Path) -> dict[str, Any] | np.ndarray:
    """Read an array, or a dict with arrays in it, without executing or loading the file.

    Parameters
    ----------
    path : str or Path
        A file written by ``np.save`` (of an array or of a dict), ``pickle.dump`` or ``torch.save``.

    Returns
    -------
    dict or np.ndarray
        Arrays of numbers and of text are views of a memory map of the file, in the byte order and
        the memory order in which they were written: read-only, or private to the reader if the
        file is torch's, whose tensors come as arrays. They may be unaligned.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    UnsafePickle
        The pickle names something that is not a numpy array, or would fill the memory.
    ValueError
        A file of another kind, or a truncated or damaged one. Every message names the file.

    Examples
    --------
    >>> import pickle, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "eeg.npy"
    ...     _ = file.write_bytes(pickle.dumps({"ch_names": ["O1"], "times": np.zeros(250)}))
    ...     content = read(file)
    >>> content["ch_names"], content["times"].shape
    (['O1'], (250,))

    A pickle that would run something is refused:

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "eeg.npy"
    ...     _ = file.write_bytes(pickle.dumps(print))
    ...     read(file)
    Traceback (most recent call last):
    tinybrain.things.machine.UnsafePickle: ...asks for 'builtins.print'...
    """
    kind = container(path)
    try:
        value = _read(path, kind)
    except UnsafePickle as error:
        raise UnsafePickle(f"{path}: refused, nothing in it was run: {error}") from None
    except TRIPPED as error:
        # The machine trusts the order of a pickle's instructions; a damaged one trips over it.
        raise ValueError(f"{path}: a damaged pickle ({str(error)[:80]}); {WANTED}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype == object:
        value = value.item()
    if isinstance(value, (dict, np.ndarray)):
        return value
    raise ValueError(f"{path}: it holds a {type(value).__name__}; {WANTED}")


def _read(path: str | Path, kind: str) -> object:
    if kind == "torch":  # imported here: a pickle needs no torch
        from .torch_files import read_torch

        return read_torch(path)
    whole = np.memmap(path, np.uint8, mode="r")
    return _read_npy(whole) if kind == "npy" else Machine(whole, 0).run()


def container(path: str | Path) -> str:
    """``"npy"``, ``"pickle"`` or ``"torch"``, told by the first bytes of a file.

    Parameters
    ----------
    path : str or Path
        Its name does not matter: NICE's files are bare pickles called .npy.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is none of these; the message says what it is.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/eeg.npy", np.zeros(3))
    ...     container(f"{folder}/eeg.npy")
    'npy'
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if not Path(path).is_file():
        raise ValueError(f"{path}: a folder, or not a regular file; {WANTED}")
    with open(path, "rb") as file:
        first = file.read(24)
    if first.startswith(b"\x93NUMPY"):
        return "npy"
    if first[:2] in (b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return "pickle"
    if first[:4] == b"PK\x03\x04":
        return "torch"
    what = next((what for start, what in KNOWN.items() if first.startswith(start)), None)
    if what is None and first[:1] == b"\x80" and len(first) > 1:
        what = f"a pickle of protocol {first[1]} (write it again with protocol=4)"
    if what is None:
        what = f"a file that starts with {first[:12]!r}" if first else "an empty file"
    raise ValueError(f"{path}: {what}; {WANTED}")


def _read_npy(whole: np.ndarray) -> object:
    """The array behind an .npy header: a view of the file, or what its pickle describes."""
    wide = 2 if whole[6:7] == [1] else 4
    start = 8 + wide + int.from_bytes(bytes(whole[8 : 8 + wide]), "little")
    header = bytes(whole[8 + wide : min(start, 10_000)]).decode("latin1")
    descr = re.search(r"'descr': '(\S{1,8}?)'", header)
    fortran = re.search(r"'fortran_order': (True|False)", header)
    shape = re.search(r"'shape': \(([\d, ]{0,200})\)", header)
    if start > len(whole) or not (descr and fortran and shape):
        raise ValueError(f"an .npy header that is cut off or no plain array's: {header[:80]!r}")
    dtype = dtype_of(descr[1])
    if dtype.kind == "O":
        return Machine(whole, start).run()
    lengths = tuple(int(length) for length in re.findall(r"\d+", shape[1]))
    order = "F" if fortran[1] == "True" else "C"
    return view(whole, Array(Span(start, len(whole) - start), dtype, lengths, order))
