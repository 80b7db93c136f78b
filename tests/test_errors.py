from __future__ import annotations

from typing import get_args

import pytest

from attnlab import errors
from attnlab.choices import ListKind
from attnlab.errors import AttnlabError, InterruptedTraining, InvalidValueError, UnknownNameError, unknown


def test_message_is_where_then_indented_found_and_hint() -> None:
    error = InvalidValueError("It cannot be 3.", "Use 4.\nOr 5.", where="a.yaml:2: lr")
    assert str(error) == "a.yaml:2: lr\n  It cannot be 3.\n  Use 4.\n  Or 5."


def test_message_without_place_and_hint_is_one_line() -> None:
    assert str(AttnlabError("Broken.")) == "  Broken."


def test_at_fills_in_a_missing_place_and_keeps_the_kind() -> None:
    placed = InvalidValueError("Wrong.", "Right.").at("--lr")
    assert type(placed) is InvalidValueError
    assert (placed.problem, placed.hint, placed.where) == ("Wrong.", "Right.", "--lr")


def test_at_never_replaces_a_known_place() -> None:
    error = InvalidValueError("Wrong.", where="a.yaml:1")
    assert error.at("--lr") is error


def test_every_exception_is_on_the_page_and_in_the_tree() -> None:
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert kinds >= {
        "UnknownNameError",
        "InvalidValueError",
        "InvalidFileError",
        "IncompatiblePartsError",
        "PluginError",
        "DeviceError",
        "StoreError",
    }
    for name in kinds - {"RenamedWarning", "PartWarning", "NewerRecordWarning", "StoreWarning"}:
        assert issubclass(getattr(errors, name), AttnlabError)
        assert name in (errors.__doc__ or "")


def test_statuses_are_those_of_the_command_line() -> None:
    assert InvalidValueError("x").status == 2
    assert InterruptedTraining("x").status == 130


def test_unknown_suggests_the_closest_and_lists_all() -> None:
    error = unknown("attention", "Sofmax", ["softmax", "gpam"], where="--attn")
    assert type(error) is UnknownNameError
    assert str(error) == "--attn\n  There is no attention 'Sofmax'; did you mean 'softmax'?\n  Known: gpam, softmax."


def test_unknown_names_the_owner() -> None:
    error = unknown("metric", "foo", ["bar"], owner="The diagnosis 'attention'")
    assert str(error) == "  The diagnosis 'attention' has no metric 'foo'.\n  Known: bar."


def test_unknown_lists_the_closest_of_many_names() -> None:
    names = [f"name-{number}" for number in range(180)] + ["softmax"]
    first, *lines = str(unknown("attention", "softmx", names)).splitlines()
    assert first == "  There is no attention 'softmx'; did you mean 'softmax'?"
    listed = " ".join(line.strip() for line in lines)
    assert listed.startswith("Closest: softmax, name-")
    assert listed.endswith(". All 181: attnlab ls attentions")
    assert listed.count("name-") == 4


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("attention", ". All 180: attnlab ls attentions"),
        ("key", ", and 175 more. See: attnlab schema"),
        ("field", ", and 175 more. See: attnlab show RUN --json"),
        ("part", ", and 175 more. See: attnlab ls --help"),
        ("option", ", and 175 more."),
    ],
)
def test_unknown_without_a_close_name_lists_five_in_short_lines(kind: str, end: str) -> None:
    names = [f"a-rather-long-name-{number:03}" for number in range(180)]
    first, *lines = str(unknown(kind, "zzz", names)).splitlines()
    assert first == f"  There is no {kind} 'zzz'."
    assert max(map(len, lines)) <= 78
    listed = " ".join(line.strip() for line in lines)
    assert listed.startswith("Closest: ")
    assert listed.endswith(end)
    assert listed.count("a-rather") == 5


@pytest.mark.parametrize("kind", errors.LISTINGS)
def test_the_command_of_a_hint_lists_what_it_says(kind: str) -> None:
    kinds = ("attention", "position", "norm", "mlp", "block", "scorer")
    accepted = {f"{name}s": name for name in kinds}
    word = errors.LISTINGS[kind]
    assert accepted.get(word, word.replace("streams", "stream")) in get_args(ListKind)


@pytest.mark.parametrize(("known", "hint"), [(["softmax"], "Known: softmax."), ([], "None exists here.")])
def test_unknown_without_a_close_name_does_not_guess(known: list[str], hint: str) -> None:
    assert str(unknown("task", "zzz", known)) == f"  There is no task 'zzz'.\n  {hint}"


@pytest.mark.parametrize(
    ("kind", "standard"),
    [
        (UnknownNameError, LookupError),
        (InvalidValueError, ValueError),
        (errors.InvalidFileError, ValueError),
        (errors.IncompatiblePartsError, ValueError),
        (errors.PluginError, RuntimeError),
        (errors.DeviceError, RuntimeError),
        (errors.StoreError, RuntimeError),
        (InterruptedTraining, RuntimeError),
    ],
)
def test_each_is_caught_as_the_standard_exception_that_it_is(
    kind: type[AttnlabError], standard: type[Exception]
) -> None:
    with pytest.raises(standard) as caught:
        raise kind("Wrong.", "Right.", where="--lr")
    assert str(caught.value) == "--lr\n  Wrong.\n  Right."


def test_a_location_is_one_line() -> None:
    assert str(InvalidValueError("It is no store.", where="a\nb/")) == "a\\nb/\n  It is no store."
