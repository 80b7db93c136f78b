from __future__ import annotations

import hashlib
import math
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from attnlab.errors import AttnlabError, InvalidFileError, InvalidValueError
from attnlab.specs import RunSpec
from attnlab.tasks import Split
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source, build
from attnlab.tasks.text import Text


@pytest.fixture
def digits(tmp_path: Path) -> str:
    """A text in which each byte is its position modulo 256."""
    path = tmp_path / "digits.txt"
    path.write_bytes(bytes(range(256)) * 4)
    return str(path)


def write_files(root: Path, **files: bytes) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def text_of(path: Path, **options: Any) -> bytes:
    return Text(path=str(path), length=1, **options).text.tobytes()


def test_the_example_of_the_module(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"To be,")
    task = Text(path="stdlib", length=5)
    task.text, task.byte_range = np.frombuffer(b"To be,", np.uint8), (0, 6)
    batch = task.sample(np.random.default_rng(0), 3)
    cells = task.render(batch, 2)
    assert [cell.token for cell in cells] == ["T", "o", "␣", "b", "e"]
    assert [cell.target for cell in cells] == ["o", "␣", "b", "e", ","]


def test_sizes(digits: str) -> None:
    task = Text(path=digits, length=7)
    assert (task.vocabulary, task.length, task.chance) == (256, 7, 4 / 921)
    assert math.isnan(task.best_accuracy)
    assert task.solve([1, 2]) is None


def test_the_target_of_every_position_is_the_next_byte(digits: str) -> None:
    batch = Text(path=digits, length=9).sample(np.random.default_rng(0), 50)
    np.testing.assert_array_equal(batch.inputs_BT[:, 1:], batch.targets_BT[:, :-1])
    np.testing.assert_array_equal(batch.targets_BT, (batch.inputs_BT + 1) % 256)


@pytest.mark.parametrize(
    ("split", "first", "end"),
    [(None, 0, 1000), (Split.TRAIN, 0, 900), (Split.VALIDATION, 900, 950), (Split.TEST, 950, 1000)],
)
def test_each_split_draws_uniformly_from_its_part_only(
    split: Split | None, first: int, end: int, tmp_path: Path
) -> None:
    path = tmp_path / "pairs"
    path.write_bytes(b"".join(bytes(divmod(number, 256)) for number in range(500)))
    task = Text(path=str(path), length=3)
    split_task = task if split is None else task.for_split(split)
    drawn = split_task.sample(np.random.default_rng(1), 100 * (end - first))
    windows = np.concatenate([drawn.inputs_BT, drawn.targets_BT[:, -1:]], axis=1).tolist()
    start_of = {path.read_bytes()[start : start + 4]: start for start in range(997)}
    starts = [start_of[bytes(window)] for window in windows]
    assert (min(starts), max(starts)) == (first, end - 4)
    counts = np.bincount(starts)[first:]
    assert chisquare(counts).pvalue > 1e-4
    assert chisquare(counts + np.arange(len(counts)) % 2 * 30).pvalue < 1e-4


def test_chance_is_the_share_of_the_most_frequent_byte_of_training(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"a" * 60 + b"b" * 30 + b"c" * 10)
    assert Text(path=str(path), length=2).majority_share == 60 / 90
    path.write_bytes(b"a" * 40 + b"b" * 45 + b"a" * 15)
    assert Text(path=str(path), length=2).majority_share == 45 / 90
    assert Text(path=str(path), length=2).chance >= 45 / 90


def test_the_majority_guess_scores_chance(tmp_path: Path) -> None:
    task = Text(length=32).for_split(Split.TRAIN)
    targets = task.sample(np.random.default_rng(0), 4000).targets_BT
    share = np.bincount(targets.ravel()).max() / targets.size
    assert abs(share - task.chance) < 0.01
    assert np.bincount(targets.ravel()).argmax() == ord(" ")


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    root = write_files(tmp_path, b_py=b"B" * 50, a_txt=b"A" * 50, c__a_py=b"C" * 50, c__b_bin=b"\0" * 50)
    (root / ".hidden").write_bytes(b"H" * 50)
    (root / ".git").mkdir()
    (root / ".git" / "a.py").write_bytes(b"G" * 50)
    assert text_of(root) == b"A" * 50 + b"B" * 50 + b"C" * 50
    assert text_of(root, glob="**/*.py") == b"B" * 50 + b"C" * 50
    assert text_of(root, glob="*.py") == b"B" * 50
    assert text_of(root, glob="**/*.bin") == b"\0" * 50
    assert text_of(root / "c" / "b.bin") == b"\0" * 50


def test_the_standard_library_is_read_from_its_folder() -> None:
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    assert Text().text.tobytes() == b"".join(path.read_bytes() for path in files)
    assert {path.stem for path in files} >= {"ast", "os", "argparse", "this"}


