"""``attnlab generate``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attnlab.tasks import IGNORE
from attnlab.tasks.io.export import SplitSequences
from tests.cli.conftest import Command

COPY = ("generate", "copy", "--complexity", "3", "--sequences", "70")


def test_a_file_is_written_and_reported(command: Command, tmp_path: Path) -> None:
    result = command(*COPY, "--out", "a.npz")
    assert (result.status, result.error) == (0, "")
    assert result.out == "Wrote 70 sequences of copy, symbols 3, to a.npz; a.npz.json describes them.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "a.npz.json"]
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["inputs"].shape == arrays["targets"].shape == (70, 6)


def test_a_file_contains_what_sample_shows(command: Command, tmp_path: Path) -> None:
    words = ("recall", "--set", "task.filler=zeros", "--seed", "5", "--complexity", "2")
    command("generate", *words, "--sequences", "64", "--out", "a.jsonl")
    shown = json.loads(command("sample", *words, "--sequences", "64", "--json").out)
    result = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["inputs"] for row in result] == shown["inputs"]
    assert [[IGNORE if t is None else t for t in row["targets"]] for row in result] == shown["targets"]


def test_null_is_written_where_it_is_asked_for(command: Command, tmp_path: Path) -> None:
    for value, expected in (("-100", [-100] * 3), ("null", [None] * 3)):
        assert command(*COPY, "--out", "a.jsonl", "--ignore-index", value, "--force").status == 0
        assert json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])["targets"][:3] == expected
    result = command(*COPY, "--out", "a.npz", "--ignore-index", "null")
    assert (result.status, result.out) == (2, "")
    assert "Files with the suffix '.npz' have no null." in result.error
    assert not (tmp_path / "a.npz").exists()


def test_the_sidecar_as_json(command: Command) -> None:
    result = command("generate", "copy:alphabet=4", "--sequences", "3", "--out", "a.npz", "--split", "test", "--json")
    data = json.loads(result.out)
    assert (data["split"], data["sequences"], data["options"]["alphabet"]) == ("test", 3, 4)


def test_splits_and_seeds_differ(command: Command, tmp_path: Path) -> None:
    variants = [("--split", name, "--seed", seed) for name in ("training", "validation", "test") for seed in "01"]
    for index, words in enumerate(variants):
        assert command(*COPY, *words, "--out", f"{index}.jsonl").status == 0
    assert len({path.read_bytes() for path in tmp_path.glob("*.jsonl")}) == 6


def test_force_replaces(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    result = command(*COPY, "--out", "a.txt")
    assert result.status == 2
    assert result.error == "attnlab: a.txt\n  a.txt exists already.\n  Add --force to replace it.\n"
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert command(*COPY, "--out", "a.txt", "--force").status == 0
    assert (tmp_path / "a.txt").read_text().startswith("inputs ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("copi", "--out", "a.npz"), "task\n  There is no task 'copi'; did you mean 'copy'?"),
        (("copy", "--out", "a.csv"), "a.csv\n  The suffix '.csv' belongs to no format."),
        (("copy", "--out", "none/a.npz"), "none/a.npz\n  The folder none does not exist."),
        (("copy", "--complexity", "0", "--out", "a.npz"), "copy\n  Option 'symbols' cannot be 0."),
        (("copy", "--set", "train.max_steps=3", "--out", "a.npz"), "--set train\n  There is no section 'train'"),
        (("copy", "--set", "task.symbol=3", "--out", "a.npz"), "copy\n  'copy' has no option 'symbol'; did"),
    ],
)
def test_a_wrong_value_is_misuse_and_leaves_nothing(
    words: tuple[str, ...], message: str, command: Command, tmp_path: Path
) -> None:
    result = command("generate", *words)
    assert (result.status, result.out) == (2, "")
    assert result.error.startswith(f"attnlab: {message}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("copy",), ("copy", "--out", "a.npz", "--sequences", "0"), ("--out", "a.npz")])
def test_a_mistyped_request_is_misuse(words: tuple[str, ...], command: Command, tmp_path: Path) -> None:
    assert command("generate", *words).status == 2
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: SplitSequences) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SplitSequences, "batches", interrupted)
    result = command(*COPY, "--out", "a.npz")
    assert (result.status, result.error) == (130, "attnlab: a.npz\n  Stopped by Ctrl-C; nothing was written.\n")
    assert list(tmp_path.iterdir()) == []
