"""``attnlab track``: a finished store in a tracker; and what ``--track`` does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import completion
from attnlab.cli.messages import tell
from attnlab.cli.options import tracker_names

if TYPE_CHECKING:
    from attnlab.training.events import Event


def track(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder of results.")],
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            metavar="TRACKER",
            help="The tracker, such as [b]tensorboard[/b]; may be repeated.",
            autocompletion=completion.trackers,
        ),
    ],
) -> None:
    """Write the finished runs of a store to a tracker: config, validations, diagnostics and results."""
    names = tracker_names(to, "--to")

    from attnlab.errors import StoreError
    from attnlab.storage import Store
    from attnlab.tracking.replay import group_of, replay

    if not store.is_dir():
        raise StoreError("There is no such folder.", "Give a folder of results: attnlab ls results", where=str(store))
    records = Store(store).records()
    if not records:
        raise StoreError("It has no finished runs.", "Give a folder of results: attnlab ls results", where=str(store))
    for name in names:
        done = replay(records, name, store, group_of(store))
        noun = "1 run" if done.written == 1 else f"{done.written} runs"
        there = f"; {done.there} {'was' if done.there == 1 else 'were'} there already" if done.there else ""
        sys.stdout.write(f"{name}: {noun} written{there}.\n")


@contextmanager
def tracked(
    display: Callable[[Event], None] | None, trackers: tuple[str, ...], store: Path, group: str = ""
) -> Iterator[Callable[[Event], None]]:
    """Pass training events on to a display and to trackers.

    Args:
        display: Shows the events, and what is said of a tracker; None shows nothing, and messages about trackers go to
            the standard error.
        trackers: Names in the registry; none costs no import.
        store: The folder of results.
        group: What the runs belong to; empty for single runs.

    Yields:
        The callback that receives the events.
    """
    from attnlab.training.events import Notice, no_callback

    show = display or no_callback
    if not trackers:
        yield show
        return
    from attnlab.tracking.mirror import mirrored

    with mirrored(show, trackers, store, group, tell if display is None else lambda text: show(Notice(text))) as events:
        yield events
