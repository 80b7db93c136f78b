"""Options by another name: those of attnlab 0.1, and what the pages call a setting.

The old ones are accepted for one more release, each with one line that names the new option.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PLUGIN = {"--with": "--plugin"}
VMAP = {"--lanes": "--vmap"}
RENAMED: Mapping[str, Mapping[str, str]] = {
    "train": {**PLUGIN, **VMAP},
    "sweep": {**PLUGIN, **VMAP, "--vary": "--grid", "--scale": "--preset"},
    "interference": PLUGIN,
    "diagnose": {
        **PLUGIN,
        "--batch": "--sequences",
        "--map": "--attention-map",
        "--gain": "--branch-gain",
        "--skip": "--residual",
        "--no-skip": "--no-residual",
    },
    "evaluate": {**PLUGIN, "--as": "--extrapolation"},
    "report": {**PLUGIN, "--page": "--html", "--chart": "--plot", "--value": "--metric", "--rows": "--index"},
    "ls": PLUGIN,
    "show": PLUGIN,
    "sample": {**PLUGIN, "--rows": "--sequences"},
    "generate": {**PLUGIN, "--n": "--sequences", "--stream": "--split"},
    "check": PLUGIN,
    "audit": {**PLUGIN, "--samples": "--sequences"},
}
"""Command -> old option -> new option."""

LEVELS: Mapping[str, str] = {"--level": "--complexity", "--levels": "--complexity"}
"""What complexity is called in YAML, in Python and in every table -> the option."""
WITH_LEVELS = frozenset({"audit", "diagnose", "evaluate", "generate", "sample", "sweep", "train"})
"""Commands that have that option."""


def renamed_options(command: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Replace the old options of a command.

    Args:
        command: Its name.
        words: The words after it.

    Returns:
        The words with new options, and one sentence for each option that was replaced.
    """
    names = RENAMED.get(command, {})
    result: list[str] = []
    notes: list[str] = []
    for index, word in enumerate(words):
        if word == "--":
            result += words[index:]
            break
        option, equals, value = word.partition("=")
        if option in LEVELS and command in WITH_LEVELS:
            word = f"{LEVELS[option]}{equals}{value}"
        if option in names:
            notes.append(f"{option} is now called {names[option]}.")
            word = f"{names[option]}{equals}{value}"
        result.append(word)
    return result, list(dict.fromkeys(notes))
