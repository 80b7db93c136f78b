from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from attnlab.errors import InvalidValueError, PluginError, UnknownNameError
from attnlab.plugins import load_plugin
from attnlab.registry import Entry, Registry
from attnlab.tasks import TASKS


class Shape:
    """What the parts of these tests are."""


class Ring(Shape):
    """A round thing
    with a hole.

    More is said here.
    """

    def __init__(
        self,
        place: str,
        *,
        radius: Annotated[float, Field(gt=0)] = 1.0,
        color: Literal["red", "blue"] = "red",
        dents: tuple[int, ...] = (),
        size: int,
    ) -> None:
        self.place, self.radius, self.color, self.dents, self.size = place, radius, color, dents, size


@pytest.fixture
def shapes() -> Registry[Shape]:
    """A registry over a package without modules, with one part."""
    registry: Registry[Shape] = Registry("shape", "tests.shipped")
    registry._discovered = True
    registry.register("ring", source="Euclid", version=3, aliases=("torus", "hoop"))(Ring)
    return registry


@pytest.fixture
def ring(shapes: Registry[Shape]) -> Entry[Shape]:
    return shapes.entry("ring")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """Where a user's file will be."""
    return tmp_path / "mine.py"


def test_an_entry_says_what_was_registered(ring: Entry[Shape]) -> None:
    assert (ring.name, ring.cls, ring.source, ring.version) == ("ring", Ring, "Euclid", 3)
    assert ring.summary == "A round thing with a hole."


def test_a_summary_may_be_given(shapes: Registry[Shape]) -> None:
    shapes.register("dot", source="-", summary="A point.")(type("Dot", (Shape,), {}))
    assert shapes.entry("dot").summary == "A point."
    assert shapes.entry("dot").version == 1


@pytest.mark.parametrize("alias", ["torus", "hoop"])
def test_aliases_lead_to_the_entry(shapes: Registry[Shape], alias: str) -> None:
    assert shapes.entry(alias) is shapes.entry("ring")
    assert alias in shapes
    assert [entry.name for entry in shapes] == ["ring"]


def test_entries_come_sorted(shapes: Registry[Shape]) -> None:
    for name in ("zig", "arc"):
        shapes.register(name, source="-")(type(name, (Shape,), {}))
    assert [entry.name for entry in shapes] == ["arc", "ring", "zig"]


def test_a_wrong_name_suggests_the_closest(shapes: Registry[Shape]) -> None:
    assert "rinq" not in shapes
    with pytest.raises(UnknownNameError) as caught:
        shapes.entry("rinq")
    assert str(caught.value) == "  There is no shape 'rinq'; did you mean 'ring'?\n  Known: ring."


@pytest.mark.parametrize(("name", "aliases"), [("ring", ()), ("hoop", ()), ("new", ("ring",)), ("new", ("hoop",))])
def test_a_taken_name_is_refused(shapes: Registry[Shape], name: str, aliases: tuple[str, ...]) -> None:
    with pytest.raises(PluginError, match=rf"The shape '{(*aliases, name)[0]}' is already registered by {__name__}\."):
        shapes.register(name, source="-", aliases=aliases)(type("Other", (Shape,), {}))
    assert [entry.cls for entry in shapes] == [Ring]


def test_the_same_class_may_be_registered_again(shapes: Registry[Shape]) -> None:
    shapes.register("ring", source="Gauss")(Ring)
    assert shapes.entry("ring").source == "Gauss"


def test_options_are_the_keywords_of_the_constructor(ring: Entry[Shape]) -> None:
    assert list(ring.options) == ["radius", "color", "dents", "size"]
    assert ring.options["radius"].default == 1.0


def test_complete_fills_in_defaults_and_makes_tuples_of_lists(ring: Entry[Shape]) -> None:
    given = {"size": 4, "dents": [1, 2]}
    assert ring.complete(given) == {"radius": 1.0, "color": "red", "dents": (1, 2), "size": 4}


def test_distinct_leaves_out_what_the_default_says(ring: Entry[Shape]) -> None:
    assert ring.non_default({"size": 4, "radius": 1.0, "color": "blue"}) == {"color": "blue", "size": 4}


