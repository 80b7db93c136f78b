"""The published records of the built-in experiments, and the sections of experiments/README.md that they give.

    attnlab sweep NAME                                  # for each experiment of: attnlab ls experiments
    python -m benchmarks.experiments NAME --publish     # from results/NAME: the records, and the section, in one go
    python -m benchmarks.experiments --write            # the sections of all published records, such as after a new
                                                        # wording of the report; without --write, they are printed
    python -m benchmarks.experiments NAME --reword      # the same runs under the present words of the experiment, such
                                                        # as after a new default that its file now sets

Sections are made of published records alone, so that the two never disagree. A store is published if it has every run
of the experiment as it is in ``experiments/`` now, all of them finished under the same versions on one kind of machine.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
import warnings
from pathlib import Path

from attnlab import resources
from attnlab.analysis.records import records
from attnlab.config.experiment import experiment, parse_experiment, stored_experiment
from attnlab.errors import StoreError, StoreWarning
from attnlab.experiments.expand import expand
from attnlab.files import write_whole
from attnlab.records import Record
from attnlab.rendering.export import as_markdown
from attnlab.rendering.report import report
from attnlab.storage.provenance import Provenance, read_provenance
from attnlab.storage.published import changed_fields, read_published
from attnlab.storage.published_file import FORMAT, MACHINE, Header, Published, encoded, published_environment
from attnlab.storage.status import read_plan, store_status

README = resources.folder("experiments") / "README.md"
RUNS = ("ladders", "grid", "zip", "seeds", "seed", "recipe", "model", "train", "match")
"""Fields of an experiment that say which runs it has, and nothing of their report."""


def section(published: Published) -> str:
    """Write the section of one experiment: question, command, date and versions, tables, claims, published values."""
    name, header = published.header.name, published.header
    summary = f"`{header.command}`, {published.about}. The records: `attnlab report {name} --published`."
    tables = as_markdown(report(published.records, published.experiment)).decode().split("\n", 2)[2].strip()
    return f"## {name}\n\n**{published.experiment.question}**\n\n{summary}\n\n{tables}\n"


def sections_of(text: str) -> dict[str, str]:
    """Split a README into its sections: the name of each experiment -> its text, in order; "" is what stands before."""
    before, *parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    return {"": before} | {part.partition("\n")[0].removeprefix("## "): part for part in parts}


def with_section(text: str, name: str, new: str) -> str:
    """Put the section of an experiment into a README, in the order of the names."""
    found = sections_of(text)
    found[name] = new
    ordered = ["", *sorted(found.keys() - {""})]
    return "\n\n".join(found[one].rstrip("\n") for one in ordered) + "\n"


def published_from(store: Path, name: str) -> Published:
    """Take what is published of a finished store.

    Raises:
        StoreError: A run is missing, failed, or of another version of the experiment, of the code or of the machine; or
            the command names a folder of this machine.
    """
    where = str(store)
    origin, path = read_provenance(store), resources.find("experiments", name)
    made_for, now = stored_experiment(store), experiment(name)
    written = parse_experiment(origin.yaml, path.name) if made_for else now
    if made_for is None or (changed := changed_fields(made_for, now) or changed_fields(written, now)):
        differs = f", which differs in {', '.join(changed)}" if made_for else ""
        words = "Claims and published values name parts as runs do, without options that have their defaults."
        hint = f"Run: attnlab sweep {name}. {words}"
        raise StoreError(f"It was not made by the present {path.name}{differs}.", hint, where=where)
    status = store_status(store)
    if status.missing or status.failed or status.stale:
        counts = f"{len(status.missing)} missing, {len(status.failed)} failed, {len(status.stale)} stale"
        raise StoreError(f"Runs are not finished: {counts}.", f"Run: attnlab sweep {name}", where=where)
    planned = {run.id for run in read_plan(store)}
    kept = [_published_record(one) for one in records(store, history=True) if one.id in planned]
    _check_alike(kept, where)
    header = Header(
        format=FORMAT,
        name=name,
        command=_command(origin, where),
        ended=max(str(record.environment["ended"]) for record in kept),
        machine={key: kept[0].environment[key] for key in MACHINE if key in kept[0].environment},
        runs=len(kept),
        yaml=origin.yaml,
        yaml_sha256=hashlib.sha256(origin.yaml.encode()).hexdigest(),
    )
    return Published(header, parse_experiment(origin.yaml, path.name), tuple(kept))


def publish(store: Path, name: str, readme: Path = README) -> Published:
    """Write the published records of an experiment, and its section of the README from what was written."""
    path = resources.published_path(name)
    write_whole(path, encoded(published_from(store, name)))
    return write_section(name, readme)


def reworded(name: str) -> Published:
    """Take the published records of an experiment whose file now has other words for the same runs.

    Raises:
        StoreError: The file asks for other runs, or for another report of them.
    """
    now, path = experiment(name), resources.find("experiments", name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreWarning)  # that the file was changed
        found = read_published(name)
    if other := [field for field in changed_fields(found.experiment, now) if field not in RUNS]:
        problem = f"Its file has other {', '.join(other)} than when it was run."
        raise StoreError(problem, f"Run: attnlab sweep {name}", where=str(path))
    if [record.id for record in found.records] != [spec.id for spec in expand(now)]:
        raise StoreError("Its file asks for other runs now.", f"Run: attnlab sweep {name}", where=str(path))
    text = path.read_text("utf-8")
    words = {"yaml": text, "yaml_sha256": hashlib.sha256(text.encode()).hexdigest()}
    return Published(found.header.model_copy(update=words), now, found.records)


def write_section(name: str, readme: Path = README) -> Published:
    """Write the section of an experiment in the README from its published records."""
    published = read_published(name)
    write_whole(readme, with_section(readme.read_text("utf-8"), name, section(published)).encode())
    return published


def _published_record(record: Record) -> Record:
    """A record without what is not published of its environment."""
    return record.model_copy(update={"environment": published_environment(record.environment)})


def _check_alike(kept: list[Record], where: str) -> None:
    """Refuse runs of several versions or machines: their table would be of no one thing."""
    for key in MACHINE:
        found = {str(record.environment.get(key)) for record in kept}
        if len(found) > 1:
            problem = f"The runs differ in {key}: {', '.join(sorted(found))}."
            raise StoreError(problem, "Run the experiment anew in another folder.", where=where)


def _command(origin: Provenance, where: str) -> str:
    """The command, without the options that only say what is shown and stored; it names no folder of this machine."""
    words = [word for word in shlex.split(origin.command) if word not in ("--quiet", "--no-weights", "--wait")]
    if any(word.startswith(("/", "~", "\\")) or "=/" in word for word in words):
        hint = "Run the sweep with relative paths."
        raise StoreError(f"Its command names a folder of this machine: {origin.command}", hint, where=where)
    kept: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if word != "--store" and before != "--store" and not word.startswith("--store="):
            kept.append(word)
    return shlex.join(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments; all published ones if none is named")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--publish", action="store_true", help="publish the records of stores, and write the sections")
    what.add_argument("--write", action="store_true", help="write the sections of records that are published")
    what.add_argument("--reword", action="store_true", help="publish the same runs under the present words")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder of the stores")
    given = parser.parse_args()
    if (given.publish or given.reword) and not given.names:
        parser.error("name the experiments")
    for name in given.names or resources.published_names():
        if given.publish:
            published = publish(given.results / name, name)
            size = resources.published_path(name).stat().st_size
            print(f"{name}: {len(published.records)} records, {size:,} bytes")
        elif given.reword:
            write_whole(resources.published_path(name), encoded(reworded(name)))
            print(f"{name}: {len(write_section(name).records)} records")
        elif given.write:
            print(f"{name}: {len(write_section(name).records)} records")
        else:
            print(section(read_published(name)))


if __name__ == "__main__":
    main()
