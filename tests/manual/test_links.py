"""Links that lead nowhere are found, in Markdown and in a built site."""

from __future__ import annotations

from pathlib import Path

from manual.links import Broken, broken_links, broken_site_links, page_anchors


def test_missing_pages_and_headings_are_found() -> None:
    pages = {
        "a.md": "# A\n[b](folder/b.md#second-part) [c](c.md) [d](folder/b.md#third) [e](https://example.org) `[f](f)`",
        "folder/b.md": "# B\n## Second part\n```text\n[g](g.md)\n```\n[up](../a.md) [here](#b)",
    }
    assert broken_links(pages) == [
        Broken("a.md", "c.md", "there is no such page"),
        Broken("a.md", "folder/b.md#third", "the page has no such heading"),
    ]


def test_anchors_are_those_of_the_site() -> None:
    text = "# One\n## `attnlab.train` { #attnlab.train }\n## One\n### Looking again: `--until decided`\n"
    assert list(page_anchors(text)) == ["one", "attnlab.train", "one_1", "looking-again-until-decided"]


def test_a_site_is_checked_for_links_and_for_other_servers(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "own.js").write_text("")
    (tmp_path / "style.css").write_text("@import 'https://fonts.example/a.css'; a { background: url(data:x) }")
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="style.css"><script src="own.js"></script><h1 id="top">x</h1>'
        '<script src="https://cdn.example/x.js"></script><img src="none.png">'
        '<a href="sub/">good</a><a href="sub/index.html#no">bad</a><a href="https://example.org">out</a>'
    )
    (tmp_path / "sub" / "index.html").write_text('<a href="../index.html#top">good</a><a href="gone.html">bad</a>')
    assert broken_site_links(tmp_path) == [
        Broken("index.html", "https://cdn.example/x.js", "it would be loaded from elsewhere"),
        Broken("index.html", "none.png", "there is no such file"),
        Broken("index.html", "sub/index.html#no", "the page has no such anchor"),
        Broken("sub/index.html", "gone.html", "there is no such page"),
        Broken("style.css", "https://fonts.example/a.css", "it would be loaded from elsewhere"),
    ]
