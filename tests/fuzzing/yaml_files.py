"""Strategies for YAML files: experiments and ladders of which values, words or lines are changed."""

from __future__ import annotations

import json
from functools import cache

import yaml
from hypothesis import strategies as st

from attnlab import resources
from tests.fuzzing.golden import EXPERIMENT
from tests.fuzzing.mutations import as_json, damaged_bytes, damaged_data, damaged_text
from tests.fuzzing.option_strings import path
from tests.fuzzing.running import Case

LADDER = """\
name: mine
summary: A ladder of mine.
task: copy
complexity: symbols
levels: [1, 2, 3]
default: 2
options: {alphabet: 3}
source: me
"""
BOMBS = (
    "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b]\n"
    "d: &d [*c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e]\n",
    "a: &a\n  b: *a\n",
    "<<: {name: x}\n",
    "name: !!python/object/apply:os.getcwd []\n",
    "--- x\n--- y\n",
    "{" * 60 + "}" * 60,
)
"""Texts that unfold, hold themselves or would call something."""
TINY: tuple[str, ...] = (
    "--set",
    "train.max_steps=1",
    "--set",
    "train.batch_size=2",
    "--set",
    "model.width=8",
    "--set",
    "model.layers=1",
)
TINY += ("--set", "train.validation_examples=2", "--set", "train.test_examples=2", "--set", "model.heads=2")
EXPERIMENT_COMMANDS = (
    ("sweep", "x.yaml", "--dry-run"),
    ("sweep", "./x.yaml", "--dry-run", "--preset", "smoke"),
    ("sweep", "x.yaml", "--dry-run", "--json"),
    ("show", "x.yaml"),
    ("sweep", "x.yaml", "--executor", "inline", "--device", "cpu", "--quiet", "--seeds", "1", *TINY),
)
LADDER_COMMANDS = (
    ("sample", "x.yaml", "--sequences", "2"),
    ("show", "./x.yaml"),
    ("generate", "x.yaml", "--sequences", "4", "--out", "out.jsonl", "--quiet"),
    ("train", "--task", "x.yaml", "--device", "cpu", "--quiet", *TINY),
    ("sweep", "--task", "x.yaml", "--attn", "softmax", "--dry-run"),
)


@cache
def experiments() -> tuple[str, ...]:
    """Experiments to begin with: one that has every key, and those that ship."""
    shipped = [
        (resources.folder("experiments") / f"{name}.yaml").read_text() for name in ("quickstart", "gpam-collapse")
    ]
    return (EXPERIMENT, EXPERIMENT, *shipped)


@st.composite
def damaged_yaml(draw: st.DrawFn, text: str) -> bytes:
    """Draw a YAML file like another one.

    Args:
        draw: Draws from a strategy.
        text: The other one.

    Returns:
        The bytes of the file.
    """
    kind = draw(st.sampled_from(["data", "data", "data", "text", "text", "bytes", "bomb"]))
    if kind == "bytes":
        return draw(damaged_bytes(text.encode()))
    if kind == "text":
        return draw(damaged_text(text)).encode(errors="surrogateescape")
    if kind == "bomb":
        return (draw(st.sampled_from(BOMBS)) + draw(st.sampled_from(["", text]))).encode()
    data = draw(damaged_data(json.loads(json.dumps(yaml.safe_load(text)))))
    if draw(st.booleans()):
        return as_json(data)
    try:
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode(errors="surrogatepass")
    except ValueError:  # an integer of more digits than Python writes
        return as_json(str(data)[:50])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a command that reads a YAML file.

    Args:
        draw: Draws from a strategy.

    Returns:
        The case.
    """
    if draw(st.integers(0, 2)):
        words, text = draw(st.sampled_from(EXPERIMENT_COMMANDS)), draw(st.sampled_from(experiments()))
    else:
        words, text = draw(st.sampled_from(LADDER_COMMANDS)), LADDER
    content = draw(damaged_yaml(text))
    name = "x.yaml" if draw(st.integers(0, 9)) else draw(path(("x.yaml",)).filter(lambda one: len(one) < 200))
    if name != "x.yaml" and not _is_file_name(name):
        name = "x.yaml"
    words = tuple(word.replace("x.yaml", name) for word in words)
    return Case(words, {name: content})


def _is_file_name(name: str) -> bool:
    """Whether a file can have the name, and is read as a file."""
    parts = name.split("/")
    return not any(one in ("", ".", "..") or "\0" in one or "\udcff" in one for one in parts) and not name.startswith(
        "-"
    )
