"""Words of docstrings as Markdown."""

from __future__ import annotations

import pytest

from manual.markdown import block, code, documentation, escape, inline, table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 * 3 * 4", r"2 \* 3 \* 4"),
        ("a_ij [B x T] <b>", r"a\_ij \[B x T\] \<b\>"),
        ("1. first", r"1\. first"),
        ("- dash", r"\- dash"),
        ("0.003, or -1", "0.003, or -1"),
        ("a & b", "a &amp; b"),
    ],
)
def test_markdown_shows_text_as_it_is(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_code_roles_and_numbers_of_papers_are_marked() -> None:
    links = {"attnlab.train": "running.md#attnlab.train"}
    text = "See :func:`attnlab.train` and :class:`torch.Tensor`; ``a | b`` of arXiv:2407.18601."
    assert inline(text, lambda name: links.get(name, "")) == (
        "See [`train`](running.md#attnlab.train) and `Tensor`; `a | b` of "
        "[arXiv:2407.18601](https://arxiv.org/abs/2407.18601)."
    )


def test_code_with_a_backtick_is_code() -> None:
    assert code("a`b") == "``a`b``"
    assert block("```", "yaml").startswith("````yaml\n")


def test_a_bar_ends_no_cell() -> None:
    assert table(("a", "b"), [("`x | y`", r"u | v")]).splitlines()[-1] == r"| `x | y` | u \| v |"


def test_documentation_keeps_formulas_and_labels() -> None:
    text = "Words of\ntwo lines.\n\n    a_i = b * c\n      + d\n\nSource   Gros, arXiv:2407.18601.\nTheirs   z -> x."
    prose, formula, labels = documentation(text).split("\n\n")
    assert prose == "Words of two lines."
    assert formula == "```text\na_i = b * c\n  + d\n```"
    assert labels.splitlines()[-1] == r"| **Theirs** | z -\> x. |"
