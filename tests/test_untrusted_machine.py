"""The pickle machine of CLIP's files: hostile programs run nothing and take no memory.

The programs are written here byte by byte, as entry data.pkl of an archive.
"""

from __future__ import annotations

import builtins
import collections
import os
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from tinybrain.untrusted.archive import read_torch

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def glob(name: str) -> bytes:
    module, _, name = name.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def tensor(count=4, offset=0, size=(4,), stride=(1,), key="0") -> bytes:
    """The program of one tensor, sizes at will."""
    def numbers(values):
        return b"(" + b"".join(pickle.dumps(v, 2)[2:-1] for v in values) + b"t"

    pid = text("storage") + glob("torch.FloatStorage") + text(key) + text("cpu")
    storage = b"(" + pid + pickle.dumps(count, 2)[2:-1] + b"tQ"
    made = storage + pickle.dumps(offset, 2)[2:-1] + numbers(size) + numbers(stride)
    hooks = b"\x89" + glob("collections.OrderedDict") + b")R"
    return glob("torch._utils._rebuild_tensor_v2") + b"(" + made + hooks + b"tR"


def archive(path, program: bytes, entries=None, compression=zipfile.ZIP_STORED):
    entries = {"data/0": struct.pack("<4f", 1, 2, 3, 4)} | (entries or {})
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in {"data.pkl": program, **entries}.items():
            file.writestr(f"x/{name}", content)
    return path


def entry(program: bytes) -> bytes:
    """The program of {"w": what `program` makes}."""
    return b"\x80\x02}" + text("w") + program + b"s."


class Calls:
    """Pickled, it is a call; its state and items are those that may follow a call."""

    def __init__(self, function, *args, state=None):
        self.call = (function, args, state)

    def __reduce__(self):
        return self.call


def test_the_test_s_own_archive_is_read(tmp_path):
    ours = read_torch(archive(tmp_path / "x", entry(tensor(size=(2, 2), stride=(1, 2)))))
    assert ours["w"].tolist() == [[1, 3], [2, 4]]
    strided = entry(tensor(offset=1, size=(2,), stride=(2,)))
    assert read_torch(archive(tmp_path / "x", strided))["w"].tolist() == [2, 4]


def dumps(value) -> bytes:
    return pickle.dumps({"w": value}, 2)


def hostile(canary: str) -> dict[str, bytes]:
    """Programs that make the canary, or change this process, where Python's pickle runs them."""
    code, touch = f"open({canary!r}, 'w').close()", f"touch {canary}"
    module = glob("__torch__.A") + b")\x81"
    word = glob("torch._utils._rebuild_tensor_v2")
    return {
        "os.system": dumps(Calls(os.system, touch)),
        "eval": dumps(Calls(eval, code)),
        "exec in a checkpoint": pickle.dumps({"state_dict": {}, "w": Calls(exec, code)}, 2),
        "open": dumps(Calls(open, canary, "w")),
        "getattr chain": dumps(Calls(getattr, Calls(__import__, "os"), "mkdir")),
        "torch.load": entry(glob("torch.load") + b"(" + text(canary) + b"tR"),
        "torch.hub": entry(glob("torch.hub.load") + b"(" + text(canary) + b"tR"),
        "dotted name": b"\x80\x04}" + text("w") + text("torch") + text("serialization.os.mkdir")
        + b"\x93(" + text(canary) + b"tRs.",
        "__torch__ class called": entry(glob("__torch__.A") + b"(" + text(touch) + b"tR"),
        "__torch__ class with arguments": entry(glob("__torch__.A") + b"(" + text(touch)
        + b"t\x81"),
        "module called": entry(module + b"(" + text(touch) + b"tR"),
        "__setstate__ with slots": entry(module + b"N}" + text("__class__") + glob("os.system")
        + b"s\x86b"),
        "BUILD on a function": entry(word + b"N}" + text("__defaults__") + b")s\x86b"),
        "BUILD on a tensor": entry(tensor() + b"}" + text("grad_fn") + b"Nsb"),
        "BUILD on a dict": entry(glob("collections.OrderedDict") + b")R}" + text("items")
        + b"Nsb"),
        "nested pickle": dumps(Calls(pickle.loads, pickle.dumps(Calls(os.system, touch)))),
        "INST": b"\x80\x02(" + text(canary) + b"ios\nmkdir\n.",
        "OBJ": b"\x80\x02(cos\nmkdir\n" + text(canary) + b"o.",
        "NEWOBJ": entry(glob("subprocess.Popen") + b"(" + text(touch) + b"t\x81"),
        "NEWOBJ_EX": b"\x80\x04" + entry(glob("subprocess.Popen") + b")}\x92")[2:],
        "EXT": entry(b"\x82\x01"),
        "PERSID": entry(b"Pwhatever\n"),
        "storage that is a word": entry(b"(" + text("storage") + glob("torch.float32")
        + text("0") + text("cpu") + b"K\x04tQ"),
        "a whole model": entry(glob("clip.model.CLIP") + b")\x81}b"),
        "numpy": dumps(np.float64(1)),
        "defaultdict": dumps(collections.defaultdict(builtins.print)),
    }  # fmt: skip


