"""Every mistake of a user ends in one block and exit status 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.cli.faults import check_words
from attnlab.errors import InvalidValueError
from tests.cli.conftest import TINY, Command

LADDER = """\
name: mine
summary: A ladder of mine.
task: recall
complexity: pairs
levels: [1, 2]
default: 2
source: me
"""

MISTAKES = {
    ("--task", "recal"): """\
attnlab: task
  There is no task 'recal'; did you mean 'recall'?
""",
    ("--attn", "sofmax"): """\
attnlab: model.attention: sofmax
  There is no attention 'sofmax'; did you mean 'softmax'?
""",
    ("--pos", "rotery"): """\
attnlab: model.position: rotery
  There is no position 'rotery'; did you mean 'rotary'?
""",
    ("--attn", "dape:kernl=3"): """\
attnlab: model.attention: dape:kernl=3
  'dape' has no option 'kernl'; did you mean 'kernel'?
  Known: form, kernel, padding, width.
""",
    ("--attn", "dape:kernel=wide"): """\
attnlab: model.attention: dape:kernel=wide
  Option 'kernel' cannot be 'wide'.
  Input should be a valid integer. Default: 1.
""",
    ("--attn", "dape:kernel=0"): """\
attnlab: model.attention: dape:kernel=0
  Option 'kernel' cannot be 0.
  Input should be greater than or equal to 1. Default: 1.
""",
    ("--attn", "dape:kernel"): """\
attnlab: dape:kernel
  'kernel' is not an option.
  Write dape:key=value,key=value.
""",
    ("--attn", "gpam:lambdas=tied,minus=0.3"): """\
attnlab: model.attention: gpam:lambdas=tied,minus=0.3
  'minus' has no meaning where lambdas are tied.
""",
    ("--width", "65"): """\
attnlab: model.heads
  A width of 65 does not divide into 2 heads.
  Numbers of heads that divide it: 1, 5, 13, 65.
""",
    ("--width", "6", "--pos", "rotary"): """\
attnlab: model.position: rotary
  Rotary positions need an even number of channels per head, not 3.
  With 2 heads, use a width that is a multiple of 4.
""",
    ("--complexity", "40"): """\
attnlab: recall
  40 pairs do not fit 64 tokens.
  Use at most 16 pairs, or a length of at least 160.
""",
    ("--complexity", "many"): """\
attnlab: recall
  Option 'pairs' cannot be 'many'.
""",
    ("--task", "recall:pairs=2", "--complexity", "4"): """\
attnlab: recall
  Both complexity and 'pairs' are given; they are one option.
""",
    ("--steps", "0"): """\
attnlab: train.max_steps
  It cannot be 0.
  Input should be greater than or equal to 1.
""",
    ("--set", "train.stps=3"): """\
attnlab: train.stps
  There is no key 'stps'; did you mean 'max_steps'?
""",
    ("--set", "model.norm=mid"): """\
attnlab: model.norm
  It cannot be 'mid'.
  Input should be 'pre', 'post' or 'none'.
""",
    ("--set", "modle.norm=pre"): """\
attnlab: --set modle
  There is no section 'modle'; did you mean 'model'?
""",
    ("--set", "train.lr"): """\
attnlab: --set
  'train.lr' is not a setting.
  Write dotted.key=value.
""",
    ("--set", "weight_decay=1"): """\
attnlab: --set weight_decay
  There is no section 'weight_decay'.
  Write --set train.weight_decay=1.
""",
    ("--set", "symbols=3"): """\
attnlab: --set symbols
  There is no section 'symbols'.
  Write --set task.symbols=3 for an option of the task.
""",
    ("--attn", "softmax,gpam+"): """\
attnlab: gpam+
  A name is missing after '+'.
  Write name+name, or leave '+' out.
""",
    ("--device", "cuda"): """\
attnlab: --device
  There is no device 'cuda' here.
