"""Dicts of arrays and tensors in torch's zip files: equal to torch's own reading, nothing run."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.memory import peak_memory
from tests.pickled import refused_in_bounded_memory
from tests.test_machine import BOMBS, CODES, hostile
from tinybrain.things import machine, pickles

ARRAYS = {
    "eeg": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "img": np.array([["a/ä.jpg"], ["b/b.jpg"]]),
    "ch_names": ["Pz", "Größe"],
    "label": np.arange(2),
    "scalars": [1, 2.5, None, True, (3,)],
}
TENSORS = {
    str(dtype): torch.arange(6).reshape(2, 3).to(dtype)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.int64, torch.int16,
                  torch.uint8, torch.bool)
} | {"view": torch.arange(24.0).reshape(2, 3, 4)[:, 1:, ::2].transpose(0, 2)}  # fmt: skip


def write(path, program: bytes, storages=(), compression=zipfile.ZIP_STORED):
    """A zip file as torch writes it, with whatever pickle in it."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", program)
        for name, content in enumerate(storages):
            file.writestr(f"archive/data/{name}", content)
    return path


def program_of(value, protocol: int) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, pickle_protocol=protocol)
    return zipfile.ZipFile(content).read("archive/data.pkl")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_what_torch_wrote(tmp_path, protocol):
    path = tmp_path / "a.pt"
    torch.save(ARRAYS | TENSORS, path, pickle_protocol=protocol)
    read = pickles.read(path)
    assert pickles.container(path) == "torch" and list(read) == [*ARRAYS, *TENSORS]
    for name in ("eeg", "fortran", "img", "label"):
        assert read[name].dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(read[name], ARRAYS[name])
    assert (read["ch_names"], read["scalars"]) == (ARRAYS["ch_names"], ARRAYS["scalars"])
    for name, tensor in torch.load(path, weights_only=False).items():
        if name in TENSORS:
            np.testing.assert_array_equal(read[name], tensor.numpy())
            assert read[name].dtype == tensor.numpy().dtype


@pytest.mark.parametrize("value", [ARRAYS, TENSORS], ids=["arrays", "tensors"])
def test_writing_to_what_was_read_does_not_reach_the_file(tmp_path, value):
    torch.save(value, tmp_path / "a.pt", pickle_protocol=4)
    before = (tmp_path / "a.pt").read_bytes()
    for array in pickles.read(tmp_path / "a.pt").values():
        if isinstance(array, np.ndarray) and array.flags.writeable and array.dtype.kind == "f":
            array[:] = 7
    assert (tmp_path / "a.pt").read_bytes() == before


@pytest.mark.parametrize("eeg", [np.zeros((100, 100, 200)), torch.zeros(100, 100, 200)])
def test_signals_are_mapped(tmp_path, eeg):
    torch.save({"eeg": eeg, "x": torch.zeros(3)}, tmp_path / "a.pt", pickle_protocol=5)
    there, peak = peak_memory(lambda: pickles.read(tmp_path / "a.pt"))
    assert there["eeg"].shape == (100, 100, 200)
    assert peak < 1_000_000, "16 MB are not copied"