@pytest.mark.parametrize("name", hostile(""))
def test_hostile_archives_run_nothing(tmp_path, name, monkeypatch):
    canary = tmp_path / "canary"
    program = hostile(str(canary))[name]
    with pytest.raises(ValueError, match=r"x\.pt: (refused, nothing in it was run|data\.pkl is)"):
        read_torch(archive(tmp_path / "x.pt", program))
    assert not canary.exists()


def test_some_of_them_do_run_code_in_python_s_pickle(tmp_path):
    """Otherwise the test before would say nothing."""
    for name in ("os.system", "eval", "open", "INST", "OBJ", "nested pickle", "dotted name"):
        canary = tmp_path / name.replace(" ", "")
        pickle.loads(hostile(str(canary))[name])
        assert canary.exists(), name


def test_code_in_torchscript_is_not_read(tmp_path):
    program = b"\x80\x02" + glob("__torch__.A") + b")\x81}" + text("w") + tensor() + b"sb."
    bomb = {"code/__torch__.py": b"import os; os.abort()", "constants.pkl": b"cos\nabort\n)R."}
    assert read_torch(archive(tmp_path / "x.pt", program, bomb))["w"].tolist() == [1, 2, 3, 4]


def endless(kind: str) -> bytes:
    """Small programs for values without end."""
    if kind == "memo":
        return b"\x80\x02}r" + struct.pack("<I", 2**31) + b"."
    if kind == "tuples as keys":
        return b"\x80\x02})" + b"\x85" * 50_000 + b"Ns."
    if kind == "instructions":
        return b"\x80\x02" + b"N" * 2_000_000 + b"."
    module = glob("__torch__.A") + b")\x81"
    if kind == "module in itself":
        return b"\x80\x02" + module + b"q\x00}" + text("a") + b"h\x00sb."
    chain = module
    for i in range(60):
        twice = text("a") + chain + b"q" + bytes([i]) + text("b") + b"h" + bytes([i])
        chain = module + b"}(" + twice + b"ub"
    return b"\x80\x02" + chain + b"."


@pytest.mark.parametrize(
    "program",
    [
        entry(tensor(count=2**40)),
        entry(tensor(count=2**62, size=(2**62,))),
        entry(tensor(count=2**200)),
        entry(tensor(size=(2**39,), stride=(0,))),
        entry(tensor(size=(5,))),
        entry(tensor(offset=1)),
        entry(tensor(offset=-1, size=(1,))),
        entry(tensor(size=(2,), stride=(4,))),
        entry(tensor(size=(2, 2), stride=(3, 1))),
        entry(tensor(size=(2,), stride=(-1,))),
        entry(tensor(size=(2, 2), stride=(1,))),
        entry(tensor(size=(1,) * 40, stride=(1,) * 40)),
        entry(tensor(size=(True,), stride=(1,))),
        entry(tensor(count=3, size=(3,))),
        entry(tensor(key="../data.pkl")),
        entry(tensor(key="1")),
        *(endless(k) for k in ("memo", "tuples as keys", "instructions", "module in itself")),
        endless("modules that share modules"),
    ],
)
def test_claims_beyond_the_file_end_in_value_errors(tmp_path, program):
    path = archive(tmp_path / "x.pt", program)
    start = time.process_time()
    with pytest.raises(ValueError, match=r"x\.pt: (damaged|refused|data\.pkl|it holds no dict)"):
        read_torch(path)
    assert time.process_time() - start < 10


def test_views_of_one_storage_cannot_fill_the_memory(tmp_path):
    data, state = {"data/0": bytes(400_000)}, tensor(100_000, 0, (100_000,))
    twice = b"\x80\x02}(" + text("a") + state + text("b") + state + b"u."
    assert len(read_torch(archive(tmp_path / "x.pt", twice, data))) == 2
    often = b"\x80\x02}(" + b"".join(text(f"{i}") + state for i in range(9)) + b"u."
    with pytest.raises(ValueError, match="3600000 bytes of tensors in a file of 40"):
        read_torch(archive(tmp_path / "x.pt", often, data))


def test_changed_programs_give_tensors_or_value_errors(tmp_path):
    """With a right checksum, so that it is the machine that must refuse them."""
    generator, refused = np.random.default_rng(1), 0
    torch.jit.save(torch.jit.script(nn.Linear(2, 3)), tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as file:
        content = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
    program = content.pop("data.pkl")
    for _ in range(500):
        changed, at = bytearray(program), int(generator.integers(len(program)))
        changed[at : at + int(generator.integers(2))] = generator.bytes(1)
        try:
            read_torch(archive(tmp_path / "y.pt", bytes(changed), content))
        except ValueError:
            refused += 1
    assert 100 < refused < 500
