"""Text that generate writes is read back as the same sequences, and what cannot be read is told by its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnlab.config.inline_parts import parse_part
from attnlab.errors import InvalidFileError, InvalidValueError
from attnlab.specs import TaskSpec
from attnlab.tasks.file import File
from attnlab.tasks.io.aligned import check_words, dots
from attnlab.tasks.io.export import export
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.sidecar import sidecar_path


def spec(word: str) -> TaskSpec:
    part = parse_part(word)
    return task_spec(find_ladder(part.name), part.options, None)


@pytest.mark.parametrize("task", ["copy", "recall", "dyck", "mixture:tasks=[copy,parity]", "text"])
def test_what_is_written_is_read(task: str, tmp_path: Path) -> None:
    for suffix in (".txt", ".npz"):
        export(spec(task), tmp_path / f"a{suffix}", sequences=20)
    text, arrays = (File(path=str(tmp_path / f"a{suffix}")) for suffix in (".txt", ".npz"))
    np.testing.assert_array_equal(text.table.inputs_NT, arrays.table.inputs_NT)
    np.testing.assert_array_equal(text.table.targets_NT, arrays.table.targets_NT)
    assert (text.vocabulary, text.chance) == (arrays.vocabulary, arrays.chance)


def test_without_a_sidecar_the_words_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("inputs 3 1 4\ntargets . . 2\n\ninputs 5 6\n\n\ntargets . 7\n" * 10)
    table = File(path=str(path)).table
    assert table.inputs_NT[:2].tolist() == [[3, 1, 4], [5, 6, 0]]
    assert table.targets_NT[:2].tolist() == [[-100, -100, 2], [-100, 7, -100]]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("inputs 3 1\ninputs 3 1\n", 2, "A line of targets is due; this one begins with 'inputs'."),
        ('{"inputs": [3]}\n', 1, "A line of inputs is due; this one begins with '{\"inputs\":'."),
        ("inputs\ntargets .\n", 1, "A line of inputs is due; this one has no tokens."),
        ("inputs 3 1\ntargets . x\n", 2, "'x' is no token."),
        ("inputs 3 .\ntargets . 1\n", 1, "'.' is no token."),
        ("\ninputs 3 1\n", 2, "The targets of these inputs are missing."),
        ("inputs 3 1\ntargets . 1 1\n", 1, "The record has 2 inputs, but 3 targets."),
        ("inputs 3 1\ntargets . .\n", 1, "No position of this row is supervised."),
    ],
)
def test_the_first_wrong_line_is_named(text: str, line: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(InvalidFileError) as caught:
        File(path=str(path))
    assert (caught.value.where, caught.value.problem) == (f"{path}:{line}", message)


def test_a_word_that_the_sidecar_does_not_know_is_compared_with_those_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    export(spec("recall"), path, sequences=20)
    words = sidecar_path(path).read_text()
    path.write_text(path.read_text().replace("k1", "K1", 1))
    with pytest.raises(InvalidFileError, match="It describes a file with SHA-256"):
        File(path=str(path))
    from attnlab.tasks.io.sidecar import fingerprint

    sidecar_path(path).write_text(words.replace(words.split('"sha256": "')[1][:64], fingerprint(path)))
    with pytest.raises(InvalidFileError) as caught:
        File(path=str(path))
    assert caught.value.problem.startswith("'K1")
    assert "words; did you mean '" in caught.value.hint


def test_text_that_is_not_utf_8_is_no_file_of_sequences(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"inputs \xff\n")
    with pytest.raises(InvalidFileError, match="This is not text in UTF-8"):
        File(path=str(path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b", "a"], "The tokens 0 and 2 are both written 'a'."),
        (["a", "b c"], "The token 1 is written 'b c', which is no word."),
        (["a", ""], "The token 1 is written '', which is no word."),
    ],
)
def test_tokens_that_cannot_be_told_apart_are_not_written_as_text(words: list[str], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        check_words(words, "a.txt")
    assert caught.value.problem == message


def test_tokens_that_can_be_told_apart_are_accepted() -> None:
    check_words(["a", ".", "b"], "a.txt")
    assert dots(["a", ".", "b"]) == ".."
