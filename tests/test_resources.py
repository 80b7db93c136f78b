from __future__ import annotations

from pathlib import Path

import pytest

from attnlab import resources
from attnlab.errors import InvalidFileError, UnknownNameError


def test_names_are_sorted_and_hold_the_first_ladders() -> None:
    names = resources.names("tasks")
    assert names == sorted(names)
    assert {"copy", "delay", "parity", "recall"} <= set(names)


def test_a_name_leads_to_its_file() -> None:
    path = resources.find("tasks", "recall")
    assert path == resources.folder("tasks") / "recall.yaml"
    assert path.is_file()


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("a: 1")
    assert resources.find("tasks", str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"


def test_an_installed_folder_comes_before_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "attnlab" / "_resources" / "tasks").mkdir(parents=True)
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "attnlab" / "resources.py"))
    assert resources.folder("tasks") == tmp_path.resolve() / "attnlab" / "_resources" / "tasks"
    assert resources.folder("experiments") == tmp_path.resolve() / "experiments"


@pytest.mark.parametrize("word", ["a/b", "a\\b", "a.yaml", "a.yml", "./a"])
def test_words_that_are_files(word: str) -> None:
    assert resources.is_file(word)


@pytest.mark.parametrize("word", ["recall", "parity-last", "yaml", "a.yamlx"])
def test_words_that_are_names(word: str) -> None:
    assert not resources.is_file(word)


def test_a_wrong_name_suggests_the_closest() -> None:
    with pytest.raises(UnknownNameError, match=r"There is no task 'recal'; did you mean 'recall'\?"):
        resources.find("tasks", "recal")


def test_a_missing_file_is_told_by_its_path() -> None:
    with pytest.raises(InvalidFileError) as caught:
        resources.find("tasks", "nowhere/a.yaml")
    assert str(caught.value) == (
        "nowhere/a.yaml\n  There is no such file.\n  Give the path of a YAML file, or a built-in name."
    )
