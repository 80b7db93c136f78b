"""What a shell completes: names of tasks, parts, experiments, metrics and ids of runs.

A completion must be instant, so that nothing here imports torch or reads YAML: names of attentions and positions are
read off the decorators in the source, and ids off the starts of the lines of the journals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from attnlab.config.auto_position import AUTO
from attnlab.config.recipes import RECIPES

REGISTERED = re.compile(r"^@register\(\s*[\"']([^\"']+)[\"']", re.MULTILINE)
"""The decorator of a built-in part."""
RUN_ID = re.compile(r"\"id\":\s*\"([0-9a-f]+)\"")
MOST_RUNS = 2000
"""Ids that are offered at most."""


def tasks(incomplete: str) -> list[str]:
    """Complete the name of a ladder, or the last of several with commas.

    Args:
        incomplete: What was typed.

    Returns:
        The words that it may become.
    """
    from attnlab import resources

    return _last_word(incomplete, resources.names("tasks"))


def trackers(incomplete: str) -> list[str]:
    """Complete the name of a tracker, or the last of several with commas.

    Args:
        incomplete: What was typed.

    Returns:
        The words that it may become.
    """
    return _last_word(incomplete, part_names("tracking"))


def executors(incomplete: str) -> list[str]:
    """Complete the name of an executor.

    Args:
        incomplete: What was typed.

    Returns:
        The words that it may become.
    """
    return [name for name in part_names("execution") if name.startswith(incomplete)]


def attentions(incomplete: str) -> list[str]:
    """Complete the name of an attention, or the last of several with commas or plus signs.

    Args:
        incomplete: What was typed.

    Returns:
        The words that it may become.
    """
    return _last_word(incomplete, part_names("attention"))


def positions(ctx: Any, incomplete: str) -> list[str]:
    """Complete the name of a position, or the last of several.

    Args:
        ctx: The context of the command; a sweep has ``auto`` too.
        incomplete: What was typed.

    Returns:
        The words that it may become.
    """
    return _last_word(incomplete, [*part_names("position"), *([AUTO] if ctx.info_name == "sweep" else [])])


def recipes(incomplete: str) -> list[str]:
    """Complete the name of a recipe.

    Args:
        incomplete: What was typed.

    Returns:
        The words that it may become.
    """
    return [name for name in RECIPES if name.startswith(incomplete)]


def experiments(incomplete: str) -> list[str]:
    """Complete the name of an experiment.

    Args:
        incomplete: What was typed.

    Returns:
        The words that it may become.
    """
    from attnlab import resources

    return _last_word(incomplete, resources.names("experiments"))


def reported(ctx: Any, incomplete: str) -> list[str]:
    """Complete what ``attnlab report`` reports: stores in ``results/``, or experiments whose records are published.

    Args:
        ctx: The context of the command, with the option ``--published``.
        incomplete: What was typed.

    Returns:
        The words that it may become.
    """
    from attnlab import resources

    stores = sorted(path.parent.name for path in Path("results").glob("*/records.jsonl"))
    names = resources.published_names() if ctx.params.get("published") else stores
    return [name for name in names if name.startswith(incomplete)]


def files_to_copy(incomplete: str) -> list[str]:
    """Complete the name of an experiment or a ladder.

    Args:
        incomplete: What was typed.

    Returns:
        The words that it may become.
    """
    return [*experiments(incomplete), *tasks(incomplete)]


def shown(ctx: Any, incomplete: str) -> list[str]:
    """Complete what ``attnlab show`` knows: tasks, parts, experiments and runs.

    Args:
        ctx: The context of the command, with the store.
        incomplete: What was typed.

    Returns:
        The words that it may become.
    """
    kinds = ("attention", "position", "norm", "mlp", "block", "residual_stream")
    parts = sorted({name for kind in kinds for name in part_names(kind)})
    return [*files_to_copy(incomplete), *_last_word(incomplete, parts), *runs(ctx, incomplete)]


def runs(ctx: Any, incomplete: str) -> list[str]:
    """Complete the id of a run in the store of the command, or the last of several with commas.

    Args:
        ctx: The context of the command, with the store.
        incomplete: What was typed.

    Returns:
        The words that it may become.
    """
    return _last_word(incomplete, islice(_run_ids(Path(ctx.params.get("store") or "results")), MOST_RUNS))


def part_names(kind: str) -> list[str]:
    """List the built-in parts of a kind, without importing them.

    Args:
        kind: The package of the kind, such as ``attention``.

    Returns:
        Their names, sorted.
    """
    folder = Path(__file__).parents[1] / kind
    return sorted({name for path in folder.glob("*.py") for name in REGISTERED.findall(path.read_text("utf-8"))})


def _run_ids(folder: Path) -> Iterator[str]:
    """The ids in the journals of a store, or of the stores in a folder."""
    for path in (folder / "records.jsonl", *sorted(folder.glob("*/records.jsonl"))):
        if path.is_file():
            with path.open("rb") as lines:
                for line in lines:
                    if found := RUN_ID.search(line[:200].decode("utf-8", "replace")):
                        yield found[1]


def _last_word(incomplete: str, names: Iterable[str]) -> list[str]:
    """The names that begin as the last word does, each behind what was typed before it."""
    head, mark, last = re.match(r"(?:(.*)([,+]))?(.*)", incomplete, re.DOTALL).groups(default="")  # type: ignore[union-attr]
    return [f"{head}{mark}{name}" for name in dict.fromkeys(names) if name.startswith(last)]
