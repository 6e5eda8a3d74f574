"""Tensors read from files: equal to torch's and safetensors' own; hostile files run nothing."""

from __future__ import annotations

import json
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from tinybrain.untrusted.archive import read_safetensors, read_torch

from .test_untrusted_machine import archive, entry, tensor

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
FLOATS = ("float64", "float32", "float16", "bfloat16")
DTYPES = (*FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool")


def state_dict() -> dict[str, torch.Tensor]:
    """One tensor of every type, and views, scalars, empty ones and parameters."""
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(4, 6, generator=generator)
    made = {name: (10 * whole).to(getattr(torch, name)) for name in DTYPES}
    made |= {"turned": whole.T, "slice": whole[1:3, ::2], "scalar": torch.tensor(0.5)}
    made |= {"empty": torch.zeros(0, 3), "none of many": whole[2:2]}
    return made | {"param.weight": nn.Parameter(whole[0].clone()), "shared": whole}


def assert_same(ours, theirs):
    assert set(ours) == set(theirs)
    for name, wanted in theirs.items():
        assert ours[name].dtype == wanted.dtype and ours[name].shape == wanted.shape, name
        assert torch.equal(ours[name], wanted), name


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.register_buffer("attn_mask", torch.ones(2, 2, dtype=torch.bool))
        self.steps = [1, 2]
        self.rates = [0.5]
        self.others = [torch.ones(2)]
        self.table = {"a": 1}
        self.name = "branch"

    def forward(self, x):
        return self.linear(x) * self.steps[0]


class Tree(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.blocks = nn.ModuleList([Branch(), Branch()])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)[..., :3] * self.scale
        return x


# -------------------------------------------------------------------------------------------------
# Files as torch and safetensors write them


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["plain", "ordered", "checkpoint"])
def test_what_torch_saved_is_read(tmp_path, kind, protocol):
    state, path = state_dict(), tmp_path / "weights"
    whole = OrderedDict(state) if kind == "ordered" else state
    if kind == "checkpoint":
        state = nn.Linear(2, 2).state_dict()  # with _metadata, set by BUILD
        adam = {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(2, 2)}},
                "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "fused": None}]}  # fmt: skip
        whole = {"epoch": 3, "name": "run", "state_dict": state, "big": 2**40, "flag": True,
                 "optimizer": adam, "size": torch.Size([2]), "type": torch.float16}  # fmt: skip
    torch.save(whole, path, pickle_protocol=protocol)
    assert_same(read_torch(path), state)


@pytest.mark.parametrize("half", [False, True])
def test_what_torchscript_saved_is_read(tmp_path, half):
    tree = Tree().half() if half else Tree()
    torch.jit.save(torch.jit.script(tree), tmp_path / "x.pt")
    assert_same(read_torch(tmp_path / "x.pt"), tree.state_dict())
    torch.jit.save(torch.jit.trace(Tree(), torch.ones(2, 3)), tmp_path / "y.pt")
    assert list(read_torch(tmp_path / "y.pt")) and len(tree.state_dict()) == 7
    assert set(read_torch(tmp_path / "y.pt")) == set(tree.state_dict())


def test_what_safetensors_saved_is_read(tmp_path):
    state = {name: tensor.detach().clone() for name, tensor in state_dict().items()}
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    safetensors.torch.save_file(state, tmp_path / "x", metadata={"format": "pt"})
    assert_same(read_safetensors(tmp_path / "x"), state)


def test_writing_to_a_tensor_does_not_change_the_file(tmp_path):
    big = {"a": torch.arange(1e5), "odd": torch.ones(3, dtype=torch.uint8)}
    torch.save(big, tmp_path / "x.pt")
    safetensors.torch.save_file(big, tmp_path / "x.safetensors")
    for read, name in ((read_torch, "x.pt"), (read_safetensors, "x.safetensors")):
        before = (tmp_path / name).read_bytes()
        ours = read(tmp_path / name)["a"]
        ours += 1
        assert ours[7] == 8 and (tmp_path / name).read_bytes() == before


def test_unaligned_numbers_and_bytes_that_are_no_booleans(tmp_path):
    header = {
        "b": {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]},
        "x": {"dtype": "F32", "shape": [2], "data_offsets": [3, 11]},
    }
    (tmp_path / "x").write_bytes(safe(header, b"\0\2\1" + struct.pack("<2f", 1.5, -2)))
    ours = read_safetensors(tmp_path / "x")
    assert ours["b"].tolist() == [False, True, True] and ours["x"].tolist() == [1.5, -2]
    assert ours["b"].sum() == 2 and ours["x"].data_ptr() % 4 == 0


# -------------------------------------------------------------------------------------------------
# Files that are damaged or of another kind


def safe(header, data: bytes) -> bytes:
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