def test_an_int_is_a_float_but_text_is_no_number(ring: Entry[Shape]) -> None:
    assert ring.complete({"size": 4, "radius": 2})["radius"] == 2.0
    with pytest.raises(InvalidValueError, match="Option 'radius' cannot be '2'"):
        ring.complete({"size": 4, "radius": "2"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0}, "Option 'radius' cannot be 0.\n  Input should be greater than 0. Default: 1.0."),
        ({"color": "green"}, "Option 'color' cannot be 'green'.\n  Input should be 'red' or 'blue'. Default: 'red'."),
        ({"dents": [1, "x"]}, "Option 'dents' cannot be [1, 'x'].\n  Input should be a valid integer. Default: ()."),
        ({"dents": True}, "Option 'dents' cannot be True.\n  Input should be a valid list. Default: ()."),
    ],
)
def test_a_wrong_value_says_what_is_accepted(ring: Entry[Shape], options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        ring.complete({"size": 4, **options})
    assert str(caught.value) == f"  {message}"


def test_an_unknown_option_suggests_the_closest(ring: Entry[Shape]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        ring.complete({"size": 4, "radios": 2})
    assert str(caught.value) == (
        "  'ring' has no option 'radios'; did you mean 'radius'?\n  Known: color, dents, radius, size."
    )


def test_a_missing_option_says_how_to_write_it(ring: Entry[Shape]) -> None:
    with pytest.raises(InvalidValueError) as caught:
        ring.complete({})
    assert str(caught.value) == "  'ring' needs the option 'size'.\n  Write ring:size=..."


def test_discovery_finds_every_module_of_the_package() -> None:
    assert {entry.name for entry in TASKS} >= {"copy", "recall", "parity", "delay"}


def test_entry_points_join(shapes: Registry[Shape], monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("dot", "tests.test_registry:Ring", "tests.shipped")
    requested: list[str] = []

    def points(group: str) -> list[importlib.metadata.EntryPoint]:
        requested.append(group)
        return [point]

    monkeypatch.setattr(importlib.metadata, "entry_points", points)
    shapes._discovered = False
    shapes.discover()
    shapes.discover()
    assert requested == ["tests.shipped"]


def test_a_failing_entry_point_is_named(shapes: Registry[Shape], monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("dot", "no_such_module_here:Dot", "tests.shipped")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    shapes._discovered = False
    with pytest.raises(PluginError) as caught:
        shapes.discover()
    assert str(caught.value).startswith(
        "entry point dot = no_such_module_here:Dot\n  ModuleNotFoundError: No module named 'no_such_module_here'\n"
    )


def test_a_users_file_registers_its_parts(plugin: Path) -> None:
    plugin.write_text(
        "from attnlab.tasks import Task, register\n"
        "@register('mine-only', source='me')\n"
        "class Mine(Task):\n"
        "    'My own task.'\n"
        "    complexity = 'bits'\n"
    )
    load_plugin(plugin)
    assert TASKS.entry("mine-only").summary == "My own task."


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PluginError) as caught:
        load_plugin(tmp_path / "gone.py")
    assert str(caught.value) == (
        f"--plugin {tmp_path}/gone.py\n  There is no such Python file.\n  Give the path of a .py file."
    )


def test_a_file_that_is_no_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x = 1")
    with pytest.raises(PluginError, match=r"There is no such Python file\."):
        load_plugin(tmp_path / "mine.txt")


def test_a_failing_file_shows_its_own_last_line(plugin: Path) -> None:
    plugin.write_text("def f():\n    return 1 / 0\n\nf()\n")
    with pytest.raises(PluginError) as caught:
        load_plugin(plugin)
    assert str(caught.value) == (
        f"--plugin {plugin}\n  ZeroDivisionError: division by zero\n  at {plugin}:2: return 1 / 0\n"
        "  Correct this line, and run the command again."
    )
    assert "attnlab_plugin_mine" not in sys.modules


def test_a_file_with_broken_syntax_shows_the_line(plugin: Path) -> None:
    plugin.write_text("x = 1\nclass :\n")
    with pytest.raises(PluginError) as caught:
        load_plugin(plugin)
    where, problem, line, advice = str(caught.value).splitlines()
    assert [where, problem] == [f"--plugin {plugin}", "  SyntaxError: invalid syntax"]
    assert line == f"  at {plugin}:2: class :"
    assert "must be valid Python 3" in advice


def test_a_file_that_takes_a_shipped_name_is_refused(plugin: Path) -> None:
    assert "recall" in TASKS
    plugin.write_text(
        "from attnlab.tasks import Task, register\n"
        "@register('recall', source='me')\nclass Mine(Task):\n    complexity = 'x'\n"
    )
    with pytest.raises(PluginError) as caught:
        load_plugin(plugin)
    assert str(caught.value) == (
        f"--plugin {plugin}\n  The task 'recall' is already registered by attnlab.tasks.recall.\n"
        "  Register it under another name."
    )


@pytest.mark.parametrize("call", ["@register('mine-only')", "@register", "@register('mine-only', source='')"])
def test_a_part_without_a_source_is_refused_in_plain_words(plugin: Path, call: str) -> None:
    plugin.write_text(f"from attnlab.tasks import Task, register\n{call}\nclass Mine(Task):\n    complexity = 'x'\n")
    owner = "Mine" if call == "@register" else "mine-only"
    with pytest.raises(PluginError) as caught:
        load_plugin(plugin)
    problem = f"The task '{owner}' has no source."
    hint = 'Write its name and its source in the decorator: "NAME", source="arXiv:...", or source="ours".'
    assert str(caught.value) == f"--plugin {plugin}\n  {problem}\n  {hint}"
