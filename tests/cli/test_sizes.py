"""Numbers, sizes, bytes and outputs of the command line that nothing can be done with: one block each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from attnlab.cli.faults import check_words, memory_error, system_error
from attnlab.errors import ECHO, AttnlabError, InvalidValueError, clipped, echo
from attnlab.records import Record
from tests.cli.conftest import TINY, Command


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sample", "copy", "--sequences", "9999999999999"), "At most"),
        (("sample", "copy:alphabet=9999999999999"), "'alphabet' = 9,999,999,999,999 would take"),
        (("sample", "copy", "--sequences", "9" * 30), "64 bits."),
        (("sample", "copy", "--sequences", "1_0"), "is not a whole number"),
        (("sample", "copy", "--sequences", "٣"), "is not a whole number"),
        (("sample", "copy", "--sequences", "1e3"), "is not a whole number"),
        (("sample", "copy", "--complexity", "[4]"), "A level cannot be [4]."),
        (("sample", "copy", "--complexity", "{a: 1}"), "A level cannot be {'a': 1}."),
        (("train", "--lr", "inf"), "is not a number"),
        (("train", "--complexity", "[4]"), "A level cannot be [4]."),
        (("train", "--attn", "softmax*9999999999"), "at most 2,000 are accepted"),
        (("train", "--seeds", "9999999999"), "Use at most 1,000,000 seeds"),
        (("sweep", "--task", "copy", "--seeds", "9999999999", "--dry-run"), "seeds are"),
        (("sample", "delay:lags=" + "[" * 1500 + "1" + "]" * 1500), "nested too deeply"),
    ],
)
def test_what_cannot_be_is_one_block(command: Command, words: tuple[str, ...], expected: str) -> None:
    result = command(*words)
    assert result.status == 2
    assert expected in result.error
    assert result.out == ""


def test_an_evaluation_that_cannot_be_is_refused_before_it_begins(command: Command) -> None:
    run = Record.from_line(command("train", *TINY, "--pos", "rotary", "--quiet", "--json").out).id
    for words, expected in (
        (
            ("--length", "9000000000000000000"),
            "--length\n  The evaluation of one sequence of 9,000,000,000,000,000,000 ",
        ),
        (
            ("--length", "4,9000000000"),
            "--length\n  The evaluation of one sequence of 9,000,000,000 tokens would take ",
        ),
        (("--complexity", "9000000000000"), "copy\n  'symbols' = 9,000,000,000,000 would take about 144 TB"),
        (("--sequences", "100000001"), "--sequences\n  These are 100,000,001 test sequences; at most 100,000,000 are"),
    ):
        result = command("evaluate", run, *words, "--quiet")
        assert (result.status, result.out) == (2, "")
        assert result.error.startswith(f"attnlab: {expected}")
        assert "would fit." in result.error or "Use at most 100,000,000." in result.error
    result = command("diagnose", "rank-collapse", "--run", run, "--sequences", "9000000000000")
    assert result.status == 2
    assert "--sequences\n  9,000,000,000,000 sequences of 4 tokens would take about" in result.error
    result = command("diagnose", "rank-collapse", "--run", run, "--length", "9000000000000")
    assert "A sequence of 9,000,000,000,000 tokens would take about 288 TB" in result.error


def test_test_sequences_that_do_not_fit_are_refused_when_a_run_is_planned(command: Command) -> None:
    result = command("train", *TINY, "--set", "train.test_examples=9000000000000")
    assert result.status == 2
    assert result.error.startswith("attnlab: train.test_examples\n  It is 9,000,000,000,000. A run would take about")


def test_more_combinations_than_can_be_planned_are_refused(command: Command) -> None:
    values = ",".join(map(str, range(1, 41)))
    grid = [word for name in ("width", "lr", "eval_every", "weight_decay") for word in ("--grid", f"{name}={values}")]
    result = command("sweep", "--task", "copy", *grid, "--dry-run")
    assert result.status == 2
    assert "2,560,000 combinations are" in result.error


def test_refusals_repeat_little_of_a_long_value(command: Command) -> None:
    value = "y" * 5000
    for words in (
        ("sample", value),
        ("sample", "copy", "--sequences", value),
        ("train", "--set", f"model.width={value}"),
    ):
        result = command(*words)
        assert result.status == 2
        assert "y" * 30 in result.error
        assert result.error.count("y") <= 2 * ECHO
    assert len(clipped(value)) <= ECHO
    assert len(echo([1] * 5000)) <= ECHO
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert echo(nested) == "this list"
    assert echo(10**5000) == "this int"
    assert len(AttnlabError("It's long: " + "word " * 5000).problem) < 1500


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    check_words(["é", "\x00"])
    with pytest.raises(InvalidValueError, match=r"These bytes are not UTF-8: 'a\\xff'"):
        check_words(["train", os.fsdecode(b"a\xff")])


def test_names_that_are_too_long_are_one_block(command: Command) -> None:
    for words in (("train", "--plugin", "x" * 300 + ".py"), ("ls", "results", "--store", "x" * 300)):
        result = command(*words)
        assert result.status == 2
        assert "File name too long" in result.error


def test_errors_of_the_system_and_of_memory_are_told_apart_from_faults() -> None:
    assert system_error(OSError(5, "x")) is not None
    assert system_error(ConnectionRefusedError(111, "x")) is None
    assert memory_error(RuntimeError("another")) is None
    found = memory_error(MemoryError("Unable to allocate 745. GiB"))
    assert found is not None
    assert "Unable to allocate 745. GiB" in str(found)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_is_full_is_one_line_and_one_that_is_closed_is_none(
    unbuffered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is buffered fails at the end of the command, and everything else where it is written."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    words = [sys.executable, "-m", "attnlab", "--version"]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert result.stderr == "attnlab: The output cannot be written: No space left on device.\n"
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    os.close(writing)
    assert result.stderr == ""
