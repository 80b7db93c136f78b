"""Strategies for checkpoints and weights: arrays of other names, shapes and types, other fields, damaged bytes.

What was written is small and harmless. Bytes that are damaged by accident must never give other numbers: the digest
tells. An edit that is written with a digest of its own must fit the run, or be refused.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from attnlab.storage import weights
from attnlab.storage.arrays import TYPES, Arrays
from tests.fuzzing.golden import TRAIN, Golden, evaluate_words, numbers_of
from tests.fuzzing.mutations import ODD, damaged_bytes, damaged_data
from tests.fuzzing.running import Answer, Case

SHAPES = ((), (0,), (1,), (8,), (9, 8), (8, 8, 1), (2, 3), (0, 8), (1, 64))
STRUCTURE = ("shape", "type", "drop", "rename")
"""Edits after which arrays cannot be those of the run."""
LENGTH = 8
"""Bytes of the length of the header."""


@st.composite
def edited(draw: st.DrawFn, content: bytes) -> tuple[bytes, list[str]]:
    """Draw a file of arrays of which one or two things are other, with a digest that fits.

    Args:
        draw: Draws from a strategy.
        content: The file to begin with.

    Returns:
        The file, and the kinds of edits.
    """
    arrays = weights.decode(content)
    header = json.loads(content[LENGTH : LENGTH + int.from_bytes(content[:LENGTH], "little")])
    about = json.loads(header["__metadata__"]["about"])
    kinds: list[str] = draw(
        st.lists(st.sampled_from([*STRUCTURE, "add", "values", "step", "about", "about"]), min_size=1, max_size=2)
    )
    untouched = sorted(arrays)  # a second edit of the same array could undo the first
    for kind in kinds:
        name = draw(st.sampled_from(untouched))
        untouched.remove(name)
        if kind == "about":
            about = draw(damaged_data(about))
        elif kind == "step" and isinstance(about, dict):
            about["step"] = draw(st.sampled_from([*ODD, 3, 4, 5, 10**6]))
        elif kind == "add":
            arrays[draw(st.sampled_from(["x", "", "weight/x", "exp_avg/x", "weight", "\u00e9" * 300, "../x"]))] = (
                arrays[name]
            )
        else:
            _edit(draw, arrays, name, kind)
    if not isinstance(about, dict):
        about = {"x": about}
    try:
        return weights.encode(arrays, about), kinds
    except (ValueError, RecursionError):  # an integer of more digits than Python writes
        return weights.encode(arrays, {}), kinds


def _edit(draw: st.DrawFn, arrays: Arrays, name: str, kind: str) -> None:
    """Change one array."""
    array = arrays[name]
    if kind == "shape":
        shapes = [shape for shape in SHAPES if shape != array.shape]
        arrays[name] = np.zeros(draw(st.sampled_from(shapes)), array.dtype)
    elif kind == "type":
        types = [dtype for dtype in TYPES.values() if dtype != array.dtype]
        arrays[name] = np.zeros(array.shape, draw(st.sampled_from(types)))
    elif kind == "values":
        filler: Any = draw(st.sampled_from([0, 1, float("nan"), float("inf"), -1e30, 1e-30]))
        filler = filler if name != "compiled" else 0  # a run that was compiled is compiled again, which takes minutes
        with np.errstate(all="ignore"):
            arrays[name] = np.full(array.shape, filler, array.dtype)
    else:
        del arrays[name]
        if kind == "rename":
            arrays[f"{name}x"] = array


@st.composite
def damaged_header(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw a file whose header is other than what was written; the digest is the old one."""
    size = int.from_bytes(content[:LENGTH], "little")
    header, rest = content[LENGTH : LENGTH + size], content[LENGTH + size :]
    if draw(st.booleans()):
        length = draw(st.sampled_from([0, 1, size - 1, size + 8, 2**31, 2**40, 2**63, 2**64 - 1]))
        return length.to_bytes(LENGTH, "little") + header + rest
    new = json.dumps(draw(damaged_data(json.loads(header)))).encode()
    new += b" " * (-len(new) % 8)
    return len(new).to_bytes(LENGTH, "little") + new + rest


@st.composite
def cases(draw: st.DrawFn, golden: Golden) -> Case:
    """Draw a command that reads a checkpoint or weights.

    Args:
        draw: Draws from a strategy.
        golden: The files to begin with.

    Returns:
        The case.
    """
    kind = draw(st.sampled_from(["resume", "resume", "resume", "evaluate", "diagnose", "continue", "list"]))
    words: tuple[str, ...]
    if kind in ("resume", "list"):
        name, files = golden.checkpoint, golden.interrupted
        listing = [("ls", "results"), ("show", golden.run), ("rm", golden.run), ("report", "results")]
        words = (*TRAIN, "--resume") if kind == "resume" else draw(st.sampled_from(listing))
    else:
        name, files = f"results/weights/{golden.run}.safetensors", golden.finished
        words = evaluate_words(golden.run)
        if kind == "diagnose":
            words = ("diagnose", "rank-collapse", "--run", golden.run, "--sequences", "2")
        elif kind == "continue":
            more = tuple(
                "6" if before == "--steps" else word for before, word in zip(("", *TRAIN), TRAIN, strict=False)
            )
            words = (*more, "--continue-from", golden.run)
            name = draw(st.sampled_from([name, f"results/optimizer/{golden.run}.safetensors"]))
    content, edits = files[name], list[str]()
    how = draw(st.sampled_from(["edit", "edit", "edit", "bytes", "bytes", "header"]))
    if how == "edit":
        content, edits = draw(edited(content))
    else:
        content = draw(damaged_bytes(content) if how == "bytes" else damaged_header(content))
        if kind != "list" and draw(st.integers(0, 19)) == 0:
            return Case(words, {one: old for one, old in files.items() if one != name}, f"{name} is missing")

    def expected(answer: Answer) -> str:
        if answer.status != 0 or content == files[name]:
            return ""
        if kind not in ("resume", "evaluate"):
            return ""
        if how != "edit" or (set(edits) & set(STRUCTURE) and "values" not in edits):  # some arrays may be missing
            same = (
                numbers_of(answer.out) == golden.numbers
                if kind == "resume"
                else json.loads(answer.out) == golden.evaluated
            )
            return "" if same else "what does not fit was accepted, and the numbers are others"
        return ""

    return Case(words, {**files, name: content}, f"{how} {edits} of {name}", expected)
