from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as some

from attnlab.config import yaml as module
from attnlab.config.yaml import parse, read, scalar
from attnlab.errors import InvalidFileError

LOOKALIKES = "no yes on off y n No ON 12:30:45 1:30 1_000 0b11 0o8 -0x10 2024-01-31 1e inf nan e3 tRUE = << softmax"
DATA_ONLY = "YAML here is data only: words, numbers, lists and mappings."


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E+3", 1000.0),
        ("-1.5", -1.5),
        (".5", 0.5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("+7", 7),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("3", 3),
        ("'3'", "3"),
        ("!!str 3", "3"),
        ("!!float 3", 3.0),
    ],
)
def test_scalars_of_the_core_schema(text: str, value: Any) -> None:
    result = scalar(text)
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize("word", LOOKALIKES.split())
def test_words_that_look_like_values_stay_words(word: str) -> None:
    assert scalar(word) == word


def test_nan_is_no_number() -> None:
    assert math.isnan(scalar(".nan"))


@given(some.one_of(some.integers(), some.floats(allow_nan=False)))
def test_every_number_python_writes_is_read_back(number: float) -> None:
    text = repr(number).replace("inf", ".inf")
    assert scalar(text) == number
    assert type(scalar(text)) is type(number)


@given(
    some.recursive(
        some.one_of(some.none(), some.booleans(), some.integers(), some.text("abc:#- '\"", max_size=8)),
        lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text("ab", min_size=1), inner, max_size=3),
        max_leaves=8,
    )
)
def test_quoted_data_survives(data: Any) -> None:
    assert (
        parse(pyyaml.safe_dump(data, default_style='"') if isinstance(data, str) else pyyaml.safe_dump(data)).data
        == data
    )


def test_every_value_knows_its_line() -> None:
    document = parse("a: 1\nb:\n  c:\n  - x\n  - d: 2\n", "f.yaml")
    assert document.data == {"a": 1, "b": {"c": ["x", {"d": 2}]}}
    assert document.where(("a",)) == "f.yaml:1: a"
    assert document.where(("b", "c")) == "f.yaml:3: b.c"
    assert document.where(("b", "c", 0)) == "f.yaml:4: b.c[0]"
    assert document.where(("b", "c", 1, "d")) == "f.yaml:5: b.c[1].d"
    assert document.where() == "f.yaml:1"


def test_what_does_not_stand_in_the_file_is_placed_at_the_closest_above() -> None:
    document = parse("a: 1\nb:\n  c: 2\n", "f.yaml")
    assert document.where(("b", "missing", 0)) == "f.yaml:2: b.missing[0]"
    assert document.where(("missing",)) == "f.yaml:1: missing"
    assert parse("", "empty.yaml").where(("a",)) == "empty.yaml:1: a"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: 2\na: 3", 3, "the key 'a' stands twice, first on line 1"),
        ("x:\n  a: 1\n  a: 1", 3, "the key 'a' stands twice, first on line 2"),
        ("a: {b: 1, b: 2}", 1, "the key 'b' stands twice, first on line 1"),
        ("- 1\n- ? [k]\n  : v", 2, "a key must be a word"),
        ("~: 1", 1, "a key must be a word"),
        ("a: 1\nb: !!int x", 2, "'x' is no int"),
        ("!!bool maybe", 1, "'maybe' is no bool"),
        ("!!float x", 1, "'x' is no float"),
        ("a: b: c", 1, "mapping values are not allowed here"),
        ("a: [1,\nb: 2", 2, "expected ',' or ']', but got '<stream end>'"),
        ("a: *missing", 1, "found undefined alias 'missing'"),
        ("a: 1\n---\nb: 2", 2, "but found another document"),
    ],
)
def test_what_is_no_strict_yaml_is_refused_with_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        parse(text, "f.yaml")
    assert str(caught.value) == f"f.yaml:{line}\n  Not valid YAML: {problem}.\n  {DATA_ONLY}"


