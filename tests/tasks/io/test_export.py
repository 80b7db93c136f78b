from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnlab.choices import SplitName
from attnlab.errors import AttnlabError, InterruptedTraining, InvalidFileError, InvalidValueError, UnknownNameError
from attnlab.files.leftovers import machine
from attnlab.specs import TaskSpec
from attnlab.tasks import IGNORE, TASKS, Batch, Split, Task
from attnlab.tasks.io.export import SPLITS, export
from attnlab.tasks.io.formats import FORMATS, npy_header
from attnlab.tasks.io.reading import read_table
from attnlab.tasks.io.sidecar import PADDING, Sidecar, fingerprint, read_sidecar, sidecar_path
from attnlab.tasks.io.streams import Source, build

COPY = TaskSpec(name="copy", options={"symbols": 3, "alphabet": 12}, complexity="symbols", version=1)
RANGED = COPY.model_copy(update={"train": {"symbols": "1..5"}})
SUFFIXES = sorted(FORMATS)
PINNED = {
    ".npz": "168cbd3cf3d5",
    ".jsonl": "8b121dc502c9",
    ".txt": "155d0d484295",
}
"""Beginning of the SHA-256 of a file of a hundred sequences of the task below, on every machine."""
NULLS = "b86e44f42884"
"""The same for .jsonl with null where nothing is asked."""
every_format = pytest.mark.parametrize("suffix", SUFFIXES)


class Lenient(Task):
    """A task with two accepted tokens."""

    complexity = "depth"

    def __init__(self, *, depth: int = 3) -> None:
        self.vocabulary, self.length, self.chance, self.best_accuracy = 4, depth, 0.5, float("nan")

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Accept the input token and the next one."""
        inputs_BT = random.integers(0, 4, (batch, self.length))
        flat = inputs_BT.ravel()
        return Batch(inputs_BT, inputs_BT, np.stack([flat, (flat + 1) % 4], axis=1))


class Counting(Task):
    """A task without randomness, so that a file depends on its writer only."""

    complexity = "width"

    def __init__(self, *, width: int = 7) -> None:
        self.vocabulary, self.length, self.chance = 5, width, 0.2

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Consecutive numbers; every third one is supervised."""
        inputs_BT = np.arange(batch * self.length).reshape(batch, self.length) % 5
        return Batch(inputs_BT, np.where(inputs_BT % 3 == 0, inputs_BT, IGNORE))


