"""The distributed epochs of THINGS-MEG, read in blocks: 27,048 trials x 271 sensors x 281 points.

    preprocessed_P1-epo.fif, -epo-1.fif, -epo-2.fif, -epo-3.fif   by mne; 4 x 2.06 GB, float32
    P1_cosmofile.mat                                              by h5py; 15.1 GB, float64

The second was made of the first for MATLAB, with sensors in the same order: `ds/samples` holds
(points x sensors, trials), sensors fastest, so that it is read a few time points at a time, all
trials at once. Times are -0.1 to 1.3 s at 200 Hz. Both carry the trial table: as metadata, and in
`ds/sa`. Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..recording import Lazy
from ..sensors import THINGS_MEG_271
from .order import trials_from_codes
from .run import gradiometers
from .trials import Trials, completed, trials_from_records

if TYPE_CHECKING:
    import h5py
    import mne

SENSORS = 271
FIF_TIMES = np.arange(-20, 261) / 200
MAX_TRIALS = 100_000
HDF5_ERRORS = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError)
CACHE = 64 << 20  # bytes of HDF5 chunks kept, so that none is unpacked again for the next point
REF_ROLE, REF_NAME, NEXT_FILE, MAX_TAGS = 115, 118, b"\0\0\0\2", 200_000
SOURCE = (
    "each of the four files of a subject has 2.06 GB; they are in derivatives/preprocessed of "
    "ds004212 (OpenNeuro) and in the THINGS-data collection on figshare"
)


class Epochs(NamedTuple):
    """A subject's epochs in a file, not yet read."""

    file: Path
    pick: Callable[[np.ndarray, slice], np.ndarray | Lazy]  # rows (n, r) of trials, time points
    sensors: tuple[str, ...]
    times: np.ndarray
    trials: Trials | None  # what the file itself says was shown
    producer: str
    whole: int = 0  # trials in a file that has all of a subject, in the order of the recording


# FIF


def open_fif(file: str | Path) -> Epochs:
    """The epochs of a FIF and its continuation files.

    Raises
    ------
    FileNotFoundError
        The file, or one of those that continue it, is missing.
    ModuleNotFoundError
        mne is not installed.
    ValueError
        Damaged, without the 271 sensors, or continued by a file of another recording.
    """
    file = Path(file)
    epochs, records = _read_fif(file)
    codes = trials_from_codes(epochs.events[:, 2], f"{file} and the files that continue it")
    trials = codes
    if records:
        trials = completed(trials_from_records(records, f"metadata of {file.name}"))
        check_same(trials, codes)
    sensors = gradiometers(epochs.ch_names)
    picks = np.array([epochs.ch_names.index(name) for name in sensors], np.int64)
    if len(picks) != SENSORS:
        raise ValueError(
            f"{file}: {len(picks)} gradiometers of a CTF helmet besides MRO11; wanted {SENSORS}"
        )
    return Epochs(
        file,
        lambda rows, at: FifRows(file, epochs, picks, rows, at),
        tuple(sensors),
        np.array(epochs.times),
        trials,
        "THINGS-data, FIF",
        len(trials),
    )


def _read_fif(file: Path) -> tuple[mne.BaseEpochs, Sequence[Mapping[str, object]] | None]:
    """mne's epochs, not yet read, and the rows of their metadata, if there are any."""
    try:
        import mne
    except ImportError:
        raise ModuleNotFoundError(
            f"{file}: reading FIF needs mne: pip install 'tinybrain-ddpm[mne]'"
        ) from None
    check_chain(file)
    try:
        epochs = mne.read_epochs(file, proj=False, preload=False, verbose="error")
        records = epochs.metadata  # a table of pandas, or without pandas a list of rows
        return epochs, records.to_dict("records") if hasattr(records, "to_dict") else records
    except Exception as error:
        raise ValueError(
            f"{file}: mne cannot read it with the files that continue it: {str(error)[:200]}; are "
            "all of the same subject and complete? Download them again"
        ) from None


