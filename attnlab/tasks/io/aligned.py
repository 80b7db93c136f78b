"""Aligned text: two lines for each sequence, tokens above targets, for people to read and for ``file:`` to read back.

    inputs  k3 v1 k4 v2 k3 v1
    targets  .  .  .  . v1  .

A token is written as the task writes it, where nothing is asked stands a dot; if a token is written so itself, as many
dots as no token is. The sidecar tells which token a word is; without one the words are numbers.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attnlab.errors import InvalidFileError, InvalidValueError

FORM = "Accepted: lines 'inputs  3 1 4' and 'targets . . 2' in turn, a dot where nothing is asked."
LABELS = ("inputs", "targets")


def dots(words: Sequence[str]) -> str:
    """Choose what stands where nothing is asked.

    >>> dots(["a", "b"]), dots(["a", ".", ".."])
    ('.', '...')

    Args:
        words: Each token as text.

    Returns:
        As few dots as no token is written with.
    """
    return next("." * count for count in range(1, len(words) + 2) if "." * count not in words)


def check_words(words: Sequence[str], where: str) -> None:
    """Refuse tokens that cannot be told apart once they are written.

    Args:
        words: Each token as text.
        where: The location, for the error.

    Raises:
        InvalidValueError: A token is written as nothing, with a space, or as another one.
    """
    word, count = Counter(words).most_common(1)[0]
    if count == 1:
        word = next((word for word in words if not word or word.split() != [word]), "")
        if not word and "" not in words:
            return
        problem = f"The token {words.index(word)} is written {word!r}, which is no word."
    else:
        first, second = [token for token, text in enumerate(words) if text == word][:2]
        problem = f"The tokens {first} and {second} are both written '{word}'."
    raise InvalidValueError(problem, "Text could not be read back; write .jsonl, .npz or .parquet.", where=where)


def aligned_records(path: Path, words: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Read the sequences of a file.

    Args:
        path: The file.
        words: Each token as text; empty if the words are numbers.

    Yields:
        Inputs and targets, and the location of the sequence.

    Raises:
        InvalidFileError: A line is not as it should be; the error names the first.
    """
    tokens = {word: token for token, word in enumerate(words)}
    empty = dots(words)
    waiting: list[list[int | None]] = []
    where = ""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                label, *texts = line.split() or [""]
                if not label:
                    continue
                place, expected = f"{path}:{number}", LABELS[len(waiting)]
                if label != expected or not texts:
                    found = f"begins with '{label:.20}'" if label != expected else "has no tokens"
                    raise InvalidFileError(f"A line of {expected} is due; this one {found}.", FORM, where=place)
                where = where if waiting else place
                waiting.append([_token(text, tokens, empty, expected, place) for text in texts])
                if len(waiting) == 2:
                    yield dict(zip(LABELS, waiting, strict=True)), where
                    waiting = []
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFileError(f"This is not text in UTF-8: {error}.", FORM, where=str(path)) from None
    if waiting:
        raise InvalidFileError("The targets of these inputs are missing.", FORM, where=where)


def _token(text: str, tokens: dict[str, int], empty: str, label: str, where: str) -> int | None:
    """The token of a word; None for a target that is not asked."""
    if text == empty and label == "targets":
        return None
    if text in tokens:
        return tokens[text]
    if not tokens and text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    close = difflib.get_close_matches(text, tokens, n=1)
    hint = (
        f"The sidecar knows {len(tokens)} words{f'; did you mean {close[0]!r}?' if close else '.'}" if tokens else FORM
    )
    raise InvalidFileError(f"{text!r:.40} is no token.", hint, where=where)
