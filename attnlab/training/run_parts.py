"""The registered parts of a run: whether they are those that its spec names, and the code of those not built in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attnlab.attention import ATTENTIONS
from attnlab.attention.named import known_attention
from attnlab.block import BLOCKS
from attnlab.errors import AttnlabError, InvalidValueError, UnknownNameError
from attnlab.mlp import MLPS
from attnlab.model.module import MODULE_NAMING, MODULES
from attnlab.norm import NORMS
from attnlab.part_code import code_now
from attnlab.position import POSITIONS
from attnlab.records import Record
from attnlab.registry import Entry, Registry
from attnlab.residual_stream import RESIDUAL_STREAMS
from attnlab.specs import Part, RunSpec
from attnlab.tasks.base import TASKS


class RunPart(NamedTuple):
    """A part of a run, as its spec names it and as it is registered."""

    kind: str
    name: str
    version: int | None
    code_digest: str
    entry: Entry[Any]

    @property
    def same_version(self) -> bool:
        """Whether it has the version that the spec names, if the spec names one."""
        return self.version is None or self.version == self.entry.version

    @property
    def same_code(self) -> bool:
        """Whether its code is that which the spec names, if the spec names one."""
        return not self.code_digest or self.code_digest == self.entry.code.digest


def run_parts(spec: RunSpec) -> Iterator[RunPart]:
    """List the parts of a run.

    Args:
        spec: The run.

    Yields:
        Its whole model, or its attentions, its positions and the parts of its blocks; its task, and the tasks of a
        mixture.

    Raises:
        UnknownNameError: A part is not registered.
    """
    model, task = spec.model, spec.task
    if model.module is not None:
        MODULE_NAMING.known(model.module.name)
        yield from _listed(MODULES, model.module)
    else:
        for part in model.attention:
            known_attention(part.name)
        yield from _listed(ATTENTIONS, *model.attention)
        yield from _listed(POSITIONS, *model.position.alternating)
        yield from _listed(NORMS, model.norm_layer)
        yield from _listed(MLPS, *model.mlp)
        yield from _listed(BLOCKS, model.block)
        yield from _listed(RESIDUAL_STREAMS, model.residual_stream)
    yield RunPart("task", task.name, task.version, task.code_digest, TASKS.entry(task.name))
    for subtask in task.options.get("tasks", ()) if task.name == "mixture" else ():
        if isinstance(subtask, Mapping):
            name, version, digest = subtask["task"], subtask.get("version"), subtask.get("code_digest", "")
            yield RunPart("task", name, version, digest, TASKS.entry(name))


def _listed(registry: Registry[Any], *parts: Part) -> Iterator[RunPart]:
    """Parts of one kind."""
    for part in parts:
        yield RunPart(registry.kind, part.name, part.version, part.code_digest, registry.entry(part.name))


def check_parts(spec: RunSpec) -> None:
    """Refuse parts of another version, or of other code, than a run's spec names.

    Args:
        spec: The run; a spec that names no version or no code is not compared.

    Raises:
        UnknownNameError: A part is not registered.
        InvalidValueError: A part has another version or other code.
    """
    for part in run_parts(spec):
        now = part.entry
        if not part.same_version:
            problem = f"It was trained with version {part.version} of '{part.name}'; this is version {now.version}."
            raise InvalidValueError(problem, "Train it again.")
        if not part.same_code:
            problem = f"It was trained with other code of the {part.kind} '{part.name}' than {now.code.place}."
            raise InvalidValueError(problem, "Restore the code, or train it again: with this code it is another run.")


def changed_parts(spec: RunSpec) -> list[RunPart]:
    """List the parts of a run that are registered with another version or other code than its spec names.

    Args:
        spec: The run.

    Returns:
        The parts.

    Raises:
        UnknownNameError: A part is not registered.
    """
    return [part for part in run_parts(spec) if not (part.same_version and part.same_code)]


def code_of_parts(spec: RunSpec) -> list[dict[str, Any]]:
    """Tell where the code of a run's own parts stands, for its record.

    Args:
        spec: The run.

    Returns:
        Kind, name, path, root and digest of each part that is not built in, the digest of each of its files, and the
        constants that the session has given other values; no part twice.
    """
    parts = {(part.kind, part.name): part.entry.code for part in run_parts(spec)}
    return [
        {"kind": kind, "name": name, "path": code.path, "root": code.root, "digest": code.digest}
        | ({"package": code.package} if code.package else {})
        | ({"files": dict(code.files)} if code.files else {})
        | ({"values": dict(code.values)} if code.values else {})
        for (kind, name), code in parts.items()
        if code.digest
    ]


def error_of_run(record: Record, error: AttnlabError, command: str) -> AttnlabError:
    """Place an error of rebuilding a run; where a part is not registered, tell how the file that has it is named.

    No file is run because a record names it: the record may be a stranger's.

    Args:
        record: The record of the run.
        error: The error.
        command: The command line that uses the run, without ``--plugin``.

    Returns:
        The error with the run as its location.
    """
    own = [part for part in record.environment.get("code", ()) if not part.get("package")]
    missing = [part for part in own if f"'{part['name']}'" in error.problem]
    of_session = [part for part in missing if not part.get("root")]
    of_files = [part for part in missing or own if part.get("path") and part.get("root")]
    if isinstance(error, UnknownNameError) and of_session:
        error = UnknownNameError(error.problem, _how_to_define(of_session[0]), where=error.where)
    elif isinstance(error, UnknownNameError) and of_files:
        error = UnknownNameError(error.problem, _how_to_name(of_files, command), where=error.where)
    return error.at(f"run {record.id}")


def _how_to_define(part: Mapping[str, Any]) -> str:
    """Tell where a class of a script or notebook is known."""
    place = f"the script {Path(part['path']).name}" if part.get("path") else "a notebook or an interactive session"
    return (
        f"'{part['name']}' was a class of {place}: its code is its own text and what it uses, not a file.\n"
        "Define it with the same code in a script or notebook, and call attnlab's function there.\n"
        f"To use runs from the command line too, write the class to a file and train FILE.py:{part['name']}."
    )


def _how_to_name(parts: Sequence[Mapping[str, Any]], command: str) -> str:
    """Tell how the files of parts are named, and whether they are still those of the run."""
    lines, files = [], []
    for part in {part["path"]: part for part in parts}.values():
        path = Path(part["path"])
        file = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
        now = code_now(part["path"], part.get("root", ""), tuple(part.get("values", {}).items())).digest
        state = "" if now == part["digest"] or not now else " It has changed since: with other code it is another run."
        state = state if path.is_file() else " It is no longer there: name it where it is now."
        lines.append(f"The code of '{part['name']}' was in {file}.{state}")
        files.append(file)
    options = " ".join(f"--plugin {shlex.quote(file)}" for file in files)
    calls = "; ".join(f'attnlab.load_plugin("{file}")' for file in files)
    return "\n".join((*lines, f"Add {options}: {command} {options}", f"In Python, before this call: {calls}"))
