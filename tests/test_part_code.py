"""The code of a part: what it says counts, with all that it imports from beside it; how it is written does not."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.errors import PluginError
from attnlab.part_code import PartCode, code_now, file_digest, files_with, installed, packages, part_code
from attnlab.part_code.data_files import LARGE
from attnlab.position import POSITIONS
from attnlab.tasks import TASKS

MAIN = "from scale import FACTOR\n\ndef score(x):\n    return FACTOR * x\n"


def written(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def digest(folder: Path, **files: str) -> str:
    written(folder, {f"{name}.py": text for name, text in files.items()})
    return file_digest(folder / "mine.py")


def test_built_in_parts_have_no_code_of_their_own() -> None:
    assert {entry.code for registry in (ATTENTIONS, POSITIONS, TASKS) for entry in registry} == {PartCode()}


@pytest.mark.parametrize(
    "text",
    [
        "from scale import FACTOR  # a comment\n\n\ndef score(x):\n    return FACTOR * x\n",
        '"""Mine."""\nfrom scale import FACTOR\n\ndef score(x):\n    """Score."""\n    return (FACTOR\n        * x)\n',
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(tmp_path: Path, text: str) -> None:
    before = digest(tmp_path, mine=MAIN, scale="FACTOR = 2.0\n")
    assert digest(tmp_path, mine=text, scale="FACTOR = 2.0") == before


@pytest.mark.parametrize(
    "files",
    [
        {"mine": MAIN.replace("*", "+")},
        {"mine": MAIN.replace("score(x)", "score(x, y=0)")},
        {"scale": "FACTOR = 3.0"},
        {"scale": "FACTOR = 2"},
        {"deep": "VALUE = 2"},
    ],
)
def test_what_the_file_or_a_module_beside_it_says_counts(tmp_path: Path, files: dict[str, str]) -> None:
    base = {"mine": MAIN, "scale": "import deep\nFACTOR = 2.0\n", "deep": "VALUE = 1", "other": "NOT_IMPORTED = 1"}
    before = digest(tmp_path, **base)
    assert digest(tmp_path, other="NOT_IMPORTED = 2") == before
    assert digest(tmp_path, **files) != before


def test_a_constant_that_is_false_or_zero_counts(tmp_path: Path) -> None:
    digests = {digest(tmp_path, mine=f"VALUE = {value}") for value in ("0", "False", "None", "1", "0.0", "''")}
    assert len(digests) == 6


def test_where_the_file_stands_does_not_count(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", {"a.py": MAIN}), written(tmp_path / "two", {"b.py": MAIN})
    assert file_digest(one / "a.py") == file_digest(two / "b.py")


def test_every_way_of_importing_a_module_beside_the_file_is_followed(tmp_path: Path) -> None:
    files = {
        "mine.py": "import a, p.b as b\nfrom p import c\nfrom p.d import VALUE\nimport json\nfrom p.q.e import *\n",
        "a.py": "def late():\n    import f\n",
        "f.py": "",
        "p/__init__.py": "from . import g",
        "p/b.py": "from .h import X",
        **{f"p/{name}.py": "" for name in "cdghi"},
        "p/q/__init__.py": "",
        "p/q/e.py": "from ..i import Y",
        "json.py": "not what is imported",
        "z.py": "",
    }
    found = files_with(written(tmp_path, files) / "mine.py")
    assert found.keys() == {"", *files} - {"mine.py", "json.py", "z.py"}
    assert found["a.py"] == files["a.py"].encode()


def test_modules_that_are_imported_by_a_constant_name_are_followed(tmp_path: Path) -> None:
    files = {
        "mine.py": "import importlib\na = importlib.import_module('a')\nfrom importlib import import_module as load\n",
        "a.py": "from importlib import import_module\nimport_module(name='ignored')\nimport_module('p.b')\n",
        "p/__init__.py": "__import__('c')",
        "p/b.py": "import importlib\n\ndef late():\n    return importlib.import_module('.d', __package__)\n",
        **dict.fromkeys(["c.py", "p/d.py", "z.py"], ""),
    }
    assert files_with(written(tmp_path, files) / "mine.py").keys() == {"", *files} - {"mine.py", "z.py"}


READER = """
from pathlib import Path
HERE = Path(__file__).parent
TABLE = (HERE / "table.json").read_text()
POWERS = HERE / "tables" / "powers.txt"
LOG = HERE / "log.txt"
NAME = "notes.md"

def late():
    open("late.csv")
    LOG.write_text("started")
    with open("times.txt", "a") as file:
        file.write("")
