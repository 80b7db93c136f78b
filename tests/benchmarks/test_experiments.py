"""The maintainers' command that publishes records: what it refuses, and that file and section are made in one go."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from attnlab import resources
from attnlab.config.experiment import experiment
from attnlab.errors import StoreError
from attnlab.records import Record
from attnlab.storage import Store
from attnlab.storage.provenance import Provenance, write_provenance
from attnlab.storage.published import read_published
from attnlab.storage.published_file import decoded, encoded
from attnlab.storage.status import write_plan
from benchmarks.experiments import publish, published_from, reworded, section, sections_of, with_section, write_section

NAME = "quickstart"


def make_store(folder: Path, command: str = f"attnlab sweep {NAME} --executor processes:1 --quiet") -> Store:
    """A finished store of an experiment, made of its published records."""
    published = read_published(NAME)
    store = Store(folder)
    store.open()
    store.append(published.records)
    write_plan(folder, [record.spec for record in published.records])
    (folder / "experiment.json").write_text(experiment(NAME).model_dump_json())
    write_provenance(folder, Provenance(command, "/there/quickstart.yaml", published.header.yaml))
    return store


def altered(record: Record, **environment: object) -> Record:
    return record.model_copy(update={"environment": {**record.environment, **environment}})


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the built-in experiments, without published records."""
    for kind in resources.KINDS:
        shutil.copytree(resources.folder(kind), tmp_path / kind)
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "attnlab" / "resources.py"))
    return tmp_path / "experiments"


def test_a_store_is_published_as_it_was(tmp_path: Path) -> None:
    before = read_published(NAME)
    store = make_store(tmp_path / "store")
    store.append([altered(before.records[0], host="mine")])
    found = published_from(store.path, NAME)
    assert found.records == before.records
    assert found.header == before.header.model_copy(update={"sha256": ""})


def test_file_and_section_are_made_together(shipped: Path, tmp_path: Path) -> None:
    store, readme = make_store(tmp_path / "store"), shipped / "README.md"
    before = readme.read_text()
    readme.write_text(with_section(before, NAME, "## quickstart\n\nAnother table.\n"))
    resources.published_path(NAME).unlink()
    published = publish(store.path, NAME, readme)
    assert resources.published_path(NAME).is_relative_to(shipped.resolve())
    assert published == read_published(NAME)
    assert readme.read_text() == before
    assert section(published).strip() == sections_of(before)[NAME].strip()
    readme.write_text(with_section(before, NAME, "## quickstart\n\nAnother table.\n"))
    write_section(NAME, readme)
    assert readme.read_text() == before


def rewrite(shipped: Path, old: str, new: str) -> None:
    path = shipped / f"{NAME}.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_other_words_for_the_same_runs_keep_the_records(shipped: Path) -> None:
    before = read_published(NAME)
    rewrite(shipped, "\ntrain: {", "\nrecipe: default\ntrain: {")
    found = reworded(NAME)
    assert found.records == before.records
    assert found.header.command == before.header.command
    assert found.header.yaml == (shipped / f"{NAME}.yaml").read_text()
    assert found.header.yaml_sha256 == hashlib.sha256(found.header.yaml.encode()).hexdigest()
    assert decoded(encoded(found), NAME).experiment.recipe == "default"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("max_steps: 1000", "max_steps: 999", "other runs"), ("\nquestion: ", "\nquestion: And? ", "other question")],
)
def test_other_runs_or_another_report_are_refused(shipped: Path, old: str, new: str, message: str) -> None:
    rewrite(shipped, old, new)
    with pytest.raises(StoreError, match=message):
        reworded(NAME)


PUBLISHED = """
published:
  - table: Table 1
    quantity: accuracy at four pairs
    values:
      - {of: {attention: softmax, level: 4}, value: 0.95, as: Transformer}
    differs: Theirs is wider.
"""


