"""What ``attnlab report`` reads: a store, or the published records of a built-in experiment."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnlab.config.experiment import Experiment
    from attnlab.records import Record
    from attnlab.storage.provenance import Provenance


@dataclass(frozen=True)
class Reported:
    """Records with the experiment that they were made for."""

    experiment: Experiment | None
    """None where a store was not made by a sweep."""
    provenance: Callable[[], Provenance]
    """Reads where the runs come from."""
    records: Callable[[bool], list[Record]]
    """Reads the records: with their whole histories, or with the last points of these alone."""
    folder: Path | None
    """The store; None for published records, of which no weights are kept."""
    about: str = ""
    """The command, the versions and the machine, where these are the same for all records."""


def stored(word: Path) -> Reported:
    """Find a store.

    Args:
        word: A folder, the name of one in ``results/``, or a folder with only one store in it.

    Returns:
        What is reported.

    Raises:
        InvalidValueError: There is no store, or there are several.
        StoreError: It has a newer format.
        InvalidFileError: It holds no experiment where it should.
    """
    from attnlab.analysis.records import records
    from attnlab.config.experiment import stored_experiment
    from attnlab.storage.provenance import read_provenance

    folder = _find_store(word)
    return Reported(
        stored_experiment(folder),
        lambda: read_provenance(folder),
        lambda history: records(folder, history=history),
        folder,
    )


def published(word: Path) -> Reported:
    """Find the published records of a built-in experiment.

    Args:
        word: Its name.

    Returns:
        What is reported.

    Raises:
        UnknownNameError: There is no such experiment, or its records are not published.
        StoreError: The file is damaged, or a newer attnlab wrote it.
    """
    from attnlab.storage.published import read_published

    found = read_published(str(word))
    about = f"{found.header.command}, {found.about}"
    return Reported(found.experiment, lambda: found.provenance, lambda _: list(found.records), None, about)


def no_runs(folder: Path) -> str:
    """Tell why a store has no run to report.

    Args:
        folder: The store.

    Returns:
        One line.
    """
    from attnlab.formatting import printable

    journal = folder / "records.jsonl"
    name = printable(str(journal))
    if (folder / "plan.jsonl").exists() and journal.exists() and not journal.stat().st_size:
        where = printable(shlex.quote(str(folder)))
        return f"{name} is empty: no run has finished yet. What runs and waits: attnlab ls results --store {where}"
    return f"{name}: no run can be read from it."


def _find_store(word: Path) -> Path:
    """The store that is named: that folder, one of that name in ``results/``, or the only one below that folder.

    Raises:
        InvalidValueError: There is no store, or there are several.
    """
    from attnlab import resources
    from attnlab.errors import InvalidValueError
    from attnlab.storage import Store
    from attnlab.storage.status import find_stores

    in_results = Path("results") / word
    folder = in_results if len(word.parts) == 1 and not word.exists() and in_results.is_dir() else word
    Store(folder)  # checks the format
    if (folder / "records.jsonl").exists():
        return folder
    stores = find_stores(folder)
    if len(stores) == 1:
        return stores[0]
    if stores:
        commands = "\n".join(f"attnlab report {path}" for path in stores)
        raise InvalidValueError("There are several stores here.", f"Name one:\n{commands}", where=f"{folder}/")
    hint = "Try: attnlab sweep --task recall --attn softmax,expressive --seeds 3"
    if str(word) in resources.published_names():
        hint = f"Run it: attnlab sweep {word}\nThe published records: attnlab report {word} --published"
    raise InvalidValueError("There are no results here yet.", hint, where=f"{folder}/")
