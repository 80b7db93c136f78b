from __future__ import annotations

from typing import Annotated, Any, Literal, Union

import pytest
from pydantic import Field

from attnlab.registry import Entry, Registry
from attnlab.rendering.catalog import Card, Listing, reflow, type_text
from attnlab.tasks import TASKS
from attnlab.tasks.io.ladders import find_ladder
from tests.rendering.capture import drawn

HEADS = ("task", "levels", "summary")
ROWS = [("copy", "4 8", "Write again."), ("parity-last", "2", "")]


class Fold:
    """A part that folds.

    Deeper each time.

    Options:
        depth: How deep, in [a, b]; it goes on
            in the next line.
        kind: Which [/kind] of fold.
    """

    def __init__(self, *, depth: Annotated[int, Field(ge=1)] = 3, kind: str = "[z]", bare: float | None = None) -> None:
        self.depth, self.kind, self.bare = depth, kind, bare


@pytest.fixture
def fold() -> Entry[Any]:
    registry: Registry[Any] = Registry("shape", "tests.shipped")
    registry.register("fold", source="Miura", version=2, aliases=("crease",))(Fold)
    return registry._entries["fold"]


def test_a_listing_is_aligned_and_each_summary_is_below_its_row() -> None:
    assert drawn(Listing(HEADS, ROWS, "Nothing.")) == [
        "task         levels",
        "copy         4 8",
        "  Write again.",
        "parity-last  2",
    ]


def test_the_listing_of_attentions_explains_its_columns() -> None:
    lines = drawn(Listing(("attention", "rows", "summary"), [("softmax", "stochastic", "")], ""))
    assert [line.split(":")[0] for line in lines if line.startswith(("rows:", "parameters:", "cost:"))] == [
        "rows",
        "parameters",
        "cost",
    ]


def test_an_empty_listing_shows_its_text() -> None:
    assert drawn(Listing(HEADS, [], "No tasks here.")) == ["No tasks here."]


def test_a_listing_as_data() -> None:
    assert Listing(HEADS, ROWS, "").data()[0] == {"task": "copy", "levels": "4 8", "summary": "Write again."}


def test_a_card_shows_the_documentation_of_a_part(fold: Entry[Any]) -> None:
    ladder = find_ladder("copy")
    lines = drawn(Card(fold, "shape", parameters=119_424, ladders=[ladder], chance=0.0625))
    assert lines[0] == "fold  shape, version 2, also crease"
    assert lines[1] == "A part that folds."
    options = lines.index("Options")
    assert [" ".join(line.split()) for line in lines[options + 1 :]] == [
        "depth 3 int >= 1 How deep, in [a, b]; it goes on in the next line.",
        "kind [z] str Which [/kind] of fold.",
        "bare null float | null",
        "Weights of the default model with it: 119,424",
        "Chance at the default options: 6.2 %",
        "Ladder copy: symbols 4, 8, 16, 32, 64 (default 16)",
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("reverse", ", trained on symbols 1..level"),
        ("copy-length", ", trained on symbols 1..16"),
        ("depo", ", trained on fewest_hops 1, fewest_nodes 3"),
        ("k-hop-16", ", trained on hops 16, fewest_hops 0"),
        ("copy", "(default 16)"),
    ],
)
def test_a_card_tells_what_a_ladder_is_trained_on(fold: Entry[Any], name: str, words: str) -> None:
    (line,) = Card(fold, "shape", ladders=[find_ladder(name)]).ladder_lines()
    assert line.startswith(f"Ladder {name}: ")
    assert line.endswith(words)


def test_a_card_names_the_source_even_where_the_documentation_does_not(fold: Entry[Any]) -> None:
    assert Card(fold, "shape").text() == "Deeper each time.\n\nSource   Miura"
    assert drawn(Card(fold, "shape"))[:6] == [
        "fold  shape, version 2, also crease",
        "A part that folds.",
        "",
        "Deeper each time.",
        "",
        "Source  Miura",
    ]


def test_a_card_as_data(fold: Entry[Any]) -> None:
    data = Card(fold, "shape", parameters=7).data()
    assert data["options"]["depth"] == {"accepts": "int >= 1", "default": 3}
    assert (data["name"], data["kind"], data["version"], data["aliases"]) == ("fold", "shape", 2, ["crease"])
    assert (data["source"], data["summary"], data["parameters"], data["ladders"]) == (
        "Miura",
        "A part that folds.",
        7,
        [],
    )


@pytest.mark.parametrize("name", [entry.name for entry in TASKS])
@pytest.mark.parametrize("width", [80, 50])
def test_the_card_of_every_task_fits_and_explains_every_option(name: str, width: int) -> None:
    entry = TASKS.entry(name)
    text = "\n".join(drawn(Card(entry, "task"), width=width))
    assert "Source" in text
    for option in entry.options:
        assert f"\n {option} " in text
    documentation = entry.cls.__doc__ or ""
    assert all(f"    {option}: " in documentation for option in entry.options)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (Literal["a", 2], "a | 2"),
        (Union[int, str], "int | str"),  # noqa: UP007  both spellings
        (float | None, "float | null"),
        (Annotated[int, Field(ge=1)], "int >= 1"),
        (Annotated[float, Field(gt=0, le=1)], "float > 0 <= 1"),
        (Annotated[float, Field(lt=5)] | None, "float < 5 | null"),
    ],
)
def test_annotations_as_text(annotation: Any, text: str) -> None:
    assert type_text(annotation) == text


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Some ``prose``\nthat flows.", ["Some prose that flows."]),
        ("    y = a + b\n    z = c", ["    y = a + b", "    z = c"]),
        ("One.\n\nTwo.", ["One.", "", "Two."]),
        ("Source   Somebody,\n         somewhere.\nTheirs   ours", ["Source  Somebody, somewhere.", "Theirs  ours"]),
    ],
)
def test_prose_is_wrapped_and_formulas_are_unchanged(text: str, lines: list[str]) -> None:
    assert drawn(reflow(text)) == lines
