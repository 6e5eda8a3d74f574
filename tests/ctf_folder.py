"""A small CTF recording, written by the format's layout: mne reads such folders but writes none.

`NAME.ds/NAME.res4` describes the channels (big-endian, fields where the comments say), and
`NAME.meg4` holds the samples, int32, trial after trial, channel after channel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

HEADER = np.dtype(
    {
        "names": ["head", "time", "date", "samples", "channels", "rate", "seconds", "trials"],
        "formats": ["S8", "S255", "S255", ">i4", ">i2", ">f8", ">f8", ">i2"],
        "offsets": [0, 778, 1033, 1288, 1292, 1296, 1304, 1312],
        "itemsize": 1844,  # where the filters start
    }
)
COIL = np.dtype(
    [("position", ">f8", 4), ("normal", ">f8", 4), ("turns", ">i2"), ("pad", "V6"), ("area", ">f8")]
)
CHANNEL = np.dtype(
    [("kind", ">i2"), ("run", ">i2"), ("shape", ">i4"), ("gain", ">f8"), ("digital", ">f8"),
     ("io", ">f8"), ("offset", ">f8"), ("coils", ">i2"), ("order", ">i2"), ("pad", "V4"),
     ("coil", COIL, 8), ("head", COIL, 8)]
)  # fmt: skip
COMPENSATION = np.dtype(
    [("sensor", "S32"), ("kind", ">i4"), ("pad", ">i4"), ("count", ">i2"),
     ("references", "S31", 50), ("weights", ">f8", 50)]
)  # fmt: skip
KINDS = {"reference": 0, "meg": 5, "stim": 11, "misc": 18}


def write_ctf(folder: Path, names: list[str], kinds: list[str], data: np.ndarray, unit) -> None:
    """Write `data` (channels, samples), rounded to whole multiples of `unit` (channels,)."""
    folder.mkdir(parents=True)
    channels, samples = data.shape
    header = np.zeros((), HEADER)
    header["head"], header["time"], header["date"] = b"MEG42RS", b"10:00", b"01/02/2020"
    header["samples"], header["channels"], header["trials"] = samples, channels, 1
    header["rate"], header["seconds"] = 1200, samples / 1200
    records = np.zeros(channels, CHANNEL)
    records["kind"] = [KINDS[kind] for kind in kinds]
    records["gain"], records["digital"], records["coils"] = 1, 1 / np.asarray(unit), 1
    records["coil"]["position"][:, 0, :3] = 5 + np.arange(3 * channels).reshape(-1, 3)  # cm
    records["coil"]["normal"][:, 0, 2] = 1
    compensation = np.zeros((), COMPENSATION)
    compensation["sensor"], compensation["kind"] = names[kinds.index("meg")], 0x47314252  # G1BR
    compensation["count"], compensation["weights"][0] = 1, 1
    compensation["references"][0] = names[kinds.index("reference")]
    with open(folder / f"{folder.stem}.res4", "wb") as file:
        file.write(header.tobytes())
        file.write(np.zeros((), ">i2").tobytes())  # no filters
        file.write(np.array(names, "S32").tobytes())
        file.write(records.tobytes())
        file.write(np.ones((), ">i2").tobytes())  # compensations, not applied; mne wants one
        file.write(compensation.tobytes())
    whole = np.rint(data / np.asarray(unit)[:, None]).astype(">i4")
    (folder / f"{folder.stem}.meg4").write_bytes(b"MEG41CP\0" + whole.tobytes())
