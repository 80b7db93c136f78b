"""Published records: the file, its digest, and what is refused."""

from __future__ import annotations

import gzip
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from attnlab import resources
from attnlab.config.experiment import parse_experiment
from attnlab.errors import StoreError, StoreWarning, UnknownNameError
from attnlab.storage.published import read_published
from attnlab.storage.published_file import FORMAT, Header, Published, decoded, encoded, published_environment
from tests.rendering.fake_runs import seeds

YAML = "name: small\nquestion: Does it?\nladders: [recall]\n"


def small() -> Published:
    """Three runs of one cell."""
    header = Header(
        format=FORMAT,
        name="small",
        command="attnlab sweep small",
        ended="2026-11-30T01:02:03Z",
        machine={"attnlab": "0.1.0", "torch": "2.13.0", "device": "cpu", "processor": "x86_64", "threads": 1},
        runs=3,
        yaml=YAML,
        yaml_sha256="",
    )
    records = tuple(record.model_copy(update={"environment": {"seconds": 20.0}}) for record in seeds([0.5, 0.75, 1.0]))
    return Published(header, parse_experiment(YAML, "small.yaml"), records)


def content_of(published: Published) -> bytes:
    return gzip.decompress(encoded(published))


def decode(content: bytes) -> Published:
    return decoded(gzip.compress(content), "there")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the built-in files, which a test may change: its folder of experiments."""
    for kind in resources.KINDS:
        shutil.copytree(resources.folder(kind), tmp_path / kind)
    (tmp_path / "attnlab").mkdir()
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "attnlab" / "resources.py"))
    return tmp_path.resolve() / "experiments"


def test_what_is_written_is_read() -> None:
    found = decode(content_of(small()))
    assert found.records == small().records
    assert found.experiment == small().experiment.model_copy()
    assert found.header == small().header.model_copy(update={"sha256": found.header.sha256})
    assert content_of(found) == content_of(small())


def test_the_same_records_are_the_same_file() -> None:
    assert encoded(small()) == encoded(small())


def test_it_tells_what_made_it() -> None:
    assert small().about == (
        "ended 2026-11-30, attnlab 0.1.0, torch 2.13.0, cpu x86_64, one thread for each run; 3 runs, "
        "1:00 min of computing"
    )
    assert small().provenance.command == "attnlab sweep small"
    assert small().provenance.yaml == YAML


def changed_record(content: bytes) -> bytes:
    return content.replace(b'"steps":', b'"steps": ', 1)


def fewer_records(content: bytes) -> bytes:
    return content[: content.rstrip(b"\n").rfind(b"\n") + 1]


def other_command(content: bytes) -> bytes:
    return content.replace(b"sweep small", b"sweep large", 1)


def without_the_experiment(content: bytes) -> bytes:
    first, _, rest = content.partition(b"\n")
    return json.dumps({"format": FORMAT, "name": json.loads(first)["name"]}).encode() + b"\n" + rest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (changed_record, "its content is not that of its digest"),
        (fewer_records, "its content is not that of its digest"),
        (other_command, "its content is not that of its digest"),
        (without_the_experiment, "command is not as expected"),
        (lambda content: content[1:], "its first line is no header"),
        (lambda content: b"", "its first line is no header"),
        (lambda content: b"[]\n", "its first line is not as expected"),
    ],
)
def test_a_changed_content_is_refused(change: Callable[[bytes], bytes], reason: str) -> None:
    content = content_of(small())
    assert change(content) != content
    with pytest.raises(StoreError) as caught:
        decode(change(content))
    assert str(caught.value) == (
        f"there\n  The published records are damaged: {reason}.\n"
        "  Install attnlab anew, or take this file from its repository."
    )


def test_a_newer_format_is_told() -> None:
    newer = content_of(small()).replace(b'"format": 1', b'"format": 2', 1)
    with pytest.raises(StoreError, match="These records have format 2; this attnlab reads up to 1"):
        decode(newer)


def test_a_record_of_a_newer_attnlab_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnlab.storage.published_file._digest", lambda header, lines: "")  # it was written so
    newer = content_of(small()).replace(b'"status":"done"', b'"status":"paused"', 1)
    with pytest.raises(StoreError, match=r"This attnlab does not know status of a record\.\n  Update attnlab\."):
        decode(newer)


def test_a_line_separator_of_unicode_ends_no_record() -> None:
    first, *rest = small().records
    odd = Published(small().header, small().experiment, (first.model_copy(update={"reason": "a\u2028b"}), *rest))
    assert decoded(encoded(odd), "there").records == odd.records


def test_every_damaged_byte_of_a_file_is_found(shipped: Path) -> None:
    path = resources.published_path("quickstart")
    whole = path.read_bytes()
    assert path.is_relative_to(shipped)
    for place in range(10, len(whole), len(whole) // 12):  # gzip ignores what it says of itself in the first ten
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StoreError, match="The published records are damaged"):
            read_published("quickstart")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="The published records are damaged"):
        read_published("quickstart")


def test_an_experiment_that_has_changed_since_is_told(shipped: Path) -> None:
    path = shipped / "quickstart.yaml"
    path.write_text(path.read_text().replace("seeds: 5", "seeds: 6").replace("width: 32", "width: 48"))
    text = "quickstart: published for another version of the experiment: seeds, model."
    with pytest.warns(StoreWarning, match=f"^{text}$"):
        found = read_published("quickstart")
    assert found.experiment.seeds == 5


@pytest.mark.parametrize(
    ("old", "new"), [("expected_steps: 0.81", "expected_steps: 0.5"), ("name:", "# A note.\nname:")]
)
def test_what_changes_no_number_is_not_told(old: str, new: str, shipped: Path) -> None:
    path = shipped / "quickstart.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_published("quickstart")


def test_an_experiment_that_is_gone_is_told(shipped: Path) -> None:
    (shipped / "quickstart.yaml").unlink()
    with pytest.warns(StoreWarning, match="it is no longer built in"):
        read_published("quickstart")


def test_a_name_of_attnlab_0_1_is_understood(shipped: Path) -> None:
    assert resources.published_path("expressive-medley").name == "expressive-mixture.jsonl.gz"


def test_an_experiment_without_published_records_names_its_command(shipped: Path) -> None:
    (shipped / "published" / "quickstart.jsonl.gz").unlink()
    with pytest.raises(UnknownNameError) as caught:
        read_published("quickstart")
    assert str(caught.value) == (
        "--published\n  The records of 'quickstart' are not published.\n"
        f"  Run it: attnlab sweep quickstart\n  Published: {', '.join(resources.published_names())}."
    )


def test_a_wrong_name_suggests_the_closest() -> None:
    with pytest.raises(UnknownNameError, match=r"no experiment with published records 'quikstart'; did you mean"):
        read_published("quikstart")


def test_only_versions_machine_and_times_are_published() -> None:
    environment = {"torch": "2", "seconds": 1.0, "host": "mine", "user": "me", "code": [{"path": "/home/me/x.py"}]}
    assert published_environment(environment) == {"torch": "2", "seconds": 1.0}