def test_the_digest_is_recorded_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"some words " * 90)
    ids = set()
    for content in (b"some words " * 90, b"SOME words " * 90):
        path.write_bytes(content)
        spec = task_spec(find_ladder("text"), {"path": str(path)}, 32)
        assert spec.options["digest"] == hashlib.sha256(content).hexdigest()
        assert Text.resolve_options(spec.options) == spec.options
        assert build(spec).length == 32
        ids.add(RunSpec(task=spec).id)
    assert len(ids) == 2
    path.write_bytes(b"some words " * 91)
    with pytest.raises(InvalidFileError) as caught:
        Source(spec, 0)
    assert str(caught.value).startswith(f"{path}\n  The content has changed: its SHA-256 is ")


def test_a_folder_with_one_more_file_is_another_text(tmp_path: Path) -> None:
    write_files(tmp_path, a_txt=b"some words " * 90)
    before = Text(path=str(tmp_path), length=8).digest
    write_files(tmp_path, b_txt=b"x")
    assert Text(path=str(tmp_path), length=8).digest != before


def test_the_loss_is_evaluated_at_every_level() -> None:
    spec = task_spec(find_ladder("text"), {}, None)
    source = Source(spec, 0)
    assert (spec.level, sorted(source.other_levels), source.length) == (64, [32, 128, 256], 256)
    assert source.task.length == 64


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"path": "none"},
            InvalidFileError,
            "none\n  There is no such file.\n  A relative path starts at the working directory",
        ),
        ({"path": "empty"}, InvalidFileError, "empty\n  This folder has no text files."),
        (
            {"path": ".", "glob": "*.rs"},
            InvalidFileError,
            ".\n  No file in this folder matches *.rs.\n  Give a glob such as **/*.py",
        ),
        ({"path": ".", "glob": "/*.rs"}, InvalidValueError, ".\n  The glob '/*.rs' is not a valid pattern: "),
        ({"path": "nothing"}, InvalidFileError, "nothing\n  0 bytes are too few for three splits: the smallest has 0."),
        ({"path": "short"}, InvalidFileError, "short\n  20 bytes are too few for three splits: the smallest has 1."),
        (
            {"path": "words", "length": 50},
            InvalidValueError,
            "words\n  Windows of 50 bytes and the next byte do not fit the smallest split, of 50.\n"
            "  Use a length of at most 49, or a longer text.",
        ),
    ],
)
def test_invalid_options_are_refused(
    options: dict[str, Any], kind: type[AttnlabError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name, size in (("nothing", 0), ("short", 20), ("words", 1000)):
        (tmp_path / name).write_bytes(b"x" * size)
    with pytest.raises(kind) as caught:
        Text(**options)
    assert str(caught.value).startswith(message)


def test_the_longest_window_is_drawn_from_every_split(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_bytes(b"x" * 1000)
    task = Text(path=str(path), length=49)
    for split in (Split.TRAIN, Split.VALIDATION, Split.TEST):
        assert task.for_split(split).sample(np.random.default_rng(0), 4).inputs_BT.shape == (4, 49)


@pytest.mark.parametrize(
    ("byte", "text"), [(32, "␣"), (10, "\\n"), (65, "A"), (92, "\\"), (0, "\\x00"), (255, "\\xff")]
)
def test_bytes_are_shown_as_characters(byte: int, text: str) -> None:
    assert Text().token_to_str(byte) == text


@pytest.mark.parametrize("split", [Split.VALIDATION, Split.TEST])
def test_held_out_windows_do_not_overlap_and_are_asked_once(split: Split, tmp_path: Path) -> None:
    path = tmp_path / "pairs"
    path.write_bytes(b"".join(bytes(divmod(number, 256)) for number in range(5000)))
    source = Source(task_spec(find_ladder("text"), {"path": str(path)}, 8).model_copy(update={"evaluate": ()}), 0)
    content, batches = path.read_bytes(), source.held_out(split, 1024, 64)
    windows = [bytes([*row, last]) for b in batches for row, last in zip(b.inputs_BT, b.targets_BT[:, -1], strict=True)]
    starts = sorted(content.index(window, 9000) for window in windows)
    first, end = {Split.VALIDATION: (9000, 9500), Split.TEST: (9500, 10_000)}[split]
    assert (starts[0], starts[-1]) == (first, first + 8 * 61)
    assert np.unique(np.diff(starts)).tolist() == [8]
    assert starts[-1] + 9 <= end
    assert len(starts) == 62
    few = [row.tobytes() for b in source.held_out(split, 10, 4) for row in b.inputs_BT]
    assert len(set(few)) == len(few) == 10
