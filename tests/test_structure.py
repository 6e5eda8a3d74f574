"""The project's shape, read from its source: what imports what, how long it is, what it may use."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tokenize
from configparser import ConfigParser
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tinybrain"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]
CORE = ("schedules.py", "ddpm.py", "samplers.py", "upsample.py", "speed.py", "blocks.py",
        "unet.py")
CORE_USES = {"torch", "einops"}
CLIP_USES = {*CORE_USES, "PIL", "ftfy", "regex"}
# the whole package; h5py and mne come with extras and are imported where they are needed
USES = {*CLIP_USES, "numpy", "scipy", "matplotlib", "mne", "h5py"}
HEAVY = {"matplotlib", "mne", "ftfy", "regex", "scipy", "h5py"}  # PIL is what CLIP looks at
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
BLANK = (tokenize.ENCODING, tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT,
         tokenize.DEDENT, tokenize.ENDMARKER)
LONGEST = 40  # lines of a function's body, its docstring aside
OPTIONS = {"arguments"}  # a list of command-line options may be as long as they are many


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def module_file(parts):
    """The file of a module given as the parts of its name below tinybrain, or None."""
    path = PACKAGE.joinpath(*parts)
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file() and file != PACKAGE / ".py":
            return file
    return None


def imports(path):
    """What a file imports, inside functions too: (files of tinybrain, names of other packages).

    What only a type checker sees is not imported.
    """
    own, others = set(), set()
    unseen = {inner for node in ast.walk(tree(path)) if isinstance(node, ast.If)
              and ast.unparse(node.test).endswith("TYPE_CHECKING") for inner in ast.walk(node)}
    for node in set(ast.walk(tree(path))) - unseen:
        if isinstance(node, ast.Import):
            named = [(alias.name.split("."), None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            folder = path.relative_to(ROOT).parts[:-1]
            above = list(folder[: len(folder) - node.level + 1]) if node.level else []
            stem = above + (node.module.split(".") if node.module else [])
            named = [(stem, alias.name) for alias in node.names]
        else:
            continue
        for (top, *below), name in named:
            if top != "tinybrain":
                others.add(top)
                continue
            file = (name and module_file([*below, name])) or module_file(below)
            assert file, f"{path}: import of {'.'.join(below)}, which is not there"
            own.add(file)
    return own, others - set(sys.stdlib_module_names)


IMPORTS = {path: imports(path) for path in FILES}


@cache
def rows():
    """The README's module table: {what a row names, files or folders: its lines}, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    body = text.split("| module | | lines |\n")[1].split("\n\n")[0].splitlines()[1:]
    cells = [[part.strip() for part in row.strip("|").split("|")] for row in body]
    return {
        tuple(PACKAGE / name for name in re.findall("`(.+?)`", first)): int(lines)
        for first, _, lines in cells if lines
    }


def row_of(path):
    """The row that counts a file: the one that names it, or else its folder."""
    found = [(len(listed.parts), row) for row in rows() for listed in row
             if listed == path or listed in path.parents]
    return max(found)[1] if found else None


@cache
def order():
    """Places of files in the reading order; one without a name in the table has its folder's."""
    places = {listed: number for number, listed in
              enumerate(listed for row in rows() for listed in row)}
    above = {path: [each for each in (path, *path.parents) if each in places] for path in FILES}
    return {path: places[found[0]] for path, found in above.items()
            if found and path.stem != "__init__"}


# What imports what


def test_every_module_is_in_the_readmes_table_and_everything_there_exists():
    missing = [name for name, path in zip(NAMES, FILES) if row_of(path) is None]
    assert missing == ["__init__.py"]
    assert [str(path) for row in rows() for path in row if not path.exists()] == []


def test_imports_go_only_upwards_in_the_readmes_order():
    """A package's `__init__` hands on the names of what is below it, and so is left out."""
    place = order()
    downwards = [
        f"{path.relative_to(PACKAGE)} imports {used.relative_to(PACKAGE)}"
        for path in place for used in IMPORTS[path][0] if place.get(used, 0) > place[path]
    ]
    assert downwards == []


def test_no_modules_import_each_other_in_a_circle():
    left = {path: {used for used in own if used.name != "__init__.py"}
            for path, (own, _) in IMPORTS.items()}
    while free := [path for path, used in left.items() if not used]:
        left = {path: used - set(free) for path, used in left.items() if path not in free}
    assert {str(path.relative_to(PACKAGE)) for path in left} == set()


def test_the_core_uses_torch_einops_and_itself_alone():
    """CLIP also decodes pictures and text, and stands on what fetches, reads and writes files."""
    core = {PACKAGE / name for name in CORE}
    below = {path for path in FILES if path.parent == PACKAGE / "untrusted"}
    below |= {PACKAGE / name for name in ("messages.py", "files.py", "download.py")}
    towers = {path for path in FILES if path.parent == PACKAGE / "clip"}
    for path in core:
        own, others = IMPORTS[path]
        assert own <= core and others <= CORE_USES, path
    for path in towers:
        own, others = IMPORTS[path]
        assert own <= towers | below and others <= CLIP_USES, path
    for path in below:
        own, others = IMPORTS[path]
        assert own <= below and others <= {"torch"}, path