"""


def test_data_files_that_the_code_names_count_and_files_that_it_writes_do_not(tmp_path: Path) -> None:
    read = ["table.json", "tables/powers.txt", "late.csv"]
    others = ["log.txt", "times.txt", "tables/other.txt", "results/table.json", "powers.txt.old"]
    written(tmp_path, {"mine.py": READER, **dict.fromkeys([*read, *others], "1")})
    assert files_with(tmp_path / "mine.py").keys() == {"", *read}
    before = file_digest(tmp_path / "mine.py")
    for name in others:
        written(tmp_path, {name: "2"})
        assert file_digest(tmp_path / "mine.py") == before
    for name in read:
        written(tmp_path, {name: "2"})
        assert file_digest(tmp_path / "mine.py") != before
        written(tmp_path, {name: "1"})
    assert file_digest(tmp_path / "mine.py") == before


def test_data_beside_a_module_that_is_imported_counts_and_results_never_do(tmp_path: Path) -> None:
    files = {
        "mine.py": "import p.b\nSTORE = 'runs/records.jsonl'\nUP = '../outside.txt'\n",
        "p/__init__.py": "",
        "p/b.py": "NAME = 'weights.npz'",
        **dict.fromkeys(["p/weights.npz", "runs/store.json", "runs/records.jsonl", "weights.npz"], ""),
    }
    written(tmp_path, {"outside.txt": ""})
    found = files_with(written(tmp_path / "folder", files) / "mine.py")
    assert found.keys() == {"", "p/__init__.py", "p/b.py", "p/weights.npz"}


def test_a_large_data_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    written(tmp_path, {"mine.py": "NAME = 'large.bin'", "large.bin": "a" * LARGE})
    before = file_digest(tmp_path / "mine.py")
    assert file_digest(tmp_path / "mine.py") == before
    written(tmp_path, {"large.bin": "b" * (LARGE + 1)})
    assert file_digest(tmp_path / "mine.py") != before


def test_all_modules_of_an_installed_package_count_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"sitepack/__init__.py": "", "sitepack/parts.py": "from sitepack.ops import X\nclass Mine: ...\n"}
    written(tmp_path, {**files, "sitepack/ops.py": "X = 1", "other.py": ""})
    monkeypatch.setattr(installed, "_own_folders", lambda: frozenset([tmp_path]))
    monkeypatch.syspath_prepend(tmp_path)
    from sitepack.parts import Mine  # type: ignore[import-not-found]

    before = part_code(Mine)
    assert (before.package, before.root, before.edited) == ("sitepack", "", ())
    (tmp_path / "other.py").write_text("CHANGED = 1")
    assert part_code(Mine) == before
    (tmp_path / "sitepack/ops.py").write_text("X = 2000")
    with pytest.raises(PluginError, match=r"A file of sitepack was edited .* runs its old code\.\n  Restart Python"):
        part_code(Mine).check_current()
    for name in ("_package_digest", "_first_times"):
        getattr(packages, name).cache_clear()  # as in another session
    assert part_code(Mine).digest != before.digest
    part_code(Mine).check_current()


FILES = {
    "dep_one/__init__.py": "import dep_two\nclass Mine: ...\n",
    "dep_one/ops.py": "X = 1",
    "dep_two/__init__.py": "Y = 1",
    "dep_one-1.5.dist-info/METADATA": "Metadata-Version: 2.1\nName: dep_one\nVersion: 1.5\n",
    "dep_one-1.5.dist-info/RECORD": "../../bin/one,,\ndep_one/__init__.py,sha256=0,3\ndep_one/ops.py,,\n",
    "dep_two.egg-info/installed-files.txt": "../dep_two/__init__.py\nPKG-INFO\n",
    "lone.egg-info/PKG-INFO": "Name: lone\nVersion: 1\n",
    "lone.py": "import dep_two\nimport beside\nclass Mine: ...\n",
    "beside.py": "Z = 1",
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("dep_one", {"dep_one/ops.py": True, "dep_two/__init__.py": False, "beside.py": False}),
        ("lone", {"beside.py": True, "dep_two/__init__.py": False, "dep_one/ops.py": False}),
    ],
    ids=["installed", "of the user"],
)
def test_packages_of_a_folder_with_their_records_count_as_installed(
    name: str, changes: dict[str, bool], tmp_path: Path
) -> None:
    code = f"from {name} import Mine\nfrom attnlab.part_code import part_code\nfound = part_code(Mine)\n"

    def found() -> list[str]:
        words = [sys.executable, "-c", code + "print(found.package, found.root, found.digest, sep=';')"]
        path = os.pathsep.join((str(tmp_path), *sys.path))
        result = subprocess.run(
            words, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
        )
        return result.stdout.strip().split(";")

    written(tmp_path, FILES)
    before = found()
    assert before[:2] == (["dep_one 1.5", ""] if name == "dep_one" else ["", str(tmp_path)])
    for file, counts in changes.items():
        kept = (tmp_path / file).read_text()
        (tmp_path / file).write_text(f"{kept}\nMORE = 1\n")
        assert (found() != before) == counts, file
        (tmp_path / file).write_text(kept)


def test_other_packages_of_a_folder_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, FILES)
    read: list[str] = []
    keep = Path.read_bytes

    def recorded(path: Path) -> bytes:
        read.append(path.name)
        return keep(path)

    monkeypatch.setattr(Path, "read_bytes", recorded)
    file_digest(tmp_path / "lone.py")
    assert sorted(read) == ["beside.py", "lone.py"]


def test_circles_and_files_that_cannot_be_parsed_are_no_obstacle(tmp_path: Path) -> None:
    before = digest(tmp_path, mine="import a", a="import mine, b", b="this is no Python")
    assert digest(tmp_path, b="nor is this") != before


def test_a_file_that_is_gone_tells_nothing(tmp_path: Path) -> None:
    assert code_now(str(tmp_path / "gone.py"), str(tmp_path)).digest == ""
    assert code_now("script.py", "").digest == ""


def test_a_part_of_a_package_has_the_modules_of_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"labpack/__init__.py": "", "labpack/parts.py": "from labpack import ops\nclass Mine: ...\n"}
    written(tmp_path, {**files, "labpack/ops.py": "X = 1", "beside.py": ""})
    monkeypatch.syspath_prepend(tmp_path)
    from labpack.parts import Mine  # type: ignore[import-not-found]

    code = part_code(Mine)
    assert (code.path, code.root) == (str(tmp_path / "labpack/parts.py"), str(tmp_path))
    assert code_now(code.path, code.root).digest == code.digest
    (tmp_path / "labpack/ops.py").write_text("X = 2")
    assert code_now(code.path, code.root).digest != code.digest


NOTEBOOK = """
import linecache, numpy as np, torch
from attnlab.part_code import part_code