def check_chain(file: Path) -> None:
    """Every file must be there and name as the next one the one that is meant to follow it.

    mne follows the names without end if one file leads back to itself, as a copy would.
    """
    base, part = file, 0
    while True:
        if not file.is_file():
            told = f"missing, and {base.name} goes on there; {SOURCE}" if part else "no such file"
            raise FileNotFoundError(f"{file}: {told}")
        name, part = _continued_by(file), part + 1
        if name is None:
            return
        wanted = f"{base.stem}-{part}.fif"
        if name != wanted:
            raise ValueError(
                f"{file}: it goes on in {name[:80]!r}, not in {wanted}: a file of another "
                "recording, out of its order, or under another name than it was written with"
            )
        file = base.with_name(wanted)


def _continued_by(file: Path) -> str | None:
    """The file name that a FIF gives as its continuation.

    A FIF is a row of tags: kind, type, size and, if not the following bytes, the place of the next
    tag (all int32, big-endian), then `size` bytes. Source: the FIFF specification of Elekta/MEGIN.
    """
    at, end, name = 0, file.stat().st_size, None
    with open(file, "rb") as content:
        for _ in range(MAX_TAGS):
            content.seek(at)
            if len(head := content.read(16)) < 16:
                return name
            kind, _, size, following = struct.unpack(">4i", head)
            if kind == REF_ROLE and content.read(4) != NEXT_FILE:
                return None
            if kind == REF_NAME:
                name = content.read(min(max(size, 0), 1000)).decode("latin1")
            at = following if following > 0 else at + 16 + size
            if following < 0 or size < 0 or at > end:
                return name
    raise ValueError(f"{file}: more than {MAX_TAGS} parts; damaged, or no FIF of epochs")


def check_same(trials: Trials, others: Trials) -> None:
    """Two tables must be of the same trials in the same order."""
    if len(trials) != len(others):
        raise ValueError(f"{trials.source}: {len(trials)} trials, but {len(others)} in "
                         f"{others.source}; wanted the same")  # fmt: skip
    odd = np.flatnonzero(trials.image_number != others.image_number)
    if len(odd):
        first = odd[0]
        raise ValueError(
            f"{trials.source}: trial {first + 1} shows image {trials.image_number[first]}, but "
            f"{others.image_number[first]} by {others.source}, and {len(odd)} trials differ; "
            "wanted the same subject"
        )


class FifRows:
    """Signals (n, r, h, w) of a FIF, one trial after another; see `recording.Lazy`."""

    dtype, outer = np.dtype(np.float32), 0  # as in the file; mne makes them float64

    def __init__(
        self, file: Path, epochs: mne.BaseEpochs, picks: np.ndarray, rows: np.ndarray, at: slice
    ) -> None:
        self.file, self.epochs, self.rows = file, epochs, rows
        self.picks, self.start, (n, r) = picks, at.start, rows.shape
        self.shape = (n, r, len(picks), at.stop - at.start)

    def __getitem__(self, at: tuple[slice, ...]) -> np.ndarray:
        rows, picks = self.rows[at[0], at[1]], self.picks[at[2]]
        start, stop, step = at[3].indices(self.shape[3])
        time = slice(self.start + start, self.start + stop, step)
        out = np.empty((rows.size, len(picks), len(range(start, stop, step))), np.float32)
        for place, row in enumerate(rows.ravel().tolist()):
            try:
                trial = self.epochs.get_data(item=[row], verbose="error")[0]
            except Exception as error:
                raise ValueError(
                    f"{self.file}: trial {row + 1} cannot be read, in it or the files that "
                    f"continue it: {str(error)[:100]}; download them again"
                ) from None
            out[place] = trial[picks, time]
        return out.reshape(*rows.shape, *out.shape[1:])  # (n, r, h, w)


# The cosmofile


