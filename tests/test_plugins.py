"""Plugins: each file a module of its own, with the modules beside it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from attnlab.attention import ATTENTIONS
from attnlab.errors import PluginError
from attnlab.plugins import load_plugin, plugin_module

CODE = """
from attnlab import Attention, register_attention
{first}

@register_attention("{name}", source="tests")
class Mine(Attention):
    \"\"\"Scores times a factor.\"\"\"

    factor = {factor}

    def score(self, qkv):
        return self.factor * super().score(qkv)
"""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    entries, path = dict(ATTENTIONS._entries), list(sys.path)
    yield
    assert sys.path == path
    ATTENTIONS._entries.clear()
    ATTENTIONS._entries.update(entries)


def plugin(folder: Path, name: str, factor: str = "1.0", first: str = "", file: str = "mine.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file
    path.write_text(CODE.format(name=name, factor=factor, first=first))
    return path


def factor(name: str) -> float:
    return ATTENTIONS.entry(name).cls.factor  # type: ignore[attr-defined]


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    one, two = plugin(tmp_path / "v1", "first", "2.0"), plugin(tmp_path / "v2", "second", "3.0")
    load_plugin(one)
    load_plugin(two)
    assert (factor("first"), factor("second")) == (2.0, 3.0)
    assert plugin_module(one) != plugin_module(two)
    assert {plugin_module(one), plugin_module(two)} <= sys.modules.keys()


def test_a_name_that_another_file_has_is_refused_with_both_files(tmp_path: Path) -> None:
    one, two = plugin(tmp_path / "v1", "mine", "2.0"), plugin(tmp_path / "v2", "mine", "3.0")
    load_plugin(one)
    with pytest.raises(PluginError) as caught:
        load_plugin(two)
    assert str(caught.value) == (
        f"--plugin {two}\n  The attention 'mine' is already registered by {one}.\n  Register it under another name."
    )
    assert factor("mine") == 2.0


def test_the_same_file_may_be_loaded_again_and_counts_as_it_is_then(tmp_path: Path) -> None:
    path = plugin(tmp_path, "mine", "2.0")
    load_plugin(path)
    plugin(tmp_path, "mine", "4.5")
    load_plugin(path)
    assert factor("mine") == 4.5


def test_modules_beside_a_file_are_its_own(tmp_path: Path) -> None:
    for folder, value in (("v1", 5), ("v2", 6)):
        path = plugin(tmp_path / folder, folder, "helper.FACTOR", "import helper\nfrom kit import inner")
        (tmp_path / folder / "helper.py").write_text(f"FACTOR = {value}.0")
        (tmp_path / folder / "kit").mkdir()
        (tmp_path / folder / "kit" / "__init__.py").write_text("")
        (tmp_path / folder / "kit" / "inner.py").write_text("")
        load_plugin(path)
    assert (factor("v1"), factor("v2")) == (5.0, 6.0)
    assert not {"helper", "kit", "kit.inner"} & sys.modules.keys()


def test_a_module_of_the_same_name_from_elsewhere_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "helper_of_tests.py").write_text("FACTOR = 1.0")
    with monkeypatch.context() as context:
        context.syspath_prepend(tmp_path / "other")
        import helper_of_tests  # type: ignore[import-not-found]
    path = plugin(tmp_path / "mine", "mine", "helper_of_tests.FACTOR", "import helper_of_tests")
    (tmp_path / "mine" / "helper_of_tests.py").write_text("FACTOR = 9.0")
    load_plugin(path)
    assert factor("mine") == 9.0
    assert sys.modules.pop("helper_of_tests") is helper_of_tests


def test_a_file_beside_does_not_hide_the_standard_library(tmp_path: Path) -> None:
    import string

    path = plugin(tmp_path, "mine", "len(string.digits)", "import string")
    (tmp_path / "string.py").write_text("digits = ''")
    load_plugin(path)
    assert factor("mine") == 10
    assert sys.modules["string"] is string


def test_a_file_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = plugin(tmp_path, "mine", "helper.FACTOR", "import helper")
    (tmp_path / "helper.py").write_text("raise OSError('no such thing')")
    with pytest.raises(PluginError, match="OSError: no such thing"):
        load_plugin(path)
    assert not {"helper", plugin_module(path)} & sys.modules.keys()
    assert "mine" not in ATTENTIONS


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_output_that_is_not_utf_8_is_written_to_the_end(encoding: str, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "attnlab", "show", "softmax"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(line, capture_output=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"softmax" in done.stdout


LATE = """
from attnlab import Attention, register_attention

@register_attention("{name}", source="tests")
class Mine(Attention):
    def score(self, qkv):
        {statement}

    def again(self):
        from helper import late
        return late()