def test_no_other_package_is_used_than_those_named():
    """Above all none of the public implementations that the tests compare with."""
    used = {name for _, others in IMPORTS.values() for name in others}
    assert used <= USES
    assert not used & {"diffusers", "transformers", "sklearn", "torchvision", "pandas"}


def modules_after(statement):
    """The packages that are loaded after a statement in a fresh interpreter."""
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    return set(done.stdout.split())


def test_importing_tinybrain_loads_nothing_but_itself():
    """Its time is that of one small file: what is asked for is imported then."""
    loaded = modules_after("import tinybrain")
    assert {name for name in loaded if name.split(".")[0] == "tinybrain"} == {"tinybrain"}
    assert not {name.split(".")[0] for name in loaded} & {*USES, "torch"}


@pytest.mark.parametrize("statement", [
    "from tinybrain import ImageToBrain, BrainSignals",
    "from tinybrain import clip, ddpm, interop, samplers, unet",
    "from tinybrain.things import EEG2, MEG",
])
def test_what_is_heavy_waits_until_it_is_needed(statement):
    loaded = {name.split(".")[0] for name in modules_after(statement)}
    assert loaded & HEAVY == set()


# How long it is


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_and_lines_and_functions_stay_short(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 350
    assert [i for i, line in enumerate(lines, 1) if len(line) > 100] == []
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.FunctionDef) or node.name in OPTIONS:
            continue
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        assert length <= LONGEST, f"{node.name}: {length} lines"


def test_tests_and_examples_stay_short():
    files = [path for folder in ("tests", "examples") for path in (ROOT / folder).glob("*.py")]
    counts = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert len(counts) > 100 and {name: n for name, n in counts.items() if n > 350} == {}


def lines_of_code(path):
    """Lines that hold code: no docstring, no comment, not empty."""
    told = {line for node in ast.walk(tree(path)) if isinstance(node, DOCUMENTED)
            and ast.get_docstring(node) for line in range(node.body[0].lineno,
                                                          node.body[0].end_lineno + 1)}
    with open(path, "rb") as file:
        tokens = [token for token in tokenize.tokenize(file.readline) if token.type not in BLANK]
    there = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    return len(there - told)


def test_the_core_is_small_enough_to_audit():
    core = [PACKAGE / name for name in CORE] + sorted((PACKAGE / "clip").glob("*.py"))
    assert 500 < sum(lines_of_code(path) for path in core) < 1400


def test_the_readmes_line_counts_are_true():
    counted = dict.fromkeys(rows(), 0)
    for path in FILES:
        if row := row_of(path):
            counted[row] += len(path.read_text(encoding="utf-8").splitlines())
    names = {row: " ".join(path.name for path in row) for row in counted}
    wrong = {names[row]: lines for row, lines in counted.items() if lines != rows()[row]}
    assert wrong == {}, "these are the lines that the README should say"


# What it must not do


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_runs_what_is_in_a_file(path):
    """No eval, exec or pickle's own loaders, and no numpy or torch that would use them."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in ("eval", "exec", "pickle.load", "pickle.loads"), node.lineno
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert given.get("allow_pickle", "False") == "False", node.lineno
        if called == "torch.load":
            assert given.get("weights_only") == "True", node.lineno


# What a type checker and `help` are told

# those with public names
MODULES = ("schedules", "ddpm", "samplers", "blocks", "unet", "clip", "things", "pipeline",
           "signals", "train", "interop", "metrics", "baselines", "topography")


def public():
    """Functions, classes and their methods: (name, function or class)."""
    for module in (importlib.import_module(f"tinybrain.{name}") for name in MODULES):
        for name in getattr(module, "__all__", vars(module)):
            found = getattr(module, name)
            home = getattr(found, "__module__", "")
            if name.startswith("_") or not home.startswith(module.__name__):
                continue
            yield f"{home}.{name}", found
            if inspect.isclass(found):
                own = [key for key in vars(found) if not key.startswith("_")]
                yield from ((f"{home}.{name}.{key}", unwrapped(vars(found)[key])) for key in own)


def unwrapped(value):
    """The function behind a property, a classmethod or a staticmethod."""
    return getattr(value, "fget", None) or getattr(value, "__func__", value)


PUBLIC = {name: found for name, found in public()  # a protocol is called as its `__call__` says
          if (inspect.isclass(found) and not getattr(found, "_is_protocol", False))
          or inspect.isfunction(found)}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_annotated_and_documented(name):
    """A parameter of many forms may be described by the docstring instead of a type."""
    found, told = PUBLIC[name], PUBLIC[name].__doc__ or ""
    signature = inspect.signature(found)
    silent = [word for word, each in signature.parameters.items()
              if each.annotation is each.empty and word not in ("self", "cls")
              and not re.search(rf"^\s*(\w+, )*{word}(, \w+)* :", told, re.M)]
    assert silent == []
    if inspect.isfunction(found):
        assert signature.return_annotation is not signature.empty
    lines = len(inspect.getsource(found).splitlines())
    assert told or lines <= 4 or name.endswith(".forward")


def test_type_checkers_are_told_that_there_are_types():
    assert (PACKAGE / "py.typed").is_file()
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert "py.typed" in setup["options.package_data"]["tinybrain"].split()