def test_much_text_in_protocol_2_says_how_to_save_it_again(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "MAX_TEXT", 100_000)
    torch.save({"eeg": np.full(50_000, 1.1)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a.pt: .*100000 bytes of text; .*pickle_protocol=5"):
        pickles.read(tmp_path / "a.pt")


@pytest.mark.parametrize("name", list(hostile("x")))
def test_hostile_pickles_are_refused_and_not_run(tmp_path, name):
    canary = tmp_path / "canary"
    value = hostile(str(canary))[name]
    program = value if isinstance(value, bytes) else pickle.dumps(value, 2)
    with pytest.raises(ValueError, match="evil.pt"):
        pickles.read(write(tmp_path / "evil.pt", program))
    assert not canary.exists()


@pytest.mark.parametrize("name", list(BOMBS))
def test_bombs_are_refused_in_bounded_memory(tmp_path, name, monkeypatch):
    data, reason = BOMBS[name]
    path = write(tmp_path / "bomb.pt", data if data[:1] == b"\x80" else b"\x80\x04" + data)
    refused_in_bounded_memory(monkeypatch, path, reason)


def tensor_program(change) -> bytes:
    """The pickle of one float32 tensor (2, 3), some of its bytes changed."""
    before, after = change
    program = program_of({"x": torch.zeros(2, 3)}, 2)
    assert before in program
    return program.replace(before, after)


BAD_TENSORS = {
    "beyond its storage": ((b"K\x02K\x03\x86", b"K\x63K\x03\x86"), "its storage has 6"),
    "negative": ((b"K\x02K\x03\x86", b"J\xfe\xff\xff\xffK\x03\x86"), "lengths"),
    "another storage": ((b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009"), "lacks 'archive/data/9'"),
    "another type": ((b"FloatStorage", b"HalfStorage"), "24 bytes, 6 of torch.float16"),
    "bfloat16": ((b"FloatStorage", b"BFloat16Storage"), "bfloat16, which numpy lacks"),
    "quantised": ((b"FloatStorage", b"QInt8Storage"), r"asks for 'torch.QInt8Storage'"),
    "a function": ((b"_rebuild_tensor_v2", b"_import_dotted_name"), "asks for 'torch._utils"),
    "an encoding": ((b"ctorch._utils\n_rebuild_tensor_v2", b"c_codecs\nencode"), "would call _cod"),
    "no storage": ((b"X\x07\x00\x00\x00storage", b"X\x07\x00\x00\x00Storage"), "storage"),
}


@pytest.mark.parametrize("name", list(BAD_TENSORS))
def test_tensors_that_cannot_be(tmp_path, name):
    change, reason = BAD_TENSORS[name]
    path = write(tmp_path / "a.pt", tensor_program(change), [bytes(24)])
    with pytest.raises(ValueError, match=rf"a\.pt: .*{reason}"):
        pickles.read(path)


def test_other_zip_files(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="a.npz: a zip file, but not from torch.save"):
        pickles.read(tmp_path / "a.npz")
    path = write(tmp_path / "a.pt", program_of(ARRAYS, 4), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="a.pt: .*compressed"):
        pickles.read(path)
    path = write(tmp_path / "a.pt", program_of({"x": torch.zeros(2)}, 4))
    with pytest.raises(ValueError, match="a.pt: damaged: it lacks 'archive/data/0'"):
        pickles.read(path)


def test_a_flipped_bit_is_noticed(tmp_path):
    torch.save({"eeg": np.zeros(10_000), "t": torch.zeros(10_000)}, tmp_path / "a.pt",
               pickle_protocol=5)  # fmt: skip
    whole = (tmp_path / "a.pt").read_bytes()
    for at in (40_000, len(whole) - 30_000):
        assert whole[at] == 0
        (tmp_path / "a.pt").write_bytes(whole[:at] + b"\x01" + whole[at + 1 :])
        with pytest.raises(ValueError, match="a.pt: .*checksum"):
            pickles.read(tmp_path / "a.pt")


@settings(max_examples=200, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data(), protocol=st.sampled_from([2, 4, 5]))
def test_damaged_programs_give_values_or_value_errors(tmp_path, data, protocol):
    """The checksum is made anew, so that what is damaged is followed."""
    blob = bytearray(program_of(ARRAYS | {"x": torch.zeros(2, 3)}, protocol))
    for _ in range(data.draw(st.integers(1, 5))):
        at, size = data.draw(st.integers(0, len(blob))), data.draw(st.sampled_from([0, 1, 1, 2, 8]))
        blob[at : at + size] = data.draw(st.binary(max_size=3) | st.sampled_from(CODES))
    path = write(tmp_path / "damaged.pt", bytes(blob), [bytes(24)])
    try:
        read = pickles.read(path)
    except ValueError as error:
        assert "damaged.pt" in str(error)
    else:
        assert isinstance(read, (dict, np.ndarray)) and repr(read)


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_damaged_zip_files_give_values_or_value_errors(tmp_path, data):
    path = tmp_path / "damaged.pt"
    torch.save({"eeg": np.zeros(3), "x": torch.zeros(2)}, path, pickle_protocol=5)
    blob = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at, size = data.draw(st.integers(0, len(blob))), data.draw(st.sampled_from([0, 1, 1, 2, 8]))
        blob[at : at + size] = data.draw(st.binary(max_size=3))
    path.write_bytes(blob)
    try:
        read = pickles.read(path)
    except ValueError as error:
        assert "damaged.pt" in str(error)
    else:
        assert isinstance(read, (dict, np.ndarray))
