"""Where the runs of a store come from: the command of its latest sweep, and the file of the experiment at that time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from attnlab.storage.files import write_whole
from attnlab.storage.json_files import read_json

NAME = "provenance.json"


@dataclass(frozen=True)
class Provenance:
    """How the runs of a store were made; empty where it is not known."""

    command: str = ""
    """The command line of the latest sweep, or its call in Python."""
    file: str = ""
    """The file of the experiment, as the user named it."""
    yaml: str = ""
    """The content of that file."""


def write_provenance(store: Path, provenance: Provenance) -> None:
    """Write where the runs of a store come from.

    Args:
        store: The store.
        provenance: The command and the file.

    Raises:
        StoreError: The file cannot be written.
    """
    write_whole(store / NAME, json.dumps(asdict(provenance), indent=1).encode() + b"\n")


def read_provenance(store: Path) -> Provenance:
    """Read where the runs of a store come from.

    Args:
        store: The store.

    Returns:
        What is known: nothing of a store of an older attnlab, or of one whose file is damaged.
    """
    try:
        data = read_json(store / NAME)
        known = {name: data[name] for name in ("command", "file", "yaml") if isinstance(data.get(name), str)}
    except (OSError, ValueError, AttributeError):
        return Provenance()
    return Provenance(**known)
