"""Command blocks are found, run in order and compared; and those of the manual do what it says (slow)."""

from __future__ import annotations

from pathlib import Path

import pytest

from manual.blocks import alike, blocks, console_steps, run_page
from manual.pages import DOCS

LANGUAGES = {"console", "bash", "python", "yaml", "text", "shell", "pycon"}
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))

PAGE = """
```text title="name.txt"
Ann
```

```console
$ cat \\
    name.txt
Ann
$ echo 3 runs
4 runs
```

<!-- exits 3 -->
```console
$ exit 3
```

<!-- first 1 -->
```python
print("a")
```

```text title="Output"
b
```

```shell
exit 1
```
"""


def test_blocks_are_run_in_order_and_compared(tmp_path: Path) -> None:
    text, differences = run_page(PAGE, tmp_path)
    assert [one.command for one in differences] == ["python"]
    assert text == PAGE.replace("4 runs", "3 runs").replace('title="Output"\nb\n', 'title="Output"\na\n')


def test_a_wrong_status_is_a_difference_even_where_numbers_vary(tmp_path: Path) -> None:
    page = "<!-- varies -->\n```console\n$ echo x; exit 1\nanything\n```\n"
    _, (difference,) = run_page(page, tmp_path)
    assert "exit status 1, not 0" in difference.problem


def test_attnlab_of_a_block_is_the_one_under_test(tmp_path: Path) -> None:
    page = "```console\n$ python -c 'import attnlab, sys; print(attnlab.__file__)'\n```\n"
    text, _ = run_page(page, tmp_path)
    assert str(DOCS.parent / "attnlab") in text


def test_lines_below_a_command_are_its_output() -> None:
    steps = list(console_steps("$ a\n$ b\nout\n\nmore\n"))
    assert [(one.command, one.shown) for one in steps] == [("a", ""), ("b", "out\n\nmore")]


def test_ids_and_numbers_may_differ_and_words_may_not() -> None:
    assert alike("run 0bd9396cc2b2  99.8 %\n────", "run 4274be5a7e65 100 %\n──")
    assert not alike("solved 1", "unsolved 1")


@pytest.mark.parametrize("name", PAGES)
def test_every_block_has_a_language_that_says_whether_it_is_run(name: str) -> None:
    found = blocks((DOCS / name).read_text())
    assert (DOCS / name).read_text().count("\n```") == 2 * len(found)
    assert {one.language for one in found} <= LANGUAGES
    assert [one.body for one in found if one.title == "Output" and not one.body.strip()] == []
    consoles = [one for one in found if one.language == "console"]
    assert all(one.body.startswith("$ ") for one in consoles)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_do_what_it_says(name: str, tmp_path: Path) -> None:
    _, differences = run_page((DOCS / name).read_text(), tmp_path)
    assert "\n\n".join(f"{one.command}\n{one.problem}" for one in differences) == ""
