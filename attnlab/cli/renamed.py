"""Options of attnlab 0.1: accepted for one more release, each with one line that has the new name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EVERYWHERE = {"--with": "--plugin", "--lanes": "--vmap"}
BY_COMMAND: Mapping[str, Mapping[str, str]] = {
    "sweep": {"--vary": "--grid", "--scale": "--preset", "--narrow": "--ci-width"},
    "report": {"--page": "--html", "--chart": "--plot", "--value": "--metric", "--rows": "--index"},
    "diagnose": {
        "--map": "--attention-map",
        "--gain": "--branch-gain",
        "--skip": "--residual",
        "--no-skip": "--no-residual",
    },
    "evaluate": {"--as": "--extrapolation"},
    "generate": {"--stream": "--split"},
}


def renamed_options(command: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Replace the old options of a command.

    Args:
        command: Its name.
        words: The words after it.

    Returns:
        The words with new options, and one sentence for each option that was replaced.
    """
    names = {**EVERYWHERE, **BY_COMMAND.get(command, {})}
    result: list[str] = []
    notes: list[str] = []
    for index, word in enumerate(words):
        if word == "--":
            result += words[index:]
            break
        option, equals, value = word.partition("=")
        if option in names:
            notes.append(f"{option} is now called {names[option]}.")
            word = f"{names[option]}{equals}{value}"
        result.append(word)
    return result, list(dict.fromkeys(notes))
