from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.config.ladder import ladder, read_ladder
from attnlab.errors import InvalidFileError, InvalidValueError, UnknownNameError

GOOD = """\
name: mine
summary: My own.
task: recall
complexity: pairs
levels: [1, 2]
default: 1
options: {length: 32}
training: {pairs: 1..2}
train: {max_steps: 7}
source: me
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_a_ladder_is_read(tmp_path: Path) -> None:
    ladder = read_ladder(written(tmp_path, GOOD))
    assert (ladder.name, ladder.task, ladder.complexity, ladder.levels, ladder.default) == (
        "mine",
        "recall",
        "pairs",
        (1, 2),
        1,
    )
    assert (ladder.options, ladder.training, ladder.train) == ({"length": 32}, {"pairs": "1..2"}, {"max_steps": 7})
    assert (ladder.model, ladder.notes) == ({}, "")


def test_a_ladder_is_found_by_name_and_by_file(tmp_path: Path) -> None:
    assert ladder("recall").name == "recall"
    assert ladder(str(written(tmp_path, GOOD))).name == "mine"


def test_a_ladder_knows_its_lines(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    assert read_ladder(path).where("levels", 1) == f"{path}:5: levels[1]"
    assert read_ladder(path).where() == f"{path}:1"


@pytest.mark.parametrize(
    ("old", "new", "kind", "message"),
    [
        ("levels:", "level:", UnknownNameError, "5: level\n  There is no key 'level'; did you mean 'levels'?"),
        ("source: me\n", "", InvalidValueError, "1\n  'source' is missing.\n  Add a line source: ..."),
        ("[1, 2]", "[]", InvalidValueError, "5: levels\n  It cannot be []."),
        ("[1, 2]", "7", InvalidValueError, "5: levels\n  It cannot be 7.\n  Input should be a valid list."),
        ("default: 1", "default: [1]", InvalidValueError, "6: default\n  It cannot be [1]."),
        (
            "{length: 32}",
            "32",
            InvalidValueError,
            "7: options\n  It cannot be 32.\n  Input should be a valid dictionary.",
        ),
        (
            "source: me",
            "name: me",
            InvalidFileError,
            "10\n  Not valid YAML: the key 'name' stands twice, first on line 1.",
        ),
    ],
)
def test_a_broken_ladder_names_file_and_line(
    tmp_path: Path, old: str, new: str, kind: type[Exception], message: str
) -> None:
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(kind) as caught:
        read_ladder(path)
    assert str(caught.value).startswith(f"{path}:{message}")