@pytest.mark.parametrize(
    "tag", ["python/object/apply:os.system", "python/name:os.system", "python/tuple", "set", "binary", "timestamp"]
)
def test_tags_that_are_no_plain_data_are_refused(tag: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        parse(f"a: 1\nb: !!{tag} [x]", "f.yaml")
    assert caught.value.where == "f.yaml:2"
    assert f"could not determine a constructor for the tag 'tag:yaml.org,2002:{tag}'" in caught.value.problem


def test_an_anchor_repeats_a_value_and_a_merge_is_a_plain_key() -> None:
    assert parse("a: &one {b: 1}\nc: *one").data == {"a": {"b": 1}, "c": {"b": 1}}
    assert parse("a: &one {b: 1}\nc:\n  <<: *one\n  d: 2").data["c"] == {"<<": {"b": 1}, "d": 2}


def test_endless_nesting_is_refused() -> None:
    with pytest.raises(InvalidFileError) as caught:
        parse("[" * 1000, "f.yaml")
    assert str(caught.value) == "f.yaml\n  It is nested too deeply, or holds itself."


@pytest.mark.parametrize(("text", "line"), [("&a [*a]", 1), ("x: 1\na: &a {b: *a}", 2)])
def test_a_list_or_mapping_in_itself_is_refused(text: str, line: int) -> None:
    with pytest.raises(InvalidFileError) as caught:
        parse(text, "f.yaml")
    assert str(caught.value) == f"f.yaml:{line}\n  It holds itself.\n  Leave out the alias."


ALIASES = "a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]"
UNFOLDED = 1 + 3 + 3 + 7 + 15
"""The mapping, three keys, and lists of 3, 7 and 15 values, with themselves and all that their aliases stand for."""


@pytest.mark.parametrize("quick", [True, False])
def test_values_are_counted_as_aliases_unfold(monkeypatch: pytest.MonkeyPatch, quick: bool) -> None:
    monkeypatch.setattr(module, "SHORT", 4096 if quick else 0)
    monkeypatch.setattr(module, "MAX_NODES", UNFOLDED)
    assert parse(ALIASES, "f.yaml").data["c"] == [[[1, 1], [1, 1]], [[1, 1], [1, 1]]]
    monkeypatch.setattr(module, "MAX_NODES", UNFOLDED - 1)
    with pytest.raises(InvalidFileError) as caught:
        parse(ALIASES, "f.yaml")
    assert str(caught.value) == "f.yaml:1\n  It holds over 28 values.\n  An alias counts with all that it stands for."


@pytest.mark.parametrize(
    ("text", "depth"), [("[[[[1]]]]", 4), ("{a: {b: {c: {d: 1}}}}", 4), ("a: &a [[1]]\nb: [[*a]]", 5)]
)
def test_nesting_has_a_bound_with_aliases_unfolded(monkeypatch: pytest.MonkeyPatch, text: str, depth: int) -> None:
    monkeypatch.setattr(module, "MAX_DEPTH", depth)
    parse(text, "f.yaml")
    monkeypatch.setattr(module, "MAX_DEPTH", depth - 1)
    with pytest.raises(InvalidFileError, match=rf"It is nested too deeply: over {depth - 1} lists or mappings\."):
        parse(text, "f.yaml")


def test_a_file_or_a_word_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 20)
    path = tmp_path / "f.yaml"
    path.write_text("a: " + "1" * 18)
    with pytest.raises(InvalidFileError) as caught:
        read(path)
    assert str(caught.value) == f"{path}\n  It has 21 bytes; up to 20 are read."
    with pytest.raises(InvalidFileError, match=r"It has 21 characters; up to 20 are read\."):
        scalar("x" * 21)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match=r"This is no file\."):
        read(tmp_path)


def test_a_number_beyond_reason_is_refused() -> None:
    with pytest.raises(InvalidFileError, match=rf"'{'1' * 40}' is no int\."):
        parse("1" * 5000)


def test_control_characters_are_refused() -> None:
    with pytest.raises(InvalidFileError, match="unacceptable character #x0007"):
        parse("a: \x07")


def test_a_file_is_read_as_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("name: Délétang".encode())
    assert read(path).data == {"name": "Délétang"}
    assert read(path).name == str(path)


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file or directory"), (b"\xff", "invalid start byte")])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidFileError, match=reason) as caught:
        read(path)
    assert caught.value.where == str(path)
    assert caught.value.problem.startswith("It cannot be read: ")


@pytest.mark.parametrize("text", ['name: "\\ud800"\n', '"\\udfffx": 1\n', "a:\n- 'x'\n- \"\\udc00\"\n"])
def test_half_a_character_is_refused(text: str) -> None:
    with pytest.raises(InvalidFileError, match=r"It has half a character, \\ud[8-f]") as caught:
        parse(text, "x.yaml")
    assert caught.value.where == f"x.yaml:{text.count(chr(10))}"
