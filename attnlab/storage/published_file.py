"""The file of the published records of an experiment: a header, then one line for each record, compressed.

The lines are those of a journal (:mod:`attnlab.storage.journal`). The header has the command, the versions, the machine
and the experiment as it was run, and a digest over everything else in the file. It is compressed with gzip, which every
Python reads; zstd would need a package that a plain installation does not have.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from pydantic import ConfigDict, ValidationError

from attnlab.config.experiment import Experiment, parse_experiment
from attnlab.errors import StoreError
from attnlab.formatting import duration
from attnlab.records import Record
from attnlab.specs import Value
from attnlab.storage.provenance import Provenance

FORMAT = 1
"""Version of the layout of the file."""
MAX_BYTES = 2**27
"""Bytes of the uncompressed file at most."""
MACHINE = ("attnlab", "python", "torch", "numpy", "numba", "system", "device", "processor", "cores", "threads")
"""What is published of the environment of the runs, and is the same for all of them."""
OF_A_RUN = ("vmap", "compiled", "seconds", "ended")
"""What is published of the environment of each run besides. Nothing else is: no names of hosts, users or folders."""


class Header(Value):
    """The first line of the file."""

    model_config = ConfigDict(extra="ignore")  # a newer attnlab may say more

    format: int
    name: str
    """The experiment."""
    command: str
    """The command that made the runs."""
    ended: str
    """When the last run ended, in UTC."""
    machine: dict[str, Any]
    """Versions and kind of machine; see :data:`MACHINE`."""
    runs: int
    """Number of records."""
    yaml: str
    """The file of the experiment as it was run."""
    yaml_sha256: str
    """The SHA-256 of that file."""
    sha256: str = ""
    """The SHA-256 of the header without this field and of all records, as they are written."""


@final
@dataclass(frozen=True)
class Published:
    """An experiment with its published records."""

    header: Header
    experiment: Experiment
    """The experiment as it was run."""
    records: tuple[Record, ...]
    """In the order of the plan."""

    @property
    def seconds(self) -> float:
        """Seconds that the runs took, added up."""
        return sum(float(record.environment.get("seconds", 0.0)) for record in self.records)

    @property
    def about(self) -> str:
        """The command, the day, the versions, the machine and the cost, in one line."""
        one = self.header.machine
        threads = one.get("threads")
        parts = [
            f"ended {self.header.ended[:10]}",
            *(f"{name} {one[name]}" for name in ("attnlab", "torch") if name in one),
            " ".join(str(one[name]) for name in ("device", "processor") if one.get(name)),
            "one thread for each run" if threads == 1 else f"{threads} threads for each run",
        ]
        runs = "1 run" if len(self.records) == 1 else f"{len(self.records)} runs"
        return f"{', '.join(parts)}; {runs}, {duration(self.seconds)} of computing"

    @property
    def provenance(self) -> Provenance:
        """The command and the file of the experiment, as a store has them."""
        return Provenance(self.header.command, f"experiments/{self.header.name}.yaml", self.header.yaml)


def encoded(published: Published) -> bytes:
    """Write published records as their file.

    Args:
        published: The experiment with its records; the digest and the number of records in the header are made anew.

    Returns:
        The content of the file; with one version of zlib it is the same for the same records.
    """
    lines = "".join(f"{record.model_dump_json()}\n" for record in published.records).encode()
    header = published.header.model_dump(mode="json") | {"runs": len(published.records)}
    first = json.dumps(header | {"sha256": _digest(header, lines)}, ensure_ascii=False)
    return gzip.compress(f"{first}\n".encode() + lines, mtime=0)


def decoded(content: bytes, where: str) -> Published:
    """Read published records from the content of their file.

    Args:
        content: The content, as :func:`encoded` gives it.
        where: What the file is called in messages.

    Returns:
        The experiment as it was run, and its records.

    Raises:
        StoreError: The content is damaged, or a newer attnlab wrote it.
    """
    first, _, lines = _uncompressed(content, where).partition(b"\n")
    header = _header(first, lines, where)
    try:
        records = tuple(Record.from_line(line) for line in lines.decode().split("\n")[:-1])
    except ValidationError as error:  # the digest is right, so that it was written so
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise StoreError(f"This attnlab does not know {field} of a record.", "Update attnlab.", where=where) from None
    return Published(header, parse_experiment(header.yaml, f"{header.name}.yaml"), records)


def published_environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Take what is published of the environment of a run.

    Args:
        environment: The environment of its record.

    Returns:
        Versions, kind of machine and times; no names of hosts, users or folders.
    """
    return {name: environment[name] for name in (*MACHINE, *OF_A_RUN) if name in environment}


def _uncompressed(content: bytes, where: str) -> bytes:
    """Uncompress a file, up to a bound of its size."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            found = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(str(error).rstrip("."), where) from None
    if len(found) > MAX_BYTES:
        raise _damaged(f"it has over {MAX_BYTES:,} bytes", where)
    return found


def _header(first: bytes, lines: bytes, where: str) -> Header:
    """Read the first line, and compare its digest with the content."""
    try:
        data = json.loads(first)
        if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > FORMAT:
            problem = f"These records have format {data['format']}; this attnlab reads up to {FORMAT}."
            raise StoreError(problem, "Update attnlab.", where=where)
        header = Header.model_validate(data)
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"])) or "its first line"
        raise _damaged(f"{field} is not as expected", where) from None
    except (ValueError, RecursionError):
        raise _damaged("its first line is no header", where) from None
    if header.sha256 != _digest(data, lines):
        raise _damaged("its content is not that of its digest", where)
    return header


def _digest(header: Mapping[str, Any], lines: bytes) -> str:
    """The digest over a header and its records."""
    rest = {name: value for name, value in header.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode() + b"\n" + lines).hexdigest()


def _damaged(reason: str, where: str) -> StoreError:
    hint = "Install attnlab anew, or take this file from its repository."
    return StoreError(f"The published records are damaged: {reason}.", hint, where=where)
