"""Strategies that damage what is whole: plain data, text and bytes, with values that no field expects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from tests.fuzzing.option_strings import NUMBERS, PIECES

Place = tuple[str | int, ...]
NESTED: Any = json.loads("[" * 100 + "]" * 100)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 1.5, -0.5, 1e-300, 1e300, float("nan"), float("inf"), float("-inf")),
    *(2**31, 2**53, 2**63 - 1, 2**63, 10**30, -(10**30), 10**400),
    *("", "x", "1", "nan", "true", "é", "\x1b[2J", "\0", "\ud800", "../../x", "/etc/x", "=1+1", "<script>", "x" * 300),
    *([], {}, [1], [[]], {"x": 1}, [None], {"": None}, NESTED, ["x"] * 300),
)
"""Values in place of another."""
DEEPEST = 12
"""Values that lie deeper are not changed."""
KEYS = ("", "x", "id", "spec", "format", "name", "__class__", "\ud800", "model.width", "0")
BYTES = (b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\n", b"{", b"}", b"[" * 300, b'"', b"\\", b"\xc3", b"9" * 400)


def places(data: Any, at: Place = ()) -> Iterator[Place]:
    """List where every value stands, down to a depth.

    Args:
        data: Plain data.
        at: Where it stands itself.

    Yields:
        Keys and indices that lead to each value.
    """
    yield at
    if len(at) == DEEPEST:
        return
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*at, key))


def valued(data: Any, at: Place) -> Any:
    """Return the value in a place."""
    for step in at:
        data = data[step]
    return data


@st.composite
def damaged_data(draw: st.DrawFn, data: Any, most: int = 2) -> Any:
    """Draw data of which one or two values are replaced, removed, doubled, moved or given a new key.

    Args:
        draw: Draws from a strategy.
        data: Plain data; it is not changed.
        most: Changes at most.

    Returns:
        The changed data.
    """
    data = deepcopy(data)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.sampled_from(list(places(data))))
        kind = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "double", "borrow", "wrap"]))
        value = valued(data, at)
        if kind == "add" and isinstance(value, dict):
            value[draw(st.sampled_from(KEYS))] = deepcopy(draw(st.sampled_from(ODD)))
            continue
        if kind == "double" and isinstance(value, list):
            value.extend(value[:50])
            continue
        if not at:
            data = deepcopy(draw(st.sampled_from([*ODD, [data], {"x": data}]))) if kind == "wrap" else data
            continue
        above, key = valued(data, at[:-1]), at[-1]
        if kind == "remove":
            del above[key]
        elif kind == "borrow":  # a value from elsewhere in the same data
            above[key] = deepcopy(valued(data, draw(st.sampled_from(list(places(data))))))
        else:
            above[key] = [value] if kind == "wrap" else deepcopy(draw(st.sampled_from(ODD)))
    return data


@st.composite
def damaged_text(draw: st.DrawFn, text: str, most: int = 3) -> str:
    """Draw a text of which some characters, words or lines are changed.

    Args:
        draw: Draws from a strategy.
        text: The text.
        most: Changes at most.

    Returns:
        The changed text.
    """
    for _ in range(draw(st.integers(1, most))):
        place, end = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        piece = draw(st.sampled_from((*PIECES, *NUMBERS)))
        lines = text.splitlines(keepends=True) or [""]
        line = draw(st.integers(0, len(lines) - 1))
        match draw(
            st.sampled_from(["insert", "insert", "replace", "cut", "drop line", "double line", "indent", "end"])
        ):
            case "insert":
                text = text[:place] + piece + text[place:]
            case "replace":
                text = text[:place] + piece + text[place + len(piece) :]
            case "cut":
                text = text[:place] + text[min(end, place + 40) :]
            case "drop line":
                text = "".join(lines[:line] + lines[line + 1 :])
            case "double line":
                text = "".join(lines[: line + 1] + lines[line:])
            case "indent":
                text = "".join([*lines[:line], draw(st.sampled_from([" ", "  ", "\t", "- "])), *lines[line:]])
            case _:
                text = text[:place]
    return text


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes, most: int = 3) -> bytes:
    """Draw bytes of which some are flipped, cut, inserted, doubled or set to zero.

    Args:
        draw: Draws from a strategy.
        content: The bytes.
        most: Changes at most.

    Returns:
        The changed bytes.
    """
    for _ in range(draw(st.integers(1, most))):
        place, end = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        match draw(st.sampled_from(["flip", "flip", "flip", "cut", "end", "insert", "zero", "double", "empty"])):
            case "flip" if place < len(content):
                bit = 1 << draw(st.integers(0, 7))
                content = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
            case "cut":
                content = content[:place] + content[min(end, place + 64) :]
            case "end":
                content = content[:place]
            case "insert":
                content = content[:place] + draw(st.sampled_from(BYTES)) + content[place:]
            case "zero":
                size = min(end - place, 64)
                content = content[:place] + b"\0" * size + content[place + size :]
            case "double":
                content = content + content[place:end]
            case "empty" if draw(st.integers(0, 9)) == 0:
                content = b""
            case _:
                pass
    return content


def as_json(data: Any) -> bytes:
    """Write data as JSON, numbers that are not finite as ``NaN`` and ``Infinity``."""
    return json.dumps(data, separators=(",", ":")).encode()
