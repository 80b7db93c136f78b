"""Strategies for files of ``file:`` and ``text:`` tasks: rows of all formats, with other numbers, keys or bytes."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from hypothesis import strategies as st
from pyarrow import parquet

from tests.fuzzing.mutations import ODD, as_json, damaged_bytes, damaged_data, damaged_text
from tests.fuzzing.option_strings import mutated
from tests.fuzzing.running import Case, Runner

ROWS = 12
TINY: tuple[str, ...] = (
    "--width",
    "8",
    "--layers",
    "1",
    "--heads",
    "2",
    "--steps",
    "1",
    "--batch",
    "2",
    "--device",
    "cpu",
    "--quiet",
)
TINY += ("--set", "train.validation_examples=2", "--set", "train.test_examples=2")
SUFFIXES = (".jsonl", ".parquet", ".npz", ".txt")
CSV = b"inputs,targets\n1 2 3,-100 -100 2\n"


def rows() -> list[dict[str, Any]]:
    """Twelve good rows of three lengths."""
    return [
        {"inputs": [1 + (row + at) % 5 for at in range(3 + row % 3)], "targets": [-100] * (2 + row % 3) + [row % 4]}
        for row in range(ROWS)
    ]


def as_parquet(data: list[dict[str, Any]]) -> bytes:
    """Write rows as Parquet, whatever type their values have; nothing where pyarrow cannot."""
    file = io.BytesIO()
    try:
        parquet.write_table(pa.Table.from_pylist(data), file)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError):
        return b"PAR1"
    return file.getvalue()


def as_npz(arrays: dict[str, Any]) -> bytes:
    """Write arrays as an archive."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@cache
def written() -> dict[str, dict[str, bytes]]:
    """Files of each format as ``generate`` writes them, with their sidecars: suffix -> name -> content."""
    import tempfile
    from pathlib import Path

    result = {}
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder))
        for suffix in SUFFIXES:
            words = ("generate", "copy:symbols=2,alphabet=3", "--sequences", str(ROWS), "--quiet")
            answer = runner.run((*words, "--out", f"x{suffix}"), {})
            assert answer.status == 0, answer
            result[suffix] = answer.files
    return result


@st.composite
def own_rows(draw: st.DrawFn, suffix: str) -> bytes:
    """Draw a file of rows of which values, keys, types or lengths are other."""
    if suffix == ".npz":
        count, width = draw(st.sampled_from([(12, 4), (12, 4), (0, 4), (12, 0), (1, 1), (9, 2)]))
        arrays: dict[str, Any] = {}
        for name in draw(st.lists(st.sampled_from(["inputs", "targets", "input_ids", "labels", "x"]), unique=True)) or [
            "x"
        ]:
            dtype = draw(st.sampled_from(["i4", "i8", "u2", "u1", "f4", "?", "U3", "c8", "M8[s]", ">i4"]))
            array = np.ones((count, width), dtype) if dtype != "U3" else np.full((count, width), "abc")
            if array.size and dtype in ("i4", "i8", ">i4") and draw(st.booleans()):
                array.flat[0] = draw(st.sampled_from([-100, -1, 0, 2**20, 2**31 - 1, -(2**31)]))
            arrays[name] = array if draw(st.integers(0, 4)) else array[..., None]
        return as_npz(arrays)
    data = rows()
    at = draw(st.integers(0, ROWS - 1))
    if draw(st.booleans()):
        data[at] = draw(damaged_data(data[at]))
    else:
        name = draw(st.sampled_from(["inputs", "targets"]))
        data[at][name][0] = draw(st.sampled_from([*ODD, 65436, 2**32 - 100, 255, 2**20]))
    if suffix == ".parquet":
        same = draw(st.booleans())  # one value of another type in all rows, or in one
        return as_parquet([data[at]] * ROWS if same and isinstance(data[at], dict) else data)
    if suffix == ".jsonl":
        lines = [as_json(one) for one in data]
        lines.insert(at, draw(st.sampled_from([b"", b" ", b"null", b"[]", b"{}", b"\xff", b"x", lines[at]])))
        return b"\n".join(lines) + b"\n"
    lines = []
    for one in rows():
        lines += [f"inputs  {' '.join(map(str, one['inputs']))}".encode()]
        lines += [f"targets {' '.join('.' if token == -100 else str(token) for token in one['targets'])}".encode()]
    return draw(damaged_text((b"\n".join(lines) + b"\n").decode())).encode(errors="surrogateescape")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a command that reads a file of sequences or of text.

    Args:
        draw: Draws from a strategy.

    Returns:
        The case.
    """
    suffix = draw(st.sampled_from(SUFFIXES))
    name, files = f"x{suffix}", dict[str, bytes]()
    match draw(st.sampled_from(["written", "written", "own", "own", "own", "sidecar", "renamed", "text"])):
        case "written":
            files = dict(written()[suffix])
            files[name] = draw(damaged_bytes(files[name]))
            if draw(st.integers(0, 3)):  # with its sidecar, any change is told from the digest
                files.pop(f"{name}.json")
        case "own":
            files[name] = draw(own_rows(suffix))
        case "sidecar":
            files = dict(written()[suffix])
            about = files[f"{name}.json"]
            kind = draw(st.integers(0, 2))
            files[f"{name}.json"] = (
                as_json(draw(damaged_data(json.loads(about)))) if kind else draw(damaged_bytes(about))
            )
        case "renamed":  # the content of another format
            other = draw(st.sampled_from([*SUFFIXES, "csv"]))
            files[name] = CSV if other == "csv" else written()[other][f"x{other}"]
        case _:
            return draw(_text_case())
    options = ("", "", "", "", ",split=ordered", ",split=x", ",shift=true", ",shift=false", ",rows=2", ",vocabulary=9")
    task = f"file:path={name}{draw(st.sampled_from(options))}"
    if draw(st.integers(0, 9)) == 0:
        task = draw(mutated((task,)))
    commands = [
        ("sample", task, "--sequences", "2"),
        ("sample", task, "--sequences", "2", "--json"),
        ("generate", task, "--sequences", "4", "--out", "o.jsonl", "--quiet"),
        ("train", "--task", task, *TINY),
        ("sweep", "--task", task, "--attn", "softmax", "--dry-run"),
    ]
    return Case(draw(st.sampled_from(commands)), files, suffix)


@st.composite
def _text_case(draw: st.DrawFn) -> Case:
    """Draw a command that reads a text."""
    content = draw(damaged_bytes(b"To be, or not to be, that is the question.\n" * 4))
    name = draw(st.sampled_from(["x.txt", "d/x.txt", "d/.hidden", "d/e/x"]))
    tasks = (
        f"text:path={name},length=2",
        "text:path=x.txt,length=4",
        "text:path=d,length=4",
        "text:path=d,length=2,glob=*",
    )
    task = draw(st.sampled_from(tasks) if draw(st.integers(0, 3)) else mutated(tasks))
    words = ("sample", task, "--sequences", "2") if draw(st.booleans()) else ("train", "--task", task, *TINY)
    return Case(words, {name: content}, "text")
