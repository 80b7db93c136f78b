"""Files of a store: whole or not at all, with the error of a store that cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnlab import files
from attnlab.errors import AttnlabError, StoreError

HINT = "Choose another folder with --store."


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of a store, see :func:`attnlab.files.write_whole`.

    A link is replaced and never followed: a store may come from somebody else, and point to any file.

    Args:
        path: The file; its folder is made where it is missing.
        content: The new content.

    Raises:
        StoreError: It cannot be written; it is unchanged.
    """
    with writable(path):
        files.write_whole(path, content)


@contextmanager
def writable(path: Path, hint: str = HINT) -> Iterator[None]:
    """Turn an error of the system within this context into that of a store.

    Args:
        path: What is written.
        hint: What to do next; a full disk has a hint of its own.

    Yields:
        Nothing.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(error, path, hint) from None


def unwritable(error: OSError, path: Path, hint: str = HINT) -> AttnlabError:
    """Make the error of a store that cannot be written.

    Args:
        error: What the system said.
        path: What was to be written.
        hint: What to do next; a full disk has a hint of its own.

    Returns:
        The error, to be raised.
    """
    return files.unwritable(error, path, StoreError, hint)
