from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from attnlab.config.inline_parts import merged, parse_part, parse_settings, parse_variants
from attnlab.errors import InvalidValueError
from attnlab.specs import Part


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("softmax", "softmax", {}),
        (" softmax ", "softmax", {}),
        ("dape:kernel=3", "dape", {"kernel": 3}),
        ("dape: kernel = 3 , scale=1e-3", "dape", {"kernel": 3, "scale": 0.001}),
        ("gpam:mode=fixed,tied=true,on=no", "gpam", {"mode": "fixed", "tied": True, "on": "no"}),
        ("gpam:word=a=b", "gpam", {"word": "a=b"}),
        ("gpam:word=", "gpam", {"word": None}),
    ],
)
def test_a_part_with_options(text: str, name: str, options: dict[str, Any]) -> None:
    assert parse_part(text) == Part(name=name, options=options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dape:kernel", "dape:kernel\n  'kernel' is not an option.\n  Write dape:key=value,key=value."),
        ("file:a.npz", "file:a.npz\n  'a.npz' is not an option.\n  Write file:path=a.npz."),
        ("dape:=3", "dape:=3\n  '=3' is not an option.\n  Write dape:key=value,key=value."),
        ("dape:a=1,a=2", "dape:a=1,a=2\n  The option 'a' is given twice."),
        ("", "''\n  A name is missing.\n  Write name, or name:key=value."),
        (":a=1", ":a=1\n  A name is missing.\n  Write name, or name:key=value."),
    ],
)
def test_a_broken_part_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_part(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "stacks"),
    [
        ("softmax", [["softmax"]]),
        ("softmax,expressive", [["softmax"], ["expressive"]]),
        ("dape:kernel=3,width=16,softmax", [["dape:kernel=3,width=16"], ["softmax"]]),
        ("dape:kernel=3,gpam:tied=true", [["dape:kernel=3"], ["gpam:tied=true"]]),
        ("softmax+gpam,dape", [["softmax", "gpam"], ["dape"]]),
        ("a:x=1e+3+b", [["a:x=1000", "b"]]),
        ("a:x=1+b", [["a:x=1", "b"]]),
        ("softmax*3+delta", [["softmax", "softmax", "softmax", "delta"]]),
        ("a + b * 2, c*4", [["a", "b", "b"], ["c"]]),
        ("a:x=3*2+b", [["a:x=3", "a:x=3", "b"]]),
        ("a:x=1e+3*2+b", [["a:x=1000", "a:x=1000", "b"]]),
    ],
)
def test_variants_split_at_commas_and_stacks_at_plus(text: str, stacks: list[list[str]]) -> None:
    assert [[str(one) for one in stack] for stack in parse_variants(text)] == stacks


@pytest.mark.parametrize("word", ["softmax*0", "softmax*", "softmax*x", "*3", "softmax*-1", "softmax*1.5"])
def test_a_repetition_without_a_number_is_refused(word: str) -> None:
    for text in (word, f"{word}+delta", f"delta+{word}"):
        with pytest.raises(InvalidValueError) as caught:
            parse_variants(text)
        assert str(caught.value) == (
            f"{text}\n  '{word}' does not say how many layers in a row have the part.\n"
            "  Write name*N with N of 1 or more, as in softmax*3+delta."
        )


@pytest.mark.parametrize("text", ["softmax,", ",softmax", "softmax,,gpam"])
def test_an_empty_variant_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match=r"A name is missing\."):
        parse_variants(text)


@pytest.mark.parametrize(
    ("text", "word", "side"),
    [
        ("softmax+", "softmax+", "after"),
        ("+softmax", "+softmax", "before"),
        ("gpam,softmax++dape:kernel=3", "softmax++dape:kernel=3", "after"),
    ],
)
def test_a_missing_name_beside_a_plus_is_refused_with_the_whole_word(text: str, word: str, side: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_variants(text)
    assert str(caught.value) == (f"{word}\n  A name is missing {side} '+'.\n  Write name+name, or leave '+' out.")


@given(some.lists(some.sampled_from(["softmax", "dape:kernel=3", "gpam:a=0.5,b=true"]), min_size=1, max_size=4))
def test_what_parts_write_is_read_back(words: list[str]) -> None:
    assert [str(stack[0]) for stack in parse_variants(",".join(words))] == words


def test_settings_nest_and_later_ones_win() -> None:
    words = ["train.lr=1e-3", "model.norm=post", "train.weight_decay=0", "train.lr = 0.1", "seed=3"]
    assert parse_settings(words) == {"train": {"lr": 0.1, "weight_decay": 0}, "model": {"norm": "post"}, "seed": 3}


@pytest.mark.parametrize("word", ["train.lr", "=3", "train..lr=3", ".lr=1", "train.=1"])
def test_a_broken_setting_is_refused(word: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_settings([word])
    assert str(caught.value) == f"--set\n  '{word}' is not a setting.\n  Write dotted.key=value."


def test_a_setting_through_a_value_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_settings(["train=3", "train.lr=1"])
    assert str(caught.value) == (
        "--set train.lr=1\n  'train' is set to a value already.\n  Set either the value or its keys."
    )


def test_merged_goes_inside_mappings_and_the_second_wins() -> None:
    under = {"a": {"x": 1, "y": 2}, "b": 1, "c": {"z": 1}}
    over = {"a": {"y": 3}, "b": {"q": 1}, "c": 4, "d": 5}
    assert merged(under, over) == {"a": {"x": 1, "y": 3}, "b": {"q": 1}, "c": 4, "d": 5}
    assert under == {"a": {"x": 1, "y": 2}, "b": 1, "c": {"z": 1}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("copy:alphabet=99999999999999999999", "larger than 2"),
        ("delay:lags=" + "[" * 25 + "1" + "]" * 25, "too deeply"),
    ],
)
def test_options_that_nothing_can_hold_are_refused_where_they_stand(text: str, problem: str) -> None:
    with pytest.raises(InvalidValueError, match=problem) as caught:
        parse_part(text)
    assert caught.value.where == text
