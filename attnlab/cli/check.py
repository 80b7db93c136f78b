"""``attnlab check``: check that attentions satisfy the contract of an attention."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnlab.cli import completion
from attnlab.cli.options import AsJson, Plugin, WholeModel, load_plugins

if TYPE_CHECKING:
    from attnlab.testing.finding import Conformance
    from attnlab.training.events import Progress


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="NAME, NAME:option=value, or FILE.py:Class.", autocompletion=completion.attentions),
    ] = None,
    model: WholeModel = None,
    every: Annotated[bool, typer.Option("--all", help="Check all registered attentions.")] = False,
    plugins: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """Check attentions: causality, numerics, equivalence of paths, cost; exit 1 if one fails, 2 if none can be made."""
    from attnlab.errors import InvalidValueError, PluginError
    from attnlab.rendering.console import Console

    load_plugins(plugins)
    if not names and not every and not model:
        hint = "Give the names of attentions, --all, or --model FILE.py:Class."
        raise InvalidValueError("Nothing to check.", hint, where="check")

    from attnlab.attention import ATTENTIONS
    from attnlab.rendering.conformance import ConformanceOverview, ConformanceTable
    from attnlab.rendering.waiting import waiting
    from attnlab.specs import Part
    from attnlab.testing.check_attention import check_attention, subject_of
    from attnlab.training.events import Preparing

    parts = [subject_of(name) for name in names or []]
    parts += [Part(name=entry.name) for entry in ATTENTIONS] if every else []
    stderr = Console(stderr=True)
    with waiting(stderr) as progress:
        reports = _check_models(model, progress) if model else []
        if len(parts) == 1:
            reports.append(check_attention(parts[0], progress=progress))
    if len(parts) > 1:
        from attnlab.execution.starting import children_started

        used = {("attention", part.name): ATTENTIONS.entry(part.name) for part in parts}
        with _worker_pool(used, plugins or [], len(parts)) as pool:
            with children_started():
                checked = pool.map(check_attention, parts)
            with waiting(stderr) as progress:
                progress(Preparing(f"checking {len(parts)} attentions"))
                for done, report in enumerate(checked, start=1):
                    failed = "" if report.passed else "  failed"
                    stderr.print(f"{done}/{len(parts)}  {parts[done - 1]}{failed}", highlight=False)
                    reports.append(report)
    if len(reports) == 1 and (fault := reports[0].fault):
        raise PluginError(fault.problem, fault.hint, where=fault.where or reports[0].variant)
    if as_json:
        sys.stdout.write(json.dumps([report.data() for report in reports]) + "\n")
    else:
        Console().print(ConformanceTable(reports[0]) if len(reports) == 1 else ConformanceOverview(reports))
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


def _check_models(words: str, progress: Progress) -> list[Conformance]:
    """Check whole models of the user's own."""
    from attnlab.config.inline_parts import parse_modules
    from attnlab.experiments.whole_model import module_spec
    from attnlab.specs import ModelSpec
    from attnlab.testing.model_check import check_model
    from attnlab.training.events import Preparing

    reports = []
    for part in parse_modules(words):
        progress(Preparing(f"checking {part}"))
        reports.append(check_model(module_spec(ModelSpec(), part)))
    return reports


@contextmanager
def _worker_pool(used: Mapping[tuple[str, str], Any], plugins: list[Path], tasks: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each, one per core, that know the user's parts."""
    import multiprocessing

    from attnlab.execution.processes import default_workers
    from attnlab.execution.starting import children_started
    from attnlab.execution.worker_parts import parts_to_send
    from attnlab.execution.worker_start import pool_arguments, start_in_pool

    parts = pool_arguments(parts_to_send(used, plugins))
    context = multiprocessing.get_context("spawn")
    workers = min(default_workers(), tasks)
    with children_started():  # its locks start the resource tracker
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_in_pool, initargs=parts)
    try:
        yield pool
    except KeyboardInterrupt:  # SIGTERM reaches this process alone
        for worker in multiprocessing.active_children():
            worker.kill()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