BEGIN = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NEXT = {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "empty file"),
        (b"abc", "no safetensors file"),
        (struct.pack("<Q", 2**63) + b"{}", "header of 9223372036854775808 bytes"),
        (struct.pack("<Q", 17 << 20) + b" " * (18 << 20), "header of 17825792 bytes"),
        (safe(b"\xff\xfe", b""), "utf"),
        (safe(b"[" * 200_000, b""), "without end"),
        (safe([BEGIN], bytes(8)), "not a JSON object"),
        (safe({"a": 1}, b""), "lacks a dtype"),
        (safe({"a": {"dtype": "F32", "shape": [2]}}, b""), "lacks a dtype"),
        (safe(b'{"a": {}, "a": {}}', b""), "stands twice"),
        (safe({"a": BEGIN | {"dtype": "F8_E4M3"}}, bytes(8)), "F8_E4M3.*BF16"),
        (safe({"a": BEGIN | {"dtype": ["F32"]}}, bytes(8)), "is of type"),
        (safe({"a": BEGIN | {"shape": [2**62, 2**62]}}, bytes(8)), "impossible lengths"),
        (safe({"a": BEGIN | {"shape": [-1, -2]}}, bytes(8)), "impossible lengths"),
        (safe({"a": BEGIN | {"shape": [1] * 50 + [2]}}, bytes(8)), "at most 16"),
        (safe({"a": BEGIN | {"shape": 2}}, bytes(8)), "no list"),
        (safe({"a": BEGIN | {"shape": [3]}}, bytes(8)), "is 12 bytes"),
        (safe({"a": BEGIN | {"data_offsets": [4, 12]}}, bytes(8)), "truncated or damaged"),
        (safe({"a": BEGIN | {"data_offsets": [8, 0]}}, bytes(8)), "truncated or damaged"),
        (safe({"a": BEGIN | {"data_offsets": [0, 4, 8]}}, bytes(8)), "truncated or damaged"),
        (safe({"a": BEGIN, "b": BEGIN}, bytes(8)), "overlap"),
        (safe({"a": BEGIN, "b": NEXT | {"data_offsets": [4, 8]}}, bytes(8)), "overlap"),
        (safe({"b": NEXT}, bytes(12)), "do not fill"),
        (safe({"a": BEGIN}, bytes(9)), "do not fill"),
    ],
)
def test_impossible_safetensors_are_refused(tmp_path, content, match):
    (tmp_path / "x.st").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.st.*{match}|(?s:{match})"):
        read_safetensors(tmp_path / "x.st")


def test_other_files_are_refused_by_name(tmp_path):
    path, state = tmp_path / "x.pt", {"w": torch.arange(4.0)}

    def refused(match):
        with pytest.raises(ValueError, match=rf"x\.pt: .*{match}"):
            read_torch(path)

    torch.save(state, path, _use_new_zipfile_serialization=False)
    refused("before torch 1.6.*torch.save")
    path.write_bytes(b"<!DOCTYPE html>")
    refused("starts with b'<!DOCTYP'")
    np.savez(path.with_suffix(".npz"), x=np.zeros(2))
    path.write_bytes(path.with_suffix(".npz").read_bytes())
    refused("lacks NAME/data.pkl")
    archive(path, entry(tensor()), compression=zipfile.ZIP_DEFLATED)
    refused("compressed")
    archive(path, entry(tensor()), {"byteorder": b"big"})
    refused("big-endian")
    for value in (torch.ones(2), [1], {}, {"a": 1, "w": torch.ones(2)}, {3: torch.ones(2)}):
        torch.save(value, path)
        refused("wanted a state dict of tensors")
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, path)
    refused("'torch.ComplexFloatStorage'")
    for read in (read_torch, read_safetensors):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            read(tmp_path / "nowhere")
        with pytest.raises(ValueError, match="folder"):
            read(tmp_path)


def test_a_flipped_bit_in_the_numbers_of_a_torch_file_is_noticed(tmp_path):
    path = archive(tmp_path / "x.pt", entry(tensor()))
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack("<4f", 1, 2, 3, 4)) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="'x/data/0' has another checksum"):
        read_torch(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A torch zip, a TorchScript zip and a safetensors file, with the functions that read them."""
    folder = tmp_path_factory.mktemp("files")
    torch.save({"state_dict": nn.Linear(2, 3).state_dict()}, folder / "plain")
    torch.jit.save(torch.jit.script(Tree()), folder / "script")
    tensors = {"a": torch.ones(3), "b": torch.ones(2, 2, dtype=torch.bool)}
    safetensors.torch.save_file(tensors, folder / "safe")
    readers = {"plain": read_torch, "script": read_torch, "safe": read_safetensors}
    return [(read, (folder / name).read_bytes()) for name, read in readers.items()]


def test_truncated_files_are_refused_at_every_length(files, tmp_path):
    for read, content in files:
        for length in {*range(0, len(content), max(1, len(content) // 150)), len(content) - 1}:
            (tmp_path / "x").write_bytes(content[:length])
            with pytest.raises(ValueError, match="x: "):
                read(tmp_path / "x")


def test_changed_bytes_give_tensors_or_value_errors(files, tmp_path):
    generator, refused = np.random.default_rng(0), 0
    for read, content in files:
        # Where the structure is: the numbers of the pickle and the zip's directory, the header.
        program = content.find(b"\x80\x02")
        for trial in range(300):
            changed, at = bytearray(content), int(generator.integers(len(content)))
            if program > 0 and trial % 2:
                at = program + int(generator.integers(400))
            changed[at : at + 1] = generator.bytes(int(generator.integers(0, 4)))
            (tmp_path / "x").write_bytes(changed)
            try:
                assert all(isinstance(t, torch.Tensor) for t in read(tmp_path / "x").values())
            except ValueError:
                refused += 1
    assert 300 < refused < 900
