"""The user's parts in a worker: plugin files, classes of a notebook or script, and modules that a script imports.

A class of a notebook is sent by its code (cloudpickle), because a worker cannot import it. A module is imported by its
name. A plugin file is loaded again; what runs there is compared with the spec of each run before it starts.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attnlab.attention import ATTENTIONS
from attnlab.attention.named import known_attention
from attnlab.block import BLOCKS
from attnlab.errors import AttnlabError, InvalidValueError, PluginError
from attnlab.mlp import MLPS
from attnlab.model.module import MODULE_NAMING, MODULES
from attnlab.norm import NORMS
from attnlab.part_code import SCRIPT, installed_folder
from attnlab.plugins import PREFIX, describe_exception, load_plugin
from attnlab.position import POSITIONS
from attnlab.registry import Entry, Registry
from attnlab.residual_stream import RESIDUAL_STREAMS
from attnlab.scorer import SCORERS
from attnlab.specs import RunSpec
from attnlab.tasks.base import TASKS
from attnlab.training.run_parts import run_parts

REGISTRIES: dict[str, Registry[Any]] = {
    registry.kind: registry
    for registry in (ATTENTIONS, POSITIONS, NORMS, MLPS, BLOCKS, RESIDUAL_STREAMS, MODULES, SCORERS, TASKS)
}

NAMINGS: dict[str, Callable[[str], None]] = {ATTENTIONS.kind: known_attention, MODULES.kind: MODULE_NAMING.known}
"""Kinds of parts that are named by their class, and what makes such a part known again."""


@dataclass(frozen=True)
class WorkerParts:
    """What a worker needs to know the parts of its runs."""

    files: tuple[Path, ...] = ()
    """Plugin files."""
    modules: tuple[str, ...] = ()
    """Modules that register parts when they are imported."""
    named: tuple[tuple[str, str], ...] = ()
    """Kind and name of the attentions and whole models that are named by their class."""
    pickled: bytes = b""
    """Parts of a notebook or script, by registry."""
    values: tuple[tuple[str, str, str], ...] = ()
    """Part, constant and value, where this session has given a constant another value than its file."""

    def check_values(self) -> None:
        """Refuse constants that workers, which load the files, would not have.

        Raises:
            InvalidValueError: This session has given a constant another value.
        """
        for part, name, value in self.values:
            problem = f"{name} is {value} in this session, but its file says something else, which workers would run."
            hint = "Write it into the file, or use the executor 'inline', which needs no workers."
            raise InvalidValueError(problem, hint, where=part)


def worker_parts(specs: Iterable[RunSpec], files: Sequence[Path] = ()) -> WorkerParts:
    """Collect what workers need to know the parts of some runs.

    Args:
        specs: The runs.
        files: Plugin files.

    Returns:
        What is sent to each worker.

    Raises:
        PluginError: A class of the notebook cannot be sent.
    """
    used = {(part.kind, part.entry.name): part.entry for spec in _distinct(specs) for part in run_parts(spec)}
    return parts_to_send(used, files)


def parts_to_send(used: Mapping[tuple[str, str], Entry[Any]], files: Sequence[Path] = ()) -> WorkerParts:
    """Collect what workers need to know some registered parts.

    Args:
        used: The parts, by kind and name.
        files: Plugin files; those that registered a part are added.

    Returns:
        What is sent to each worker.

    Raises:
        PluginError: A class of the notebook cannot be sent.
    """
    own = [(kind, entry) for (kind, _), entry in used.items() if entry.cls.__module__ == SCRIPT]
    modules = {entry.cls.__module__ for entry in used.values() if _is_imported(entry)}
    paths = [path.resolve() for path in files]
    paths += [Path(entry.code.path) for entry in used.values() if entry.cls.__module__.startswith(PREFIX)]
    named = [(kind, name) for kind, name in used if kind in NAMINGS and ":" in name]
    paths += [Path(used[key].code.path) for key in named if ".py:" in key[1]]
    values = [(f"{kind} {name}", *pair) for (kind, name), entry in used.items() for pair in entry.code.values]
    return WorkerParts(
        tuple(dict.fromkeys(paths)), tuple(sorted(modules)), tuple(sorted(named)), _pickled(own), tuple(values)
    )


def load_worker_parts(parts: WorkerParts) -> None:
    """Make the parts of its runs known to a worker.

    Args:
        parts: What the driver sent.

    Raises:
        PluginError: A file or module cannot be loaded, or a class cannot be read.
    """
    for path in parts.files:
        load_plugin(path)
    for name in parts.modules:
        try:
            importlib.import_module(name)
        except AttnlabError as error:
            raise error.at(f"module {name}") from error
        except Exception as error:
            hint = "Workers import the modules that register parts; make it importable there, or load it as a plugin."
            raise PluginError(_first_line(error), hint, where=f"module {name}") from error
    for kind, name in parts.named:
        NAMINGS[kind](name)
    if parts.pickled:
        import pickle

        try:
            for kind, entry in pickle.loads(parts.pickled):
                REGISTRIES[kind].discover()
                REGISTRIES[kind].adopt(entry)
        except Exception as error:
            hint = "The executor 'inline' needs no workers."
            raise PluginError(f"A class of the notebook cannot be read: {_first_line(error)}", hint) from error


def _distinct(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """One run of each combination of parts: sections are shared by many runs."""
    return list({(id(spec.model), id(spec.task)): spec for spec in specs}.values())


def _is_imported(entry: Entry[Any]) -> bool:
    """Whether a worker knows a part only once it has imported the part's module."""
    name, code = entry.cls.__module__, entry.code
    file = getattr(sys.modules.get(name), "__file__", None)
    own = (
        bool(code.root) and name != SCRIPT and not name.startswith(PREFIX) and installed_folder(Path(code.path)) is None
    )
    # A module beside a plugin is known under another name by now; the plugin imports it.
    return own and file is not None and Path(file).resolve() == Path(code.path)


def _pickled(entries: list[tuple[str, Entry[Any]]]) -> bytes:
    """Write classes of the notebook with all that they use."""
    if not entries:
        return b""
    import cloudpickle  # type: ignore[import-untyped]

    for kind, entry in entries:
        try:
            cloudpickle.dumps(entry.cls)
        except Exception as error:
            hint = "Write it to a module that can be imported, or use the executor 'inline', which needs no workers."
            problem = f"The {kind} '{entry.name}' cannot be sent to workers: {_first_line(error)}"
            raise PluginError(problem, hint, where=f"{kind} {entry.name}") from error
    data: bytes = cloudpickle.dumps([(kind, replace(entry, loaded_code=entry.code)) for kind, entry in entries])
    return data


def _first_line(error: Exception) -> str:
    """Type and message of an exception, without its place."""
    return describe_exception(error).partition("\n")[0]
