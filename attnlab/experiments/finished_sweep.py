"""A sweep that is run again after all its runs are finished: recognized without planning, and without importing torch.

A sweep leaves a digest in its plan of everything that the plan was made of: the experiment, and the source of attnlab
with its ladders. Where it is the same the runs are the same, so that it suffices to look for their records. Whatever
else may decide which runs there are, there is no digest and a sweep is planned as ever: own parts and models, ladders
and data in files, a budget that is matched, a precision that depends on the machine, an end that depends on results.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from pydantic import VERSION

from attnlab import resources
from attnlab.config.experiment import Experiment, stored_experiment
from attnlab.errors import AttnlabError
from attnlab.records import Record
from attnlab.run_labels import one_of_each
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.storage.status import plan_digest, planned_ids
from attnlab.storage.stored_record import fill

OF_THE_MACHINE = ("auto", "path", "module")
"""Words of an experiment or a ladder that make the plan depend on more than these: a precision, data, own models."""
OWN_CODE = re.compile(rb'"code_digest":"[0-9a-f]|"module":\{')


def planned_from(experiment: Experiment) -> str:
    """Compute the digest of what decides the plan of an experiment.

    Args:
        experiment: The experiment, before its parts are resolved.

    Returns:
        The digest; empty where something else decides too.
    """
    words = [entry.ladder for entry in experiment.ladders]
    if experiment.until or experiment.match or not {*words} <= {*resources.names("tasks")}:
        return ""
    ladders = [resources.find("tasks", word).read_bytes() for word in dict.fromkeys(words)]
    text = experiment.model_dump_json().encode()
    if any(re.search(rb"\b%s\b" % word.encode(), one) for word in OF_THE_MACHINE for one in (text, *_options(ladders))):
        return ""
    return hashlib.sha256(b"\n".join([_source(), text, *ladders])).hexdigest()


def digest_to_keep(digest: str, specs: Iterable[RunSpec]) -> str:
    """Tell which digest the plan is given.

    Args:
        digest: That of the experiment.
        specs: The plan.

    Returns:
        The digest; empty where a run has a part that is not built in, because its code may change.
    """
    sections = (section for spec in one_of_each(specs) for section in (spec.task, spec.model))
    return "" if any(OWN_CODE.search(section.canonical) for section in sections) else digest


def finished_records(experiment: Experiment, results: Store, digest: str) -> Sequence[Record] | None:
    """Find the records of a sweep of which all runs are finished.

    Args:
        experiment: The experiment, before its parts are resolved.
        results: The store.
        digest: What :func:`planned_from` gives of the experiment.

    Returns:
        The records in the order of the plan; None where a run is missing or failed, the store was planned from
        something else, or what was planned cannot be told.

    Raises:
        StoreError: The journal cannot be read.
    """
    known, runs = plan_digest(results.path)
    if not digest or known != digest:
        return None
    try:
        stored, plan = stored_experiment(results.path), planned_ids(results.path)
    except AttnlabError:
        return None  # the sweep tells what is wrong with it
    if stored is None or _without_named_runs(stored) != _without_named_runs(experiment):
        return None
    finished = {record.id: record for record in results.scan() if record.status != "failed"}
    records = [finished[run] for run in plan if run in finished]
    if not plan or not len(records) == len(plan) == runs:
        return None
    fill(records)
    return records


def _without_named_runs(experiment: Experiment) -> str:
    """An experiment as text, without what names runs: in a stored one, parts are written in another way there."""
    return experiment.model_copy(update={"claims": (), "published": ()}).model_dump_json()


def _options(ladders: Iterable[bytes]) -> Iterable[bytes]:
    """The lines of ladders that set something."""
    return [line for text in ladders for line in text.splitlines() if not line.startswith((b"notes", b"summary", b"#"))]


@cache
def _source() -> bytes:
    """The source of attnlab, and the versions of what reads an experiment."""
    folder = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(f"{VERSION} {sys.version_info[:2]}".encode())
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest().encode()
