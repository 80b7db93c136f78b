"""The page of ``attnlab report --html``: what the store has beside its records, brought to the page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attnlab.cli.options import write_file

if TYPE_CHECKING:
    from attnlab.cli.reported import Reported
    from attnlab.rendering.html import RunMaps
    from attnlab.rendering.report import Report

MAPS_OF_A_RUN = 8
"""Attention maps of one run on the page, at most."""


def write_page(path: Path, result: Report, results: Reported, attention_maps: int) -> None:
    """Write the HTML page, with the commands that reproduce it.

    Args:
        path: The file.
        result: The report; its records have their whole histories.
        results: What is reported; weights are read from its store.
        attention_maps: Of how many variants the page shows attention maps.
    """
    from attnlab import resources
    from attnlab.analysis.reproduction import reproduction
    from attnlab.rendering.experiment_yaml import experiment_yaml
    from attnlab.rendering.failure_mode_table import failure_mode_table
    from attnlab.rendering.html import html_page

    experiment, origin = results.experiment, results.provenance()
    builtin = experiment is not None and experiment.name in resources.names("experiments")
    sweep = origin.command or (f"attnlab sweep {experiment.name}" if experiment and builtin and not origin.yaml else "")
    texts = [(f"The experiment ({origin.file})", origin.yaml)] if origin.yaml else []
    if experiment and not texts:
        texts = [("The experiment", experiment_yaml(experiment))]
    command = shlex.join(["attnlab", *sys.argv[1:]])
    maps, about_maps = _attention_maps(result, results.folder, attention_maps, command)
    store = results.folder or Path("results")  # of published runs, none continues another one
    page = html_page(
        result,
        command,
        sweep,
        failures=failure_mode_table(result.records, experiment),
        texts=texts,
        run_commands={record.id: reproduction(record, store).script for record in result.records},
        maps=maps,
        about_maps=about_maps,
    )
    write_file(path, page)


def _attention_maps(result: Report, folder: Path | None, count: int, command: str) -> tuple[list[RunMaps], str]:
    """Compute the attention maps of one run of each of the first variants, and tell what they show, in lines."""
    from attnlab.errors import AttnlabError
    from attnlab.rendering.html import RunMaps, runs_with_maps
    from attnlab.storage.find_run import weights_path

    if not count:
        return [], "Attention maps were not asked for: --attention-maps N."
    kept = [record for record in result.records if folder and weights_path(record, folder).exists()]
    if folder is None or not kept:
        return [], "The weights of no run are stored, so there is nothing to compute attention maps from."
    from attnlab.diagnosis.run_maps import run_maps

    maps, without = [], []
    for record in runs_with_maps(result, kept, count):
        try:
            maps.append(RunMaps(record, run_maps(record.id, folder, most=MAPS_OF_A_RUN, command=command)))
        except AttnlabError as error:
            without.append("\n".join(filter(None, (f"None of run {record.id[:6]}: {error.problem}", error.hint))))
    about = (
        "Queries down, keys across, on the first validation sequence: of each variant the run of the hardest level "
        f"with the best validation accuracy whose weights are stored, with at most {MAPS_OF_A_RUN} heads."
    )
    return maps, "\n".join([about, *without])
