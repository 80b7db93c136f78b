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

from attnlab.errors import AttnlabError, InterruptedTraining, InvalidFileError, InvalidValueError, UnknownNameError
from attnlab.specs import TaskSpec
from attnlab.tasks import IGNORE, TASKS, Batch, Split, Task
from attnlab.tasks.io.export import STREAMS, StreamName, export
from attnlab.tasks.io.formats import FORMATS, npy_head
from attnlab.tasks.io.sidecar import PADDING, beside, fingerprint, read_sidecar
from attnlab.tasks.io.streams import Source

COPY = TaskSpec(name="copy", options={"symbols": 3, "alphabet": 12}, complexity="symbols", version=1)
RANGED = COPY.model_copy(update={"train": {"symbols": "1..5"}})
ENDINGS = sorted(FORMATS)
PINNED = {
    ".npz": "168cbd3cf3d5",
    ".jsonl": "b86e44f42884",
    ".txt": "8aaef835f04f",
}
"""What a hundred counted sequences are, on every machine."""
every_format = pytest.mark.parametrize("ending", ENDINGS)


class Lenient(Task):
    """Two answers are right."""

    complexity = "depth"

    def __init__(self, *, depth: int = 3) -> None:
        self.vocabulary, self.length, self.chance, self.best_accuracy = 4, depth, 0.5, float("nan")

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Every answer, or the next one."""
        inputs_BT = random.integers(0, 4, (batch, self.length))
        flat = inputs_BT.ravel()
        return Batch(inputs_BT, inputs_BT, np.stack([flat, (flat + 1) % 4], axis=1))


class Counting(Task):
    """Nothing is drawn: what a file holds is then a matter of its writer alone."""

    complexity = "width"

    def __init__(self, *, width: int = 7) -> None:
        self.vocabulary, self.length, self.chance = 5, width, 0.2

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Numbers in a row; every third is asked."""
        inputs_BT = np.arange(batch * self.length).reshape(batch, self.length) % 5
        return Batch(inputs_BT, np.where(inputs_BT % 3 == 0, inputs_BT, IGNORE))


def rows(path: Path) -> list[tuple[list[int], list[int]]]:
    """Rows of a file, read by other means than those of the package."""
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


def drawn(batches: list[Batch]) -> list[tuple[list[int], list[int]]]:
    return [pair for b in batches for pair in zip(b.inputs_BT.tolist(), b.targets_BT.tolist(), strict=True)]