def cell(text, number=[0]):
    number[0] += 1
    name = f"<cell {number[0]}>"
    if WITH_TEXT:
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    exec(compile(text, name, "exec"), globals())

MINE = "class Mine:\\n    def score(self, x):\\n        return helper(x) * FACTOR * TABLE[0]\\n"
cell("FACTOR = 2.0\\nOTHER = 1")
cell("TABLE = torch.arange(3.0)")
cell("def helper(x):\\n    return np.exp(x)")
cell(MINE)
"""


def digests(*cells: str, with_text: bool = True) -> list[str]:
    """The digests of a notebook's class after its first cells, and after each further cell."""
    lines = [f"cell({text!r})\nprint(part_code(Mine).digest)" for text in ("", *cells)]
    script = "\n".join([f"WITH_TEXT = {with_text}", textwrap.dedent(NOTEBOOK), *lines])
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("with_text", [True, False])
def test_a_class_of_a_notebook_has_what_it_uses(with_text: bool) -> None:
    first, other, factor, table, helper, mine, back = digests(
        "OTHER = 2",
        "FACTOR = 3.0",
        "TABLE = torch.ones(3)",
        "def helper(x):\n    return np.exp(-x)",
        "class Mine:\n    def score(self, x):\n        return helper(x)",
        "FACTOR = 2.0\nTABLE = torch.arange(3.0)\ndef helper(x):\n    return np.exp(x)\ncell(MINE)",
        with_text=with_text,
    )
    assert first == other == back
    assert len({first, factor, table, helper, mine}) == 5


def test_the_same_notebook_has_the_same_digest_in_another_session() -> None:
    assert digests() == digests()


def test_comments_of_a_cell_do_not_count() -> None:
    first, commented = digests("def helper(x):  # the exponential\n    return np.exp(x)")
    assert first == commented


def test_a_module_that_a_class_of_a_notebook_uses_counts_as_it_is_loaded(tmp_path: Path) -> None:
    script = f"""
import importlib, pathlib, sys
sys.path.insert(0, {str(tmp_path)!r})
sys.dont_write_bytecode = True
file = pathlib.Path({str(tmp_path)!r}, "tool_of_notebook.py")
file.write_text("SCALE = 2.0\\ndef scale(x): return SCALE * x")
import tool_of_notebook as tool
from attnlab.part_code import part_code

class Mine:
    def score(self, x):
        return tool.scale(x)

print(part_code(Mine).digest)
tool.SCALE = 3.0
print(part_code(Mine).digest, *part_code(Mine).values)
tool.SCALE = 2.0
file.write_text("SCALE = 2.0\\ndef scale(x): return SCALE + x")
print(part_code(Mine).digest, *part_code(Mine).edited)
importlib.reload(tool)
print(part_code(Mine).digest, *part_code(Mine).edited)
"""
    lines = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    first, set_value, edited, again = (line.split(" ", 1) for line in lines)
    assert set_value[0] != first[0] == edited[0] != again[0]
    assert (set_value[1], edited[1]) == ("('tool_of_notebook.py: SCALE', '3.0')", str(tmp_path / "tool_of_notebook.py"))
    assert len(again) == 1
