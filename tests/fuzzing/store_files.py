"""Strategies for the files of a store: journal lines, labels, the experiment, tags, provenance, weights."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tests.fuzzing.golden import EXPERIMENT, Golden, evaluate_words
from tests.fuzzing.mutations import as_json, damaged_bytes, damaged_data, damaged_text
from tests.fuzzing.running import Case

JOURNAL = "results/records.jsonl"
WRITTEN = (
    ("--csv", "o.csv", "--markdown", "o.md", "--latex", "o.tex"),
    ("--html", "o.html", "--attention-maps", "1"),
    ("--curves",),
    ("--metric", "failure_mode"),
    ("--json",),
    ("--metric", "seconds", "--index", "width", "--columns", "train.lr"),
)


@st.composite
def damaged_line(draw: st.DrawFn, lines: list[bytes]) -> list[bytes]:
    """Draw a journal of which a line is changed.

    Args:
        draw: Draws from a strategy.
        lines: The lines, without their ends.

    Returns:
        The new lines.
    """
    at = draw(st.integers(0, len(lines) - 1))
    kind = draw(st.sampled_from(["data", "data", "data", "data", "bytes", "text", "twice", "blank", "drop", "join"]))
    new, data = list(lines), _parsed(lines[at])
    if kind == "data" and data is not None:
        new[at] = as_json(draw(damaged_data(data)))
    elif kind == "bytes":
        new[at] = draw(damaged_bytes(lines[at]))
    elif kind == "text":
        new[at] = draw(damaged_text(lines[at].decode(errors="replace"))).encode(errors="surrogateescape")
    elif kind == "twice":
        new.insert(draw(st.integers(0, len(lines))), lines[at])
    elif kind == "blank":
        new.insert(at, draw(st.sampled_from([b"", b" ", b"\t", b"\0", b"{}", b"null", b"[]", b"x"])))
    elif kind == "drop":
        del new[at]
    else:
        new[at : at + 2] = [b"".join(lines[at : at + 2])]
    return new


def _parsed(line: bytes) -> Any:
    """The data of a line; None where it is damaged already."""
    try:
        return json.loads(line)
    except ValueError:
        return None


@st.composite
def damaged_store(draw: st.DrawFn, golden: Golden) -> tuple[dict[str, bytes], str]:
    """Draw a store of which one or two files are changed, missing, empty or folders.

    Args:
        draw: Draws from a strategy.
        golden: The store to begin with.

    Returns:
        Its files, and what was done.
    """
    files, told = dict(golden.store), []
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        others = sorted(name for name in files if name != JOURNAL)
        name = JOURNAL if JOURNAL in files and draw(st.integers(0, 2)) else draw(st.sampled_from(others))
        kind = draw(st.sampled_from(["content"] * 8 + ["missing", "empty", "folder"]))
        told.append(f"{kind} of {name}")
        if kind == "missing":
            del files[name]
        elif kind == "empty":
            files[name] = b""
        elif kind == "folder":
            del files[name]
            files[f"{name}/x"] = b"x"
        elif name == JOURNAL:
            *lines, last = files[name].split(b"\n")
            torn = draw(st.integers(0, 9)) == 0
            files[name] = b"\n".join([*draw(damaged_line(lines)), last]) if lines else b"x\n"
            files[name] = files[name][:-5] if torn else files[name]
        elif name.endswith(".json") and draw(st.integers(0, 3)):
            try:
                files[name] = as_json(draw(damaged_data(json.loads(files[name]))))
            except ValueError:
                files[name] = b"{"
        else:
            files[name] = draw(damaged_bytes(files[name]))
    return files, ", ".join(told)


@st.composite
def cases(draw: st.DrawFn, golden: Golden) -> Case:
    """Draw a command that reads or writes a store.

    Args:
        draw: Draws from a strategy.
        golden: The store to begin with.

    Returns:
        The case.
    """
    run = draw(st.sampled_from(golden.runs))
    other = draw(st.sampled_from(golden.runs))
    commands: list[tuple[str, ...]] = [
        ("ls", "results"),
        ("ls", "results", "--where", "width=8 and accuracy>=10%", "--sort", "loss"),
        ("ls", "results", "--json"),
        ("show", run),
        ("compare", run, other),
        ("report", "results"),
        *(("report", "results", *more) for more in WRITTEN),
        evaluate_words(run),
        ("tag", run, "fine"),
        ("rm", run),
        ("rm", "--undo"),
        ("diagnose", "rank-collapse", "--run", run, "--sequences", "2"),
        ("sweep", "tiny.yaml", "--executor", "inline", "--device", "cpu", "--store", "results", "--quiet"),
    ]
    files, told = draw(damaged_store(golden))
    words = draw(st.sampled_from(commands))
    return Case(words, {"tiny.yaml": EXPERIMENT.encode(), **files}, told)