@pytest.mark.parametrize("ending", [".npz", ".jsonl", ".parquet"])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_file_holds_what_a_run_sees(ending: str, stream: StreamName, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    export(COPY, path, sequences=150, seed=7, stream=stream)
    source = Source(COPY, 7)
    seen = (
        [source.training(step, 64) for step in range(3)]
        if stream == "training"
        else source.held_out(STREAMS[stream], 150, 64)
    )
    assert rows(path) == drawn(seen)[:150]


def test_streams_are_held_batch_by_batch() -> None:
    source = Source(COPY, 0)
    one = [batch.inputs_BT.tolist() for batch in source.iter_held_out(Split.TEST, 10, 4)]
    assert one == [batch.inputs_BT.tolist() for batch in source.held_out(Split.TEST, 10, 4)]


@pytest.mark.parametrize("ending", [".npz", ".jsonl", ".parquet"])
def test_ranges_of_training_give_rows_of_several_lengths(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    sidecar = export(RANGED, path, sequences=640)
    seen = drawn([Source(RANGED, 0).training(step, 64) for step in range(10)])
    assert len({len(tokens) for tokens, _ in seen}) > 2
    assert (sidecar.length, sidecar.train) == (10, {"symbols": "1..5"})
    if ending == ".npz":
        seen = [(t + [PADDING] * (10 - len(t)), d + [IGNORE] * (10 - len(d))) for t, d in seen]
    assert rows(path) == seen
    assert export(RANGED, tmp_path / "test.npz", sequences=3, stream="test").length == 6


@every_format
def test_equal_requests_give_equal_bytes(ending: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}{ending}" for name in "abc"]
    sidecars = [export(COPY, path, sequences=100, seed=seed) for path, seed in zip(paths, (0, 0, 1), strict=True)]
    one, same, other = (path.read_bytes() for path in paths)
    assert one == same != other
    assert sidecars[0] == sidecars[1]
    assert beside(paths[0]).read_bytes() == beside(paths[1]).read_bytes()
    assert sidecars[0].sha256 == hashlib.sha256(one).hexdigest()


@pytest.mark.parametrize("ending", PINNED)
def test_the_bytes_are_those_of_every_machine(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    TASKS.register("counting", source="here")(Counting)
    assert export(TaskSpec(name="counting"), path, sequences=100).sha256[:12] == PINNED[ending]


@pytest.mark.parametrize("ending", [".jsonl", ".txt"])
def test_a_shorter_file_begins_a_longer_one(ending: str, tmp_path: Path) -> None:
    short, long = (tmp_path / f"{count}{ending}" for count in (70, 200))
    for path, count in ((short, 70), (long, 200)):
        export(COPY, path, sequences=count)
    assert long.read_bytes().startswith(short.read_bytes())


def test_an_archive_has_no_dates_and_no_compression(tmp_path: Path) -> None:
    export(COPY, tmp_path / "a.npz", sequences=5)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None
        assert [member.filename for member in archive.infolist()] == ["inputs.npy", "targets.npy"]
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("shape", [(1, 1), (5, 64), (10_000_000, 128)])
def test_the_head_of_an_array_is_read_by_numpy(shape: tuple[int, int]) -> None:
    file = io.BytesIO(npy_head(shape))
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


def test_the_sidecar_tells_all(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    sidecar = export(COPY, path, sequences=20, seed=3, stream="validation")
    data = json.loads(beside(path).read_bytes())
    assert data == sidecar.model_dump(mode="json")
    symbols = [*map(str, range(12)), "|"]
    wanted = {"task": "copy", "options": COPY.options, "version": 1, "vocabulary": 13, "symbols": symbols, "length": 6}
    wanted |= {"seed": 3, "stream": "validation", "sequences": 20, "ignore": IGNORE, "padding": PADDING, "train": {}}
    assert wanted.items() <= data.items()
    assert (data["chance"], data["ceiling"], data["several"]) == (1 / 12, 1.0, False)
    assert read_sidecar(path) == sidecar


def test_several_right_answers_are_told(tmp_path: Path) -> None:
    TASKS.register("lenient", source="here")(Lenient)
    sidecar = export(TaskSpec(name="lenient"), tmp_path / "a.npz", sequences=3)
    assert sidecar.several
    assert sidecar.ceiling is None


@pytest.mark.parametrize("ending", [".npz", ".jsonl", ".txt"])
def test_memory_does_not_grow_with_the_sequences(ending: str, tmp_path: Path) -> None:
    peaks = []
    for count in (2_000, 20_000):
        tracemalloc.start()
        export(COPY, tmp_path / f"{count}{ending}", sequences=count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    size = (tmp_path / f"20000{ending}").stat().st_size
    assert size > 900_000
    assert peaks[1] - peaks[0] < size / 10


@every_format
def test_progress_rises_to_one(ending: str, tmp_path: Path) -> None:
    shares: list[float] = []
    export(COPY, tmp_path / f"a{ending}", sequences=200, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert shares[0] < 0.5


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("a.csv", InvalidValueError, "The ending '.csv' names no format.\n  Accepted: .npz, .jsonl, .parquet, .txt."),
        ("a", InvalidValueError, "The name has no ending.\n  Accepted: .npz,"),
        ("none/a.npz", InvalidFileError, "There is no folder {folder}/none.\n  Make it first"),
        ("folder.npz", InvalidFileError, "This is a folder."),
        ("there.npz", InvalidFileError, "there.npz is there already.\n  Write --force to replace it."),
        ("described.npz", InvalidFileError, "described.npz.json is there already.\n  Write --force"),
    ],
)
def test_a_place_that_cannot_be_is_refused(name: str, kind: type[AttnlabError], message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    for taken in ("there.npz", "described.npz.json"):
        (tmp_path / taken).write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(kind) as caught:
        export(COPY, tmp_path / name, sequences=2)
    assert str(caught.value).startswith(f"{tmp_path / name}\n  {message.format(folder=tmp_path)}")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_force_replaces_file_and_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for place in (path, beside(path)):
        place.write_text("old")
    assert export(COPY, path, sequences=2, force=True) == read_sidecar(path)
    assert sorted(place.name for place in tmp_path.iterdir()) == ["a.npz", "a.npz.json"]


def test_parquet_without_pyarrow_tells_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        (OSError(28, "No space left on device"), InvalidFileError, "It cannot be written: No space left on device."),
    ],
)
def test_what_stops_midway_leaves_nothing(
    raised: BaseException, kind: type[AttnlabError], message: str, ending: str, tmp_path: Path
) -> None:
    def stop(share: float) -> None:
        assert [path.name.startswith(f".a{ending}.") for path in tmp_path.iterdir()] == [True]
        if share > 0.4:
            raise raised

    with pytest.raises(kind, match=message):
        export(COPY, tmp_path / f"a{ending}", sequences=500, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_what_stops_midway_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    saved = export(COPY, path, sequences=5)

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(InterruptedTraining):
        export(COPY, path, sequences=500, force=True, progress=stop)
    assert read_sidecar(path) == saved


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (lambda data: "[1]", InvalidFileError, "It holds a list, not an object."),
        (lambda data: "{", InvalidFileError, "It is no JSON: "),
        (lambda data: json.dumps({**data, "color": 1}), UnknownNameError, "There is no key 'color'"),
        (lambda data: json.dumps({**data, "chance": 2}), InvalidValueError, "It cannot be 2."),
        (lambda data: json.dumps({**data, "ignore": -1}), InvalidValueError, "It cannot be -1."),
        (
            lambda data: json.dumps({**data, "sha256": "0" * 64}),
            InvalidFileError,
            "It belongs to a file of SHA-256 000000000000",
        ),
    ],
)
def test_a_sidecar_that_is_none_is_refused(
    spoil: Callable[[dict[str, Any]], str], kind: type[AttnlabError], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    sidecar = export(COPY, path, sequences=5)
    beside(path).write_text(spoil(sidecar.model_dump(mode="json")))
    with pytest.raises(kind) as caught:
        read_sidecar(path)
    assert caught.value.problem.startswith(message)
    assert caught.value.where.startswith(str(beside(path)))


def test_a_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"one", b"other"):
        path.write_bytes(content)
        assert fingerprint(path) == hashlib.sha256(content).hexdigest()
    with pytest.raises(InvalidFileError, match="There is no such file"):
        fingerprint(tmp_path / "b")
