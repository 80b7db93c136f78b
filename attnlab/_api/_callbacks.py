"""What receives the events of a call: callbacks of the caller's own, and the progress in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attnlab.errors import InvalidValueError

if TYPE_CHECKING:
    from attnlab.training.events import Event

Callback = Callable[["Event"], object]
"""Receives every event of a training; what it returns is not used."""


class CallbackRaised(BaseException):
    """A callback raised an exception; no handler of what fails a run takes it for one of the run.

    Args:
        error: What the callback raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def read_callbacks(callbacks: object, name: str) -> list[Callback]:
    """Refuse what cannot be called, before anything runs.

    Args:
        callbacks: What was passed.
        name: Of the argument.

    Returns:
        The functions.

    Raises:
        InvalidValueError: It is no list, or one of it is no function.
    """
    if callable(callbacks):
        raise InvalidValueError("Callbacks are listed, and this is one function.", "Write [f].", where=name)
    if not isinstance(callbacks, Iterable):
        raise InvalidValueError(f"{callbacks!r} is no list of callbacks.", "Write [f].", where=name)
    listed = list(callbacks)
    for one in listed:
        if not callable(one) or isinstance(one, type):
            hint = "Give functions that take an event: lambda event: print(event)."
            raise InvalidValueError(f"{one!r} is no function of an event.", hint, where=name)
    return listed


@contextmanager
def events_of_call(
    first: Callback, callbacks: Sequence[Callback], *, shown: bool, total: int | None = None
) -> Iterator[Callable[[Event], None]]:
    """Pass events on to callbacks, and show the progress in a notebook.

    Args:
        first: Receives every event before the others.
        callbacks: The caller's own.
        shown: Whether the progress is shown in a notebook.
        total: Runs that are planned; None where that is not known.

    Yields:
        The callback that receives the events.

    Raises:
        Exception: What a callback raised, as it raised it.
    """
    from attnlab.rendering.notebook_progress import NotebookProgress, notebook_output

    output = notebook_output() if shown else None
    display = NotebookProgress(output, total) if output else None

    def progress(event: Event) -> None:
        first(event)
        if display:
            display(event)
        try:
            for one in callbacks:
                one(event)
        except Exception as error:
            raise CallbackRaised(error) from error

    try:
        yield progress
    except CallbackRaised as raised:
        raise raised.error from None
    finally:
        if display:
            display.update()