"""
STATEMENTS = [
    "import helper; return helper.VALUE",
    "from helper import VALUE; return VALUE",
    "import kit.inner; return kit.inner.VALUE",
    "import kit.inner as inner; return inner.VALUE",
    "from kit import inner; return inner.VALUE",
    "from kit.inner import *; return VALUE",
    "import importlib; return importlib.import_module('helper').VALUE",
    "from importlib import import_module as load; return load('kit.inner').VALUE",
    "import importlib.util; return importlib.import_module('.inner', 'kit').VALUE",
    "return __import__('helper').VALUE",
    "import helper, kit.inner; return helper.kit_value()",
    "from kit import late; return late()",
]


def late(folder: Path, name: str, statement: str, value: int) -> Path:
    """Write a plugin that imports the modules beside it when its functions are called."""
    (folder / "kit").mkdir(parents=True)
    statement = statement.replace("; ", "\n        ").replace("import *", "import VALUE")
    (folder / "mine.py").write_text(LATE.format(name=name, statement=statement))
    helper = f"VALUE = {value}\n\ndef late():\n    import other\n    return other.VALUE\n"
    (folder / "helper.py").write_text(
        helper + "\ndef kit_value():\n    from kit.inner import VALUE\n    return VALUE\n"
    )
    (folder / "other.py").write_text(f"VALUE = {-value}")
    (folder / "kit" / "__init__.py").write_text("def late():\n    from .inner import VALUE\n    return VALUE\n")
    (folder / "kit" / "inner.py").write_text(f"VALUE = {value}")
    return folder / "mine.py"


@pytest.mark.parametrize("statement", STATEMENTS)
def test_functions_import_the_modules_beside_their_own_file(statement: str, tmp_path: Path) -> None:
    for name, value in (("v1", 5), ("v2", 6)):
        load_plugin(late(tmp_path / name, name, statement, value))
    for _ in range(2):
        for name, value in (("v1", 5), ("v2", 6)):
            cls: Any = ATTENTIONS.entry(name).cls
            assert cls.score(None, None) == value
            assert cls.again(None) == -value
    assert not {"helper", "other", "kit", "kit.inner"} & sys.modules.keys()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("other")


def test_a_late_import_is_part_of_the_code(tmp_path: Path) -> None:
    path = late(tmp_path, "mine", STATEMENTS[0], 5)
    load_plugin(path)
    entry: Any = ATTENTIONS.entry("mine")
    assert {name for name, _ in entry.code.files} == {"", "helper.py", "other.py", "kit/__init__.py", "kit/inner.py"}
    before = entry.code.digest
    (tmp_path / "helper.py").write_text("VALUE = 70")
    assert entry.code_to_plan.digest != before, "it is not loaded yet, so the file is what will run"
    assert entry.cls.score(None, None) == 70
    after = entry.code.digest
    (tmp_path / "helper.py").write_text("VALUE = 5")
    assert entry.code.digest == after
    with pytest.raises(PluginError, match="edited after it was loaded"):
        _ = entry.code_to_plan


def test_a_late_import_that_fails_says_so(tmp_path: Path) -> None:
    path = late(tmp_path, "mine", "import helper; return helper.VALUE", 5)
    load_plugin(path)
    (tmp_path / "helper.py").unlink()
    cls: Any = ATTENTIONS.entry("mine").cls
    with pytest.raises(ModuleNotFoundError, match="No module named 'helper'"):
        cls.score(None, None)


def test_a_late_import_leaves_a_module_of_the_same_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other.py").write_text("VALUE = 1")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    import other  # type: ignore[import-not-found]

    load_plugin(late(tmp_path / "mine", "mine", STATEMENTS[0], 5))
    cls: Any = ATTENTIONS.entry("mine").cls
    assert cls.again(None) == -5
    assert sys.modules.pop("other") is other


COMPILED = """
import helper

def early(x):
    return helper.scaled(x) + 1

def late(x):
    import helper as other
    return other.scaled(x) + 2
"""


def test_functions_of_modules_beside_a_file_can_be_compiled(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("FACTOR = 3\n\ndef scaled(x):\n    return FACTOR * x\n")
    (tmp_path / "mine.py").write_text(COMPILED)
    load_plugin(tmp_path / "mine.py")
    module: Any = sys.modules[plugin_module(tmp_path / "mine.py")]
    for name, expected in (("early", 7.0), ("late", 8.0)):
        compiled: Any = torch.compile(getattr(module, name), backend="eager")
        assert float(compiled(torch.tensor(2.0))) == expected


def test_a_file_that_ends_the_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(PluginError) as caught:
        load_plugin(tmp_path / "ends.py")
    assert str(caught.value).splitlines()[1:] == [
        "  The file ends the program when it is imported.",
        f"  at {tmp_path}/ends.py:2: sys.exit(3)",
        "  Put what is a program of its own below: if __name__ == '__main__':",
    ]


@pytest.mark.parametrize("beside", [False, True])
def test_a_file_that_was_changed_within_a_second_is_run_as_it_is_now(beside: bool, tmp_path: Path) -> None:
    """Python takes bytecode for that of a text of the same second and size."""
    plugin = tmp_path / "changing.py"
    changed = tmp_path / "beside.py" if beside else plugin
    if beside:
        plugin.write_text("from beside import FACTOR\n")
    found = []
    for factor in (1, 2, 3):
        changed.write_text(f"FACTOR = {factor}\n")
        os.utime(changed, (10**9, 10**9))
        load_plugin(plugin)
        found.append(vars(sys.modules[plugin_module(plugin)])["FACTOR"])
    assert found == [1, 2, 3]
    assert not (tmp_path / "__pycache__").exists()
