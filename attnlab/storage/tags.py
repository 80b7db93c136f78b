"""Tags of runs: words that a user gives them, kept beside the records and no part of a run's id."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from attnlab.errors import InvalidValueError, StoreError
from attnlab.storage.files import writable, write_whole
from attnlab.storage.json_files import read_json

FILE = "tags.json"
TAG = re.compile(r"\w[\w.+-]*")
Tags = dict[str, tuple[str, ...]]
"""Id of a run -> its tags, in alphabetical order."""


def read_tags(store: Path) -> Tags:
    """Read the tags of a store.

    Args:
        store: The store.

    Returns:
        The tags; runs without tags are left out.

    Raises:
        StoreError: The file is damaged.
    """
    path = store / FILE
    try:
        return {run: _words(words) for run, words in read_json(path).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError):
        raise StoreError("These are no tags of attnlab.", "Move the file away to go on.", where=str(path)) from None


def change_tags(store: Path, *, add: Mapping[str, Sequence[str]], remove: Mapping[str, Collection[str]]) -> Tags:
    """Add tags to runs and remove others.

    Args:
        store: The store.
        add: Id of a run -> its new tags.
        remove: Id of a run -> the tags that it loses; those that it does not have are ignored.

    Returns:
        All tags of the store afterwards.

    Raises:
        InvalidValueError: A word is no tag; nothing was written.
        StoreError: The file is damaged or cannot be written.
    """
    from filelock import FileLock

    for words in add.values():
        for word in words:
            check_tag(word)
    with writable(store / FILE), FileLock(store / "tags.lock"):
        tags = {run: set(words) for run, words in read_tags(store).items()}
        for run in {*add, *remove}:
            tags[run] = (tags.get(run, set()) | set(add.get(run, ()))) - set(remove.get(run, ()))
        result: Tags = {run: tuple(sorted(words)) for run, words in sorted(tags.items()) if words}
        write_whole(store / FILE, json.dumps(result, indent=1, ensure_ascii=False).encode() + b"\n")
    return result


def _words(words: Any) -> tuple[str, ...]:
    """Read the tags of a run."""
    if not (isinstance(words, list) and all(isinstance(word, str) and TAG.fullmatch(word) for word in words)):
        raise ValueError("tags are lists of words")
    return tuple(words)


def check_tag(word: str) -> None:
    """Refuse a word that cannot be written in a filter.

    Args:
        word: The tag.

    Raises:
        InvalidValueError: It has other characters than letters, digits and ``_ . + -``, or begins with a sign.
    """
    if not TAG.fullmatch(word):
        hint = "Use letters, digits and _ . + -; begin with a letter or a digit."
        raise InvalidValueError(f"'{word}' is no tag.", hint, where="tag")
