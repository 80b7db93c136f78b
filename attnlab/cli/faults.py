"""Faults of the surroundings -> one block: files and devices that refuse, no memory, words that are no text."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from itertools import pairwise

from attnlab.errors import AttnlabError, InvalidFileError, InvalidValueError, clipped

STORE = "--store"
LONGEST_NAME = "A name has at most 255 bytes, and a path 4,095."


class OutputError(AttnlabError):
    """The output of the command cannot be written."""

    status = 1


def check_words(words: Sequence[str]) -> None:
    """Refuse words of a command that are no text, as their bytes are not UTF-8, and folders without a name.

    Args:
        words: The words as Python decodes them.

    Raises:
        InvalidValueError: One is.
    """
    for option, value in pairwise([*words, "-"]):
        if option == f"{STORE}=" or (option == STORE and not value):
            hint = "Name a folder, such as results; a shell variable that is not set leaves nothing."
            raise InvalidValueError("It is empty.", hint, where=STORE)
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = clipped(repr(os.fsencode(word))[1:])
            hint = "Write it in UTF-8; rename a file or folder whose name is not."
            raise InvalidValueError(f"These bytes are not UTF-8: {shown}.", hint, where="arguments") from None


def system_error(error: OSError) -> AttnlabError | None:
    """Tell what a file or device refused.

    Args:
        error: The error of the system.

    Returns:
        The block; None where the error is about no file and no output.
    """
    reason = error.strerror or type(error).__name__
    if error.filename is not None:
        hint = LONGEST_NAME if error.errno == errno.ENAMETOOLONG else "Give another file or folder, or change this one."
        return InvalidFileError(f"It cannot be used: {reason}.", hint, where=os.fsdecode(error.filename))
    if error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EBADF):
        return OutputError(f"The output cannot be written: {reason}.", where="")
    return None


def memory_error(error: Exception) -> InvalidValueError | None:
    """Tell that memory ran out.

    Args:
        error: The error of Python, numpy or torch.

    Returns:
        The block; None for an error of another kind.
    """
    if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
        return None
    from attnlab.sizes import available_memory, bytes_text

    said = clipped(str(error).splitlines()[0]) if str(error) else "the system gave no size"
    problem = f"Memory ran out: {said}. {bytes_text(available_memory())} are available."
    return InvalidValueError(problem, "Use smaller sizes: sequences, batch, length, width or layers.", where="memory")