def rows(path: Path) -> list[tuple[list[int], list[int]]]:
    """Read the rows of a file without the package's own readers."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            pairs = zip(arrays["inputs"].tolist(), arrays["targets"].tolist(), strict=True)
            return list(pairs)
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        result = parquet.read_table(path).to_pylist()
    else:
        result = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["inputs"], [IGNORE if t is None else t for t in row["targets"]]) for row in result]


def rows_of(batches: list[Batch]) -> list[tuple[list[int], list[int]]]:
    return [pair for b in batches for pair in zip(b.inputs_BT.tolist(), b.targets_BT.tolist(), strict=True)]


@pytest.mark.parametrize("suffix", [".npz", ".jsonl", ".parquet"])
@pytest.mark.parametrize("split", SPLITS)
def test_a_file_contains_what_a_run_draws(suffix: str, split: SplitName, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    export(COPY, path, sequences=150, seed=7, split=split)
    source = Source(COPY, 7)
    expected = (
        [source.training(step, 64) for step in range(3)]
        if split == "training"
        else source.held_out(SPLITS[split], 150, 64)
    )
    assert rows(path) == rows_of(expected)[:150]


def test_batches_are_the_same_one_at_a_time() -> None:
    source = Source(COPY, 0)
    one = [batch.inputs_BT.tolist() for batch in source.iter_held_out(Split.TEST, 10, 4)]
    assert one == [batch.inputs_BT.tolist() for batch in source.held_out(Split.TEST, 10, 4)]


@pytest.mark.parametrize("suffix", [".npz", ".jsonl", ".parquet"])
def test_ranges_of_training_give_rows_of_several_lengths(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    sidecar = export(RANGED, path, sequences=640)
    expected = rows_of([Source(RANGED, 0).training(step, 64) for step in range(10)])
    assert len({len(tokens) for tokens, _ in expected}) > 2
    assert (sidecar.length, sidecar.train) == (10, {"symbols": "1..5"})
    if suffix == ".npz":
        expected = [(t + [PADDING] * (10 - len(t)), d + [IGNORE] * (10 - len(d))) for t, d in expected]
    assert rows(path) == expected
    assert export(RANGED, tmp_path / "test.npz", sequences=3, split="test").length == 6


@every_format
def test_equal_requests_give_equal_bytes(suffix: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in "abc"]
    sidecars = [export(COPY, path, sequences=100, seed=seed) for path, seed in zip(paths, (0, 0, 1), strict=True)]
    one, same, other = (path.read_bytes() for path in paths)
    assert one == same != other
    assert sidecars[0] == sidecars[1]
    assert sidecar_path(paths[0]).read_bytes() == sidecar_path(paths[1]).read_bytes()
    assert sidecars[0].sha256 == hashlib.sha256(one).hexdigest()


@pytest.mark.parametrize("suffix", PINNED)
def test_the_bytes_are_the_same_on_every_machine(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    TASKS.register("counting", source="here")(Counting)
    assert export(TaskSpec(name="counting"), path, sequences=100).sha256[:12] == PINNED[suffix]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_targets_are_integers_unless_null_is_asked_for(suffix: str, tmp_path: Path) -> None:
    TASKS.register("counting", source="here")(Counting)
    spec, path, other = TaskSpec(name="counting"), tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    export(spec, path, sequences=3)
    sidecar = export(spec, other, sequences=3, ignore_index="null")
    if suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        numbers, nulls = (parquet.read_table(one).column("targets").to_pylist() for one in (path, other))
        assert str(parquet.read_schema(path).field("targets").type) == "list<element: int32>"
    else:
        numbers, nulls = (
            [json.loads(line)["targets"] for line in one.read_text().splitlines()] for one in (path, other)
        )
        assert export(spec, other, sequences=100, ignore_index="null", force=True).sha256[:12] == NULLS
    assert numbers[0] == [0, -100, -100, 3, -100, 0, -100]
    assert nulls[0] == [0, None, None, 3, None, 0, None]
    assert sidecar.ignore == -100
    np.testing.assert_array_equal(read_table(path).targets_NT, read_table(other).targets_NT[:3])


@pytest.mark.parametrize("suffix", [".npz", ".txt"])
def test_null_is_refused_where_a_format_has_none(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError) as caught:
        export(COPY, tmp_path / f"a{suffix}", sequences=2, ignore_index="null")
    assert caught.value.where == "--ignore-index"
    assert caught.value.problem == f"Files with the suffix '{suffix}' have no null."
    assert caught.value.hint == "Leave it out, or write one of: .jsonl, .parquet."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".jsonl", ".txt"])
def test_a_longer_file_begins_with_a_shorter_one(suffix: str, tmp_path: Path) -> None:
    short, long = (tmp_path / f"{count}{suffix}" for count in (70, 200))
    for path, count in ((short, 70), (long, 200)):
        export(COPY, path, sequences=count)
    assert long.read_bytes().startswith(short.read_bytes())


def test_an_archive_has_no_dates_and_no_compression(tmp_path: Path) -> None:
    export(COPY, tmp_path / "a.npz", sequences=5)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None
        assert [info.filename for info in archive.infolist()] == ["inputs.npy", "targets.npy"]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("shape", [(1, 1), (5, 64), (10_000_000, 128)])
def test_the_header_of_an_array_is_read_by_numpy(shape: tuple[int, int]) -> None:
    file = io.BytesIO(npy_header(shape))
    assert np.lib.format.read_magic(file) == (1, 0)
    assert np.lib.format.read_array_header_1_0(file) == (shape, False, np.dtype("<i4"))
    assert file.tell() % 64 == 0
    assert file.read() == b""


def test_text_is_aligned(tmp_path: Path) -> None:
    export(COPY, tmp_path / "a.txt", sequences=2)
    upper, lower, blank, *rest = (tmp_path / "a.txt").read_text().split("\n")
    assert (len(upper), blank, len(rest)) == (len(lower), "", 4)
    tokens = upper.split()[1:]
    assert lower.split() == ["targets", ".", ".", ".", *tokens[:3]]
    assert tokens[3] == "|"


def test_the_sidecar_describes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    sidecar = export(COPY, path, sequences=20, seed=3, split="validation")
    data = json.loads(sidecar_path(path).read_bytes())
    assert data == sidecar.model_dump(mode="json")
    strings = [*map(str, range(12)), "|"]
    expected = {"task": "copy", "options": COPY.options, "version": 1, "vocabulary": 13, "length": 6}
    expected |= {"token_strings": strings}
    expected |= {"seed": 3, "split": "validation", "sequences": 20, "ignore": IGNORE, "padding": PADDING, "train": {}}
    assert expected.items() <= data.items()
    assert (data["chance"], data["best_accuracy"], data["multiple_targets"]) == (build(COPY).chance, 1.0, False)
    assert read_sidecar(path) == sidecar


def test_a_sidecar_of_format_1_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"content")
    old = {
        "format": 1,
        "task": "copy",
        "options": {"symbols": 1, "alphabet": 2},
        "train": {},
        "version": 1,
        "vocabulary": 3,
        "symbols": ["0", "1", "|"],
        "length": 2,
        "chance": 0.5,
        "ceiling": 1.0,
        "several": True,
        "ignore": -100,
        "padding": 0,
        "seed": 0,
        "stream": "test",
        "sequences": 4,
        "attnlab": "0.1.0",
        "sha256": fingerprint(path),
    }
    sidecar_path(path).write_text(json.dumps(old))
    assert read_sidecar(path) == Sidecar(
        task="copy",
        options={"symbols": 1, "alphabet": 2},
        version=1,
        vocabulary=3,
        token_strings=("0", "1", "|"),
        length=2,
        chance=0.5,
        best_accuracy=1.0,
        multiple_targets=True,
        seed=0,
        split="test",
        sequences=4,
        attnlab="0.1.0",
        sha256=fingerprint(path),
    )


def test_multiple_targets_are_recorded(tmp_path: Path) -> None:
    TASKS.register("lenient", source="here")(Lenient)
    sidecar = export(TaskSpec(name="lenient"), tmp_path / "a.npz", sequences=3)
    assert sidecar.multiple_targets
    assert sidecar.best_accuracy is None


@pytest.mark.parametrize("suffix", [".npz", ".jsonl", ".txt"])
def test_memory_does_not_grow_with_the_sequences(suffix: str, tmp_path: Path) -> None:
    peaks = []
    for count in (2_000, 20_000):
        tracemalloc.start()
        export(COPY, tmp_path / f"{count}{suffix}", sequences=count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    size = (tmp_path / f"20000{suffix}").stat().st_size
    assert size > 900_000
    assert peaks[1] - peaks[0] < size / 10


@every_format
def test_progress_rises_to_one(suffix: str, tmp_path: Path) -> None:
    shares: list[float] = []
    export(COPY, tmp_path / f"a{suffix}", sequences=200, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert shares[0] < 0.5


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("a.csv", InvalidValueError, "The suffix '.csv' belongs to no format.\n  Accepted: .npz, .jsonl, .parquet, "),
        ("a", InvalidValueError, "The file name has no suffix.\n  Accepted: .npz,"),
        ("none/a.npz", InvalidFileError, "The folder {folder}/none does not exist.\n  Create it first"),
        ("folder.npz", InvalidFileError, "This is a folder."),
        ("there.npz", InvalidFileError, "there.npz exists already.\n  Add --force to replace it."),
        ("described.npz", InvalidFileError, "described.npz.json exists already.\n  Add --force"),
    ],
)
def test_an_invalid_path_is_refused(name: str, kind: type[AttnlabError], message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    for name_in_use in ("there.npz", "described.npz.json"):
        (tmp_path / name_in_use).write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(kind) as caught:
        export(COPY, tmp_path / name, sequences=2)
    assert str(caught.value).startswith(f"{tmp_path / name}\n  {message.format(folder=tmp_path)}")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_force_replaces_file_and_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for file in (path, sidecar_path(path)):
        file.write_text("old")
    assert export(COPY, path, sequences=2, force=True) == read_sidecar(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npz", "a.npz.json"]


def test_parquet_without_pyarrow_shows_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("attnlab.tasks.io.formats.importlib.import_module", absent)
    with pytest.raises(InvalidValueError) as caught:
        export(COPY, tmp_path / "a.parquet", sequences=2)
    assert "Install it with: pip install 'attnlab[parquet]'" in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a.parquet"))
    assert list(tmp_path.iterdir()) == []


@every_format
@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (KeyboardInterrupt(), InterruptedTraining, "Stopped by Ctrl-C; nothing was written."),
        (
            OSError(28, "No space left on device"),
            InvalidFileError,
            "It cannot be written: No space left on device.",
        ),
    ],
)
def test_an_interrupted_export_leaves_nothing(
    raised: BaseException, kind: type[AttnlabError], message: str, suffix: str, tmp_path: Path
) -> None:
    def stop(share: float) -> None:
        temporary = {path.name.split(f".{machine()}-")[0] for path in tmp_path.iterdir()}
        assert temporary == {f".a{suffix}", f".a{suffix}.json"}
        if share > 0.4:
            raise raised

    with pytest.raises(kind, match=message):
        export(COPY, tmp_path / f"a{suffix}", sequences=500, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    old = export(COPY, path, sequences=5)

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(InterruptedTraining):
        export(COPY, path, sequences=500, force=True, progress=stop)
    assert read_sidecar(path) == old


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (lambda data: "[1]", InvalidFileError, "The JSON value is a list, not an object."),
        (lambda data: "{", InvalidFileError, "This is not JSON: "),
        (lambda data: json.dumps({**data, "color": 1}), UnknownNameError, "There is no key 'color'"),
        (lambda data: json.dumps({**data, "chance": 2}), InvalidValueError, "It cannot be 2."),
        (lambda data: json.dumps({**data, "ignore": -1}), InvalidValueError, "It cannot be -1."),
        (
            lambda data: json.dumps({**data, "sha256": "0" * 64}),
            InvalidFileError,
            "It describes a file with SHA-256 000000000000",
        ),
    ],
)
def test_an_invalid_sidecar_is_refused(
    spoil: Callable[[dict[str, Any]], str], kind: type[AttnlabError], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    sidecar = export(COPY, path, sequences=5)
    sidecar_path(path).write_text(spoil(sidecar.model_dump(mode="json")))
    with pytest.raises(kind) as caught:
        read_sidecar(path)
    assert caught.value.problem.startswith(message)
    assert caught.value.where.startswith(str(sidecar_path(path)))


def test_a_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"one", b"other"):
        path.write_bytes(content)
        assert fingerprint(path) == hashlib.sha256(content).hexdigest()
    with pytest.raises(InvalidFileError, match="There is no such file"):
        fingerprint(tmp_path / "b")
