"""Strategies for the words of every command: valid words, and mutations of them that follow the grammar or break it.

A command is a list of words for ``attnlab``. Sizes are tiny or absurd, so that what is accepted is quick and what is
too large is refused. Paths stay within the current folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hypothesis import strategies as st

Strings = st.SearchStrategy[str]

NUMBERS = (
    *("0", "-1", "1", "2", "3", "+2", "007", "1.0", "2.5", "-0.0", ".5", "5.", "1e3", "1e-3", "1e400", "-1e400"),
    *("inf", "-inf", ".inf", "nan", ".nan", "NaN", "1_0", "1,0", "0x10", "0o7", "0b1", "²", "٣", "３", "1 2", " 2 "),
    *("2147483648", "9223372036854775807", "9223372036854775808", "1000000000000", "99999999999999999999"),
    *("9" * 400, "9" * 5000, "-9223372036854775809", "1e18", "1..2", "2..1", "1..9999999999999", "null", "true"),
)
PIECES = (
    *("", " ", ",", ":", "=", "+", "*", ";", ".", "/", "..", "-", "--", "~", "!", "#", "@", "%", "&", "|", "<", ">"),
    *("[", "]", "{", "}", "(", ")", "'", '"', "`", "\\", "[[", "]]", "[]", "{}", "[1,2]", "{a: 1}", "&a [*a]", "*a"),
    *("!!python/object:x", "? ", "- ", "\t", "\n", "\r", "\x1b[2J", "\x07", "\x7f", "\u202e", "\ufeff", "\u200b", "é"),
    *("漢", "🙂", "\udcff", "\U0010ffff", "a" * 300, "é" * 200, "[" * 200, "{a: " * 100, "None", "true", "null", "\0"),
)
TASKS = (
    *("recall", "copy", "recall:pairs=2,length=16,vocabulary=16", "copy:symbols=2,alphabet=3", "parity", "mqar"),
    *("delay:lags=[1,2]", "mixture:tasks=[recall,copy]", "sort", "dyck:depth=2", "regular:states=2", "file:path=x.txt"),
    *("induction", "needle:haystack=4", "memorization:pairs=4", "ngram:order=2", "lookup", "histogram", "counting"),
)
ATTENTIONS = (
    *("softmax", "dape:kernel=3", "softmax,gpam", "softmax+delta", "softmax*2", "linear", "window:size=4", "mamba2"),
    *("grouped:groups=[[0],[1]]", "sparse:window=2", "differential", "x.py:Class", "package.module:Class:a=1"),
)
POSITIONS = ("rotary", "alibi", "none", "learned", "t5:buckets=4", "rotary+none", "fire", "sinusoidal", "fourier")
LEVELS = ("1", "2", "2,4", "[4]", "{a: 1}", "hard", "1..4", "")
SETTINGS = (
    *(
        "train.lr=0.001",
        "model.norm=post",
        "model.width=8",
        "task.symbols=2",
        "train.betas=[0.9,0.98]",
        "model.heads=2",
    ),
    *("model.mlp_ratio=0", "train.max_steps=1", "train.log_diagnostics=[rank]", "model.modifiers.short_conv=2"),
    *("train.train_examples=4", "model.attention=softmax", "model.position=rotary", "model.heads=2", "seed=1"),
    "model.mlp=swiglu",
    *("train.grad_clip=null", "train.precision=auto", "model.init_scale=0.1", "model.norm_layer=rmsnorm"),
)
LISTS = ("tasks", "attentions", "results")
GRIDS = ("lr=1e-3,3e-3", "width=8,16", "attention=softmax,delta", "model.modifiers.gate=none,head", "weight_decay=0")
NAMES = (
    "results",
    "x",
    "quickstart",
    "a.yaml",
    "norm:none",
    "metric:mass",
    "run:3f2a",
    "3f2a",
    "experiment:x",
    "softmax",
)
WHERE = ("width>32 and accuracy>=90%", "not tag~x", "lr=1e-3", "(width=8", "status=done or level<4", "seed=")
PATHS = ("x", "out.npz", "out.jsonl", "out.txt", "out.html", "out.csv", "dir/out.npz", "a.yaml")
WORDS = (
    "rank",
    "gradients",
    "attention",
    "mass",
    "rank,entropy",
    "1.1",
    "0.0",
    "64,128",
    "auto",
    "processes:2",
    "inline",
)


@st.composite
def mutated(draw: st.DrawFn, valid: tuple[str, ...]) -> str:
    """Draw a valid word, or one with some numbers, separators, brackets or characters changed.

    Args:
        draw: Draws from a strategy.
        valid: Words to begin with.

    Returns:
        The word.
    """
    word = draw(st.sampled_from(valid))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        place = draw(st.integers(0, len(word)))
        kind = draw(st.sampled_from(["number", "number", "number", "insert", "delete", "double", "replace", "splice"]))
        piece = draw(st.sampled_from(NUMBERS if kind == "number" else PIECES))
        numbers = list(re.finditer(r"\d+", word))
        if kind == "number" and numbers:
            found = numbers[draw(st.integers(0, len(numbers) - 1))]
            word = word[: found.start()] + piece + word[found.end() :]
        elif kind in ("insert", "number"):
            word = word[:place] + piece + word[place:]
        elif kind == "delete":
            word = word[:place] + word[place + 1 :]
        elif kind == "double":
            word = word + "," + word
        elif kind == "replace":
            word = word[:place] + piece + word[place + len(piece) :]
        else:
            word = word[:place] + draw(st.sampled_from(valid))
    return word


def path(valid: tuple[str, ...] = PATHS) -> Strings:
    """Draw the path of a file or folder, within the current one.

    Args:
        valid: Paths to begin with.

    Returns:
        The strategy.
    """
    return mutated(valid).map(lambda word: re.sub(r"^[/~.-]+|\.\./", "", word) or "x")


RUN = "THE-RUN"
"""Stands for the id of a finished run."""
NUMBER, LEVEL, SETTING = mutated(("1", "2")), mutated(LEVELS), mutated(SETTINGS)
TASK, ATTENTION, POSITION = mutated(TASKS), mutated(ATTENTIONS), mutated(POSITIONS)
NAME, WORD = mutated(NAMES), mutated(WORDS)
RUN_NAME = mutated((RUN, RUN, RUN, "3f2a"))
SIZES: Mapping[str, Strings] = dict.fromkeys(("--layers", "--width", "--heads", "--steps", "--batch"), NUMBER)
TRAINED = {**SIZES, "--lr": NUMBER, "--attn": ATTENTION, "--pos": POSITION, "--set": SETTING, "--watch": WORD}
TRAINED |= {
    "--task": TASK,
    "--complexity": LEVEL,
    "--seeds": NUMBER,
    "--vmap": mutated(("auto", "2")),
    "--model": ATTENTION,
}
TRAINED |= {
    "--match": mutated(("parameters", "flops")),
    "--device": mutated(("cpu", "auto")),
    "--plugin": path(("x.py",)),
}
TRAINED |= {"--store": path(), "--model": ATTENTION}
TINY = ("--set", "train.validation_examples=2", "--set", "train.test_examples=2", "--quiet")
SMALL = ("--width", "8", "--layers", "1", "--heads", "2", "--steps", "1", "--batch", "2")
COMMANDS: Mapping[tuple[str, ...], tuple[Strings | None, Mapping[str, Strings]]] = {
    ("train", *TINY, *SMALL): (None, {**TRAINED, "--seed": NUMBER, "--threads": NUMBER, "--continue-from": NAME}),
    ("sweep", *SMALL): (None, {**TRAINED, "--grid": mutated(GRIDS), "--executor": WORD, "--ci-width": NUMBER}),
    ("sweep", "--dry-run"): (NAME, {"--preset": WORD, "--seeds": NUMBER, "--set": SETTING, "--executor": WORD}),
    ("sample",): (TASK, {"--complexity": LEVEL, "--sequences": NUMBER, "--seed": NUMBER, "--set": SETTING}),
    ("generate", "--quiet"): (
        TASK,
        {"--complexity": LEVEL, "--sequences": NUMBER, "--out": path(), "--set": SETTING, "--split": WORD},
    ),
    ("ls",): (
        mutated(("tasks", "attentions", "results")),
        {"--where": mutated(WHERE), "--sort": WORD, "--best": NUMBER},
    ),
    ("show",): (NAME | RUN_NAME, {"--plot": path(), "--store": path()}),
    ("report",): (path(("results", "x")), {"--by": WORD, "--csv": path(), "--where": mutated(WHERE)}),
    ("compare",): (NAME | RUN_NAME, {"--store": path()}),
    ("evaluate", "--quiet"): (
        RUN_NAME,
        {"--length": NUMBER | WORD, "--complexity": LEVEL | NUMBER, "--sequences": NUMBER, "--extrapolation": WORD},
    ),
    ("cp",): (NAME, {}),
    ("schema",): (NAME, {}),
    ("tag",): (NAME | RUN_NAME, {"--store": path()}),
    ("diagnose", "rank-collapse", "--layers", "1", "--seeds", "1", "--width", "8", "--heads", "2"): (
        None,
        {
            **{name: TRAINED[name] for name in ("--attn", "--pos", "--task", "--complexity", "--layers", "--width")},
            "--length": NUMBER,
            "--sequences": NUMBER,
            "--seeds": NUMBER,
            "--run": RUN_NAME,
            "--only": WORD,
            "--set": SETTING,
            "--branch-gain": NUMBER,
            "--attention-map": WORD,
            "--csv": path(),
        },
    ),
}
"""Words to begin with -> the argument, if there is one, and the options."""


@st.composite
def commands(draw: st.DrawFn) -> list[str]:
    """Draw the words of a command.

    Args:
        draw: Draws from a strategy.

    Returns:
        The words after ``attnlab``.
    """
    first = draw(st.sampled_from(sorted(COMMANDS)))
    argument, options = COMMANDS[first]
    words = list(first)
    if argument is not None:
        words.append(draw(argument))
    names = draw(st.lists(st.sampled_from(sorted(options)), max_size=3)) if options else []
    if first[0] == "generate" and "--out" not in names:
        names.append("--out")
    for name in names:
        words += [name, draw(options[name])]
    return words