def test_published_values_go_from_the_file_through_the_store_to_the_section(shipped: Path, tmp_path: Path) -> None:
    store, readme, path = make_store(tmp_path / "store"), shipped / "README.md", shipped / f"{NAME}.yaml"
    with path.open("a") as file:
        file.write(PUBLISHED)
    with pytest.raises(StoreError, match=r"which differs in published\."):
        published_from(store.path, NAME)
    (store.path / "experiment.json").write_text(experiment(NAME).model_dump_json())
    write_provenance(store.path, Provenance("attnlab sweep quickstart", "/there/quickstart.yaml", path.read_text()))
    publish(store.path, NAME, readme)
    found = read_published(NAME)
    assert found.experiment.published == experiment(NAME).published
    own = [one for one in found.records if one.spec.variant == "softmax" and one.spec.task.level == 4]
    mean = 100 * sum(one.accuracy.mean for one in own) / len(own)
    text = sections_of(readme.read_text())[NAME]
    assert ", Table 1: accuracy at four pairs; ours: accuracy in %\n" in text
    assert f"| softmax, level 4 (Transformer) | 95.0 | {mean:.1f} | " in text
    assert "\n\nWhy they differ: Theirs is wider.\n\n" in text


def test_a_new_section_stands_in_the_order_of_the_names() -> None:
    text = "# Experiments\n\nWords.\n\n## a\n\nA.\n\n## c\n\nC.\n"
    both = with_section(text, "b", "## b\n\nB.\n")
    assert both == "# Experiments\n\nWords.\n\n## a\n\nA.\n\n## b\n\nB.\n\n## c\n\nC.\n"
    assert with_section(both, "b", "## b\n\nB.\n") == both


def test_runs_that_are_missing_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    lines = store.journal.path.read_text().splitlines(keepends=True)
    store.journal.path.write_text("".join(lines[1:]))
    with pytest.raises(StoreError, match=r"Runs are not finished: 1 missing, 0 failed, 0 stale\."):
        published_from(store.path, NAME)


def test_another_experiment_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    changed = experiment(NAME).model_copy(update={"seeds": 9})
    (store.path / "experiment.json").write_text(changed.model_dump_json())
    with pytest.raises(StoreError, match=r"not made by the present quickstart\.yaml, which differs in seeds"):
        published_from(store.path, NAME)
    (store.path / "experiment.json").unlink()
    with pytest.raises(StoreError, match=r"not made by the present quickstart\.yaml\."):
        published_from(store.path, NAME)


def test_claims_that_were_written_in_other_words_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    text = read_published(NAME).header.yaml
    other = text.replace("attention: softmax, ", "attention: {name: softmax}, ")
    assert other != text
    write_provenance(store.path, Provenance("attnlab sweep quickstart", "/there/quickstart.yaml", other))
    with pytest.raises(StoreError, match=r"which differs in claims") as refused:
        published_from(store.path, NAME)
    assert "without options that have their defaults" in refused.value.hint


def test_runs_of_several_versions_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    store.append([altered(store.records()[0], torch="1.0")])
    with pytest.raises(StoreError, match=r"The runs differ in torch: 1\.0, "):
        published_from(store.path, NAME)


@pytest.mark.parametrize("more", ["--store /data/mine", "--plugin ~/mine.py", "--store=/data/mine"])
def test_a_command_with_a_folder_of_a_machine_is_refused(more: str, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", f"attnlab sweep {NAME} {more}")
    with pytest.raises(StoreError, match="Its command names a folder of this machine"):
        published_from(store.path, NAME)


@pytest.mark.parametrize("more", ["--store mine --quiet", "--store=A/mine --executor processes:1"])
def test_the_command_names_no_store_since_another_one_holds_the_same(more: str, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", f"attnlab sweep {NAME} {more}")
    words = "--executor processes:1" if "executor" in more else ""
    assert published_from(store.path, NAME).header.command == f"attnlab sweep {NAME} {words}".strip()