""",
    ("--task", "./absent.yaml"): """\
attnlab: ./absent.yaml
  There is no such file.
""",
    ("--plugin", "absent.py"): """\
attnlab: --plugin absent.py
  There is no such Python file.
""",
}


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_gives_one_message(
    words: tuple[str, ...], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = command("train", *words)
    assert (result.status, result.out) == (2, "")
    assert result.error.startswith(MISTAKES[words])
    assert len(result.error.splitlines()) <= 6  # at most four lines of names
    assert max(map(len, result.error.splitlines())) <= 100
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--lr", "abc"), ("--seeds", "0"), ("--device", "tpu"), ("--atn", "softmax")])
def test_a_mistyped_option_is_misuse(words: tuple[str, str], command: Command, tmp_path: Path) -> None:
    result = command("train", *words)
    assert result.status == 2
    assert words[0] in result.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("task: recal", "mine.yaml:3: task\n  There is no task 'recal'; did you mean 'recall'?"),
        ("complexity: piars", "mine.yaml:4: complexity\n  'recall' has no option 'piars'; did you mean 'pairs'?"),
        ("levels: 1", "mine.yaml:5: levels\n  It cannot be 1."),
        ("levels: [1, two]", "mine.yaml:5: levels[1]\n  Option 'pairs' cannot be 'two'."),
        ("sumary: x", "mine.yaml:8: sumary\n  There is no key 'sumary'; did you mean 'summary'?"),
        ("options: {lenght: 8}", "mine.yaml:8: options.lenght\n  'recall' has no option 'lenght'"),
        ("options: {filler: some}", "mine.yaml:8: options.filler\n  Option 'filler' cannot be 'some'."),
        ("source: you", "mine.yaml:8\n  Not valid YAML: the key 'source' stands twice, first on line 7."),
        ("notes: [", "mine.yaml:9\n  Not valid YAML"),
    ],
)
def test_a_mistake_in_a_ladder_is_located_by_file_and_line(
    line: str, message: str, command: Command, tmp_path: Path
) -> None:
    key = line.split(":")[0]
    before = LADDER.splitlines()
    lines = [other for other in before if not other.startswith(f"{key}:") or key == "source"]
    index = next((index for index, other in enumerate(before) if other.startswith(f"{key}:")), len(lines))
    lines.insert(len(lines) if key == "source" else index, line)
    (tmp_path / "mine.yaml").write_text("\n".join(lines) + "\n")
    result = command("train", "--task", "mine.yaml")
    assert result.status == 2
    assert result.error.startswith(f"attnlab: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_file_that_fails_to_import_shows_its_own_error(command: Command, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\nimport a_module_nobody_has\n")
    result = command("train", "--plugin", "broken.py")
    assert result.status == 2
    assert result.error.startswith(
        "attnlab: --plugin broken.py\n  ModuleNotFoundError: No module named 'a_module_nobody_has'"
    )
    assert "broken.py:2: import a_module_nobody_has" in result.error
    assert "Traceback" not in result.error


def test_stores_that_cannot_be_used_are_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "store.json").write_text('{"format": 99}')
    results = {name: command("train", *TINY, "--store", name) for name in ("file", "file/below", "newer")}
    assert [result.status for result in results.values()] == [2, 2, 2]
    assert results["file"].error.startswith("attnlab: file\n  This is a file, not a folder.")
    assert results["file/below"].error.startswith("attnlab: file/below\n  It cannot be written: Not a directory.")
    assert "This store has format 99; this attnlab reads up to 2." in results["newer"].error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "newer"]


@pytest.mark.parametrize("words", [("train", "--store", ""), ("ls", "results", "--store="), ("rm", "--store=", "x")])
def test_a_folder_without_a_name_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(InvalidValueError, match="It is empty") as caught:
        check_words(words)
    assert caught.value.where == "--store"
    check_words([])
    check_words(["train", "--store"])  # typer tells that its value is missing