def open_cosmofile(file: str | Path) -> Epochs:
    """The epochs of a MATLAB file of CoSMoMVPA, version 7.3.

    Raises
    ------
    ModuleNotFoundError
        h5py is not installed.
    ValueError
        Damaged, or without `ds/samples` of 271 x 281 rows.
    """
    try:
        import h5py
    except ImportError:
        raise ModuleNotFoundError(
            f"{file}: reading HDF5 needs h5py: pip install 'tinybrain-ddpm[hdf5]'"
        ) from None
    file = Path(file)
    try:
        whole = h5py.File(file, "r", rdcc_nbytes=CACHE)
        samples = whole["ds/samples"]
        shape, kind = samples.shape, samples.dtype.kind
    except HDF5_ERRORS as error:
        raise ValueError(f"{file}: no HDF5 file with ds/samples: {str(error)[:100]}") from None
    rows = SENSORS * len(FIF_TIMES)
    if len(shape) != 2 or kind != "f" or shape[0] != rows or not 0 < shape[1] <= MAX_TRIALS:
        raise ValueError(
            f"{file}: ds/samples is {samples.dtype} of shape {shape}; wanted numbers "
            f"({SENSORS} sensors x {len(FIF_TIMES)} points, trials)"
        )
    _check_features(file, whole)
    return Epochs(
        file,
        lambda rows, at: CosmoRows(file, samples, rows, at),
        THINGS_MEG_271,
        FIF_TIMES,
        _attributes(file, whole, shape[1]),
        "THINGS-data, cosmofile",
        shape[1],
    )


def _check_features(file: Path, whole: h5py.File) -> None:
    """If the file says which row is which sensor and time, it must say what is read here."""
    number = np.arange(SENSORS * len(FIF_TIMES))
    expected = {"ds/fa/chan": number % SENSORS + 1, "ds/fa/time": number // SENSORS + 1}
    for key, wanted in expected.items():
        if key not in whole:
            continue
        try:
            same = whole[key].size == len(wanted) and (np.ravel(whole[key]) == wanted).all()
        except HDF5_ERRORS:
            same = False
        if not same:
            raise ValueError(f"{file}: {key} orders the rows in another way; wanted all sensors "
                             "of the first time point, then of the next")  # fmt: skip


COLUMNS = ("trial_type", "things_image_nr", "things_category_nr", "things_exemplar_nr",
           "test_image_nr", "image_path", "session_nr", "run_nr")  # fmt: skip


def _attributes(file: Path, whole: h5py.File, count: int) -> Trials | None:
    """The trial table in ds/sa, which was a sample_attributes table; None without it."""
    try:
        found = {name: whole[f"ds/sa/{name}"] for name in COLUMNS if f"ds/sa/{name}" in whole}
        if not {"trial_type", "things_image_nr"} <= set(found):
            return None
        columns = {}
        for name, column in found.items():
            if np.prod(column.shape) != count:
                raise ValueError(f"{name} has shape {column.shape} for {count} trials")
            text = column.dtype.kind == "O"  # references to text, one each
            values = np.ravel(column)
            columns[name] = [_text(whole[at]) for at in values] if text else values.tolist()
    except HDF5_ERRORS as error:
        raise ValueError(f"{file}: ds/sa is damaged: {str(error)[:100]}") from None
    records = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return completed(trials_from_records(records, f"ds/sa of {file.name}"))


def _text(letters: h5py.Dataset) -> str:
    if np.prod(letters.shape) > 300:
        raise ValueError("a name of more than 300 letters")
    return "".join(map(chr, np.ravel(letters).astype(int).tolist())) if letters.size > 0 else ""


class CosmoRows:
    """Signals (n, r, h, w) of a cosmofile, a few time points at once; see `recording.Lazy`."""

    outer = 3

    def __init__(
        self, file: Path, samples: h5py.Dataset, rows: np.ndarray, at: slice
    ) -> None:
        self.file, self.samples, self.rows = file, samples, rows
        self.dtype, self.start, (n, r) = samples.dtype, at.start, rows.shape
        self.shape = (n, r, SENSORS, at.stop - at.start)

    def __getitem__(self, at: tuple[slice, ...]) -> np.ndarray:
        rows = self.rows[at[0], at[1]]
        start, stop, step = at[3].indices(self.shape[3])
        parts = []
        for point in range(self.start + start, self.start + stop, step):
            try:
                part = self.samples[point * SENSORS : (point + 1) * SENSORS]  # (h, trials)
            except HDF5_ERRORS as error:
                raise ValueError(f"{self.file}: time point {point} cannot be read: "
                                 f"{str(error)[:100]}") from None  # fmt: skip
            parts.append(np.moveaxis(part[at[2]][:, rows], 0, -1))  # (n, r, h)
        return np.stack(parts, axis=-1)  # (n, r, h, w)
