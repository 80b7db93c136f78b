"""A run -> the command that reproduces it: the run of the command has the same id.

The command names what differs from the defaults and from the ladder. The built-in ladder of the task is taken from
which the run differs in the fewest options. Where none trains and evaluates on the same levels, a ladder file is
written out, to be saved first. Numbers are written with all their digits.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnlab import resources
from attnlab.config.ladder import Ladder
from attnlab.config.yaml import scalar
from attnlab.errors import AttnlabError
from attnlab.part_code import code_now
from attnlab.records import Record
from attnlab.specs import ALTERNATING, ModelSpec, Part, RunSpec, TaskSpec, TrainSpec, Variant
from attnlab.tasks.base import TASKS
from attnlab.tasks.io.ladders import find_ladder, task_spec

OPTIONS = {
    "layers": "--layers",
    "width": "--width",
    "heads": "--heads",
    "max_steps": "--steps",
    "batch_size": "--batch",
    "lr": "--lr",
}
"""Fields that have an option of their own."""
PLAIN = re.compile(r"[A-Za-z][\w./-]*")
"""Words that need no quotation marks in YAML, unless they are read as something else."""
COLUMNS = 76
"""Columns of the lines of a command."""
DIGITS = 6
"""Digits of the id in the name of a ladder file."""


@dataclass(frozen=True)
class Reproduction:
    """What reproduces a run."""

    words: tuple[str, ...]
    """The words of the command."""
    file: str = ""
    """The name of a ladder file that must be written first; empty where a built-in ladder suffices."""
    content: str = ""
    """The content of that file."""
    notes: tuple[str, ...] = ()
    """What is needed besides, or why another run results."""

    @property
    def command(self) -> str:
        """The command as a shell takes it."""
        return shlex.join(self.words)

    @property
    def script(self) -> str:
        """The command in lines, after one that writes the ladder file where there is one."""
        pieces: list[str] = []
        for word in map(shlex.quote, self.words):
            if word.startswith("--") or not pieces:
                pieces.append(word)
            else:
                pieces[-1] += f" {word}"
        lines = [pieces[0]]
        for piece in pieces[1:]:
            if len(lines[-1]) + len(piece) < COLUMNS:
                lines[-1] += f" {piece}"
            else:
                lines.append(f"  {piece}")
        command = " \\\n".join(lines)
        return f"cat > {shlex.quote(self.file)} <<'END'\n{self.content}END\n{command}" if self.file else command


def reproduction(record: Record, store: Path) -> Reproduction:
    """Find the command that reproduces a run.

    Args:
        record: The run.
        store: The store that holds it, named by the command of a run that continues another one there.

    Returns:
        The command, with notes on parts whose code has changed or cannot be named.
    """
    spec = record.spec
    ladder, options = _ladder(spec.task)
    file = content = ""
    if ladder is None:
        file, content = f"ladder-{record.id[:DIGITS]}.yaml", _ladder_file(spec.task, record.id)
        words = ["attnlab", "train", "--task", file]
    else:
        words = ["attnlab", "train", "--task", ladder.name]
        if spec.task.level is not None:
            words += ["--complexity", yaml_word(spec.task.level)]
        words += [word for name, value in options.items() for word in _setting(f"task.{name}", value)]
    paths, plugins, notes = _own_code(record)
    words += _model_words(spec.model, ladder.model if ladder else {}, paths)
    words += _train_words(spec.train, ladder.training_settings if ladder else {})
    words += ["--seed", str(spec.seed)]
    if spec.continue_from:
        words += ["--continue-from", spec.continue_from, "--store", str(store)]
    words += [word for path in plugins for word in ("--plugin", path)]
    return Reproduction(tuple(words), file, content, tuple(notes))


def yaml_word(value: Any) -> str:
    """Write a value so that a setting of the command line is read as the same value.

    >>> yaml_word(0.1), yaml_word(None), yaml_word("causal"), yaml_word("1e3"), yaml_word((1, 2))
    ('0.1', 'null', 'causal', '"1e3"', '[1, 2]')

    Args:
        value: A number, a word, a list or a mapping.

    Returns:
        YAML in one line.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, str) and PLAIN.fullmatch(value) and scalar(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def part_word(part: Part, paths: Mapping[str, str]) -> str | None:
    """Write a part as the command line reads it.

    Args:
        part: The part, without those that alternate with it.
        paths: Name of a class of the user's -> the word that names it by its file.

    Returns:
        The word; None where an option cannot be written within it.
    """
    name = paths.get(part.name, part.name)
    options = {key: yaml_word(value) for key, value in part.options.items()}
    if any(
        not isinstance(part.options[key], list | tuple | dict) and set(text) & set(',+*"')
        for key, text in options.items()
    ):
        return None
    written = ",".join(f"{key}={text}" for key, text in options.items())
    return f"{name}:{written}" if written else name


def _variant_words(field: str, option: str, parts: Variant, paths: Mapping[str, str]) -> list[str]:
    """The words that set a field which holds parts: an option of its own, or ``--set``."""
    written = [part_word(part, paths) for part in parts]
    if None not in written:
        text = "+".join(map(str, written))
        return [option, text] if option else ["--set", f"model.{field}={text}"]
    data = [{"name": paths.get(part.name, part.name), **part.options} for part in parts]
    return _setting(f"model.{field}", data if len(data) > 1 else data[0])


def _setting(name: str, value: Any) -> list[str]:
    return ["--set", f"{name}={yaml_word(value)}"]


def _model_words(model: ModelSpec, base: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[str]:
    """The words that set the fields of a model which differ from the defaults, or which the ladder sets."""
    default = ModelSpec()
    if model.module is not None:
        word = part_word(model.module, paths)
        yield from (
            ("--model", word) if word else _setting("model.module", {"name": model.module.name, **model.module.options})
        )
    for name in model.used_fields:
        value, usual = getattr(model, name), getattr(default, name)
        if name == "module" or (name not in base and _without_versions(value) == _without_versions(usual)):
            continue
        if name == "allow_leak":
            yield "--allow-leak"
        elif name == "modifiers":
            changed = {key: one for key, one in value if name in base or one != getattr(usual, key)}
            for key, one in changed.items():
                yield from _setting(f"model.modifiers.{key}", one)
        elif isinstance(value, Part) or name in ALTERNATING:
            option = {"attention": "--attn", "position": "--pos"}.get(name, "")
            yield from _variant_words(name, option, value.alternating if isinstance(value, Part) else value, paths)
        elif name in OPTIONS:
            yield from (OPTIONS[name], yaml_word(value))
        else:
            yield from _setting(f"model.{name}", value)


def _without_versions(value: Any) -> Any:
    """A value of a field; parts by their names and options alone."""
    if isinstance(value, Part):
        return [(part.name, part.options) for part in value.alternating]
    return [_without_versions(part) for part in value] if isinstance(value, tuple) else value


def _train_words(train: TrainSpec, base: Mapping[str, Any]) -> Iterator[str]:
    """The words that set the fields of a training which differ from those that the ladder has without them."""
    usual = TrainSpec.model_validate(dict(base))
    for name in TrainSpec.model_fields:
        value = getattr(train, name)
        if value == getattr(usual, name):
            continue
        if name in OPTIONS:
            yield from (OPTIONS[name], yaml_word(value))
        elif name == "rollout":
            yield "--rollout" if value else "--no-rollout"
        elif name == "log_diagnostics" and value:
            yield from ("--watch", ",".join(value))
        else:
            yield from _setting(f"train.{name}", value)


def _ladder(task: TaskSpec) -> tuple[Ladder | None, dict[str, Any]]:
    """The ladder that trains and evaluates on the same levels with the fewest other options, and those options."""
    found: list[tuple[Ladder, dict[str, Any]]] = []
    for word in dict.fromkeys((task.name, *resources.names("tasks"))):
        try:
            ladder = find_ladder(word)
        except AttnlabError:
            continue
        if (
            ladder.task != task.name
            or ladder.complexity != task.complexity
            or ladder.training.keys() - task.train.keys()
        ):
            continue
        if tuple(level for level in ladder.evaluate if level != task.level) != task.evaluate:
            continue
        training = task_spec(ladder, {}, task.level).train if ladder.training else {}
        changed = {f"train.{name}": value for name, value in task.train.items() if training.get(name) != value}
        options = {**_other_options(task, ladder), **changed}
        if not options:
            return ladder, {}
        found.append((ladder, options))
    return min(found, key=lambda one: len(one[1]), default=(None, {}))


def _other_options(task: TaskSpec, ladder: Ladder) -> dict[str, Any]:
    """The options of a task that its ladder does not have at this level by itself."""
    try:
        usual = {} if TASKS.entry(ladder.task).required else task_spec(ladder, {}, task.level).options
    except AttnlabError:
        usual = {}
    missing = object()
    return {
        name: value
        for name, value in task.options.items()
        if name != task.complexity and _plain(usual.get(name, missing)) != _plain(value)
    }


def _plain(value: Any) -> Any:
    """A value with lists in the place of tuples: a record that was read has no tuples."""
    return json.loads(json.dumps(value)) if isinstance(value, list | tuple | dict) else value


def _ladder_file(task: TaskSpec, run: str) -> str:
    """A ladder of the one level of a run."""
    options = {name: value for name, value in task.options.items() if name != task.complexity}
    fields = {
        "name": f"run-{run[:DIGITS]}",
        "summary": f"The task of run {run}.",
        "task": task.name,
        "complexity": task.complexity,
        "levels": [task.level],
        "default": task.level,
        "options": options,
        "training": task.train,
        "evaluate": list(task.evaluate),
        "source": f"run {run}",
    }
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items())


def _own_code(record: Record) -> tuple[dict[str, str], list[str], list[str]]:
    """How the user's own parts are named: words by file, plugins, and what is missing or has changed."""
    paths: dict[str, str] = {}
    plugins: list[str] = []
    notes: list[str] = []
    for part in record.environment.get("code", ()):
        name, path = part["name"], Path(part.get("path") or "")
        file = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
        if part.get("package"):
            continue
        if not part.get("path") or not part.get("root"):
            notes.append(f"'{name}' was a class of a script or notebook: define it there, and train it in Python.")
        elif ".py:" in name:
            paths[name] = f"{file}:{name.rpartition(':')[2]}"
        elif ":" not in name and file not in plugins:
            plugins.append(file)
        values = tuple(part.get("values", {}).items())
        if values:
            notes.append(f"'{name}' was trained with {', '.join(f'{key} = {value}' for key, value in values)}.")
        if part.get("path") and code_now(part["path"], part.get("root", ""), values).digest not in ("", part["digest"]):
            notes.append(f"The code of '{name}' has changed since: with it the command gives another run.")
    return paths, plugins, notes


def differing(spec: RunSpec) -> dict[str, Any]:
    """List the fields of a run that differ from the defaults of models, trainings and its task.

    Args:
        spec: The run.

    Returns:
        Dotted field -> value; parts as words; the options of a task without its level.
    """
    result: dict[str, Any] = {}
    default = ModelSpec()
    for name in spec.model.used_fields:
        value = getattr(spec.model, name)
        if _without_versions(value) == _without_versions(getattr(default, name)):
            continue
        if name == "modifiers":
            result |= {f"model.modifiers.{key}": one for key, one in value if one != getattr(default.modifiers, key)}
        elif isinstance(value, Part) or name in ALTERNATING:
            parts = value.alternating if isinstance(value, Part) else value
            result[f"model.{name}"] = "+".join(map(str, parts))
        else:
            result[f"model.{name}"] = value
    usual = TrainSpec()
    result |= {
        f"train.{name}": value
        for name in TrainSpec.model_fields
        if (value := getattr(spec.train, name)) != getattr(usual, name)
    }
    ladder = next(iter(_own_ladder(spec.task)), None)
    options = spec.task.options if ladder is None else _other_options(spec.task, ladder)
    result |= {f"task.{name}": value for name, value in options.items() if name != spec.task.complexity}
    result |= {f"task.train.{name}": value for name, value in spec.task.train.items()}
    if spec.task.evaluate:
        result["task.evaluate"] = list(spec.task.evaluate)
    return result


def _own_ladder(task: TaskSpec) -> Iterator[Ladder]:
    """The ladder of a task's own name, whose options are its defaults."""
    try:
        yield find_ladder(task.name)
    except AttnlabError:
        return
