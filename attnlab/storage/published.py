"""The published records of the built-in experiments, from which every table is rebuilt without a run.

experiments/published/NAME.jsonl.gz     see :mod:`attnlab.storage.published_file`
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from attnlab import resources
from attnlab.config.experiment import Experiment, experiment
from attnlab.errors import StoreError, StoreWarning, UnknownNameError, unknown
from attnlab.storage.json_files import read_bounded
from attnlab.storage.published_file import Published, decoded
from attnlab.user_code import user_stacklevel

NOT_COMPARED = ("presets", "expected_steps", "notes")
"""Fields of an experiment that change neither its runs nor its report."""


def read_published(name: str) -> Published:
    """Read the published records of a built-in experiment.

    Args:
        name: The experiment.

    Returns:
        The experiment as it was run, and its records.

    Raises:
        UnknownNameError: There is no such experiment, or its records are not published.
        StoreError: The file is damaged, or a newer attnlab wrote it.

    Warns:
        StoreWarning: The experiment has been changed since; the message names its fields.
    """
    path = resources.published_path(name)
    if not path.is_file():
        raise _not_published(name)
    found = decoded(_read(path), str(path))
    if changed := _changed_since(found.experiment):
        text = f"{found.header.name}: published for another version of the experiment: {', '.join(changed)}."
        warnings.warn(text, StoreWarning, stacklevel=user_stacklevel())
    return found


def changed_fields(before: Experiment, after: Experiment) -> list[str]:
    """List the fields in which two experiments differ, of those that change their runs or their report.

    Args:
        before: One.
        after: The other.

    Returns:
        The names of the fields.
    """
    first, second = (one.model_dump(mode="json", exclude={*NOT_COMPARED}) for one in (before, after))
    return [name for name, value in first.items() if value != second[name]]


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"It cannot be read: {error}.", where=str(path)) from None


def _not_published(name: str) -> UnknownNameError:
    """The error for an experiment without published records."""
    names, where = resources.published_names(), "--published"
    if not resources.holds("experiments", name):
        return unknown("experiment with published records", name, names, where=where)
    hint = f"Run it: attnlab sweep {name}" + (f"\nPublished: {', '.join(names)}." if names else "")
    return UnknownNameError(f"The records of '{name}' are not published.", hint, where=where)


def _changed_since(published: Experiment) -> Sequence[str]:
    """The fields in which an experiment differs by now from what was run; all of it where it is gone."""
    try:
        now = experiment(published.name)
    except UnknownNameError:
        return ["it is no longer built in"]
    return changed_fields(published, now)
