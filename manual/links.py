"""Whether links and anchors of pages and of the built site resolve, and whether it loads anything from elsewhere."""

from __future__ import annotations

import html
import posixpath
import re
import unicodedata
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

FENCE = re.compile(r"^ *(`{3,}).*?^ *\1`*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+).+?\1", re.DOTALL)
LINK = re.compile(r"(?<!\\)\[(?:[^\[\]\\]|\\.)*\]\(([^()\s]+)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*(?:\{\s*#(\S+?)\s*\})?\s*$", re.MULTILINE)
CSS_ADDRESS = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "audio": "src", "video": "src"}
"""Elements whose address is loaded with the page."""
LOADED_RELATIONS = {
    "stylesheet",
    "icon",
    "preload",
    "preconnect",
    "prefetch",
    "dns-prefetch",
    "manifest",
    "modulepreload",
}


class Broken(NamedTuple):
    """A link that leads nowhere."""

    page: str
    link: str
    reason: str


def broken_links(pages: Mapping[str, str]) -> list[Broken]:
    """Check the links of pages to one another.

    Args:
        pages: Path -> Markdown.

    Returns:
        The links to pages or anchors that do not exist.
    """
    anchors = {path: set(page_anchors(text)) for path, text in pages.items()}
    broken = []
    for path, text in pages.items():
        for link in page_links(text):
            if urlsplit(link).scheme:
                continue
            name, _, anchor = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) if name else path
            if target not in pages:
                broken.append(Broken(path, link, "there is no such page"))
            elif anchor and anchor not in anchors[target]:
                broken.append(Broken(path, link, "the page has no such heading"))
    return broken


def page_links(text: str) -> Iterator[str]:
    """List the addresses of the links of a page.

    Args:
        text: Markdown.

    Yields:
        Addresses, those within code left out.
    """
    prose = FENCE.sub("", text)
    code = {found.span() for found in CODE.finditer(prose)}
    for found in LINK.finditer(prose):
        if not any(start <= found.start() and found.end() <= end for start, end in code):
            yield found[1]


def page_anchors(text: str) -> Iterator[str]:
    """List the ids of the headings of a page.

    Args:
        text: Markdown.

    Yields:
        The ids, as zensical makes them.
    """
    seen: dict[str, int] = {}
    for found in HEADING.finditer(FENCE.sub("", text)):
        name = found[2] or slug(re.sub(r"[`*]|\\(?=\W)|\[(.*?)\]\(.*?\)", r"\1", found[1]))
        count = seen[name] = seen.get(name, -1) + 1
        yield f"{name}_{count}" if count else name


def slug(heading: str) -> str:
    """Name a heading, as Python-Markdown does.

    >>> slug("How C50 is read")
    'how-c50-is-read'

    Args:
        heading: Its text.

    Returns:
        The id.
    """
    plain = unicodedata.normalize("NFKD", html.unescape(heading)).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


class _Page(HTMLParser):
    """The ids and addresses of a page of the site."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element has."""
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADING and LOADING[tag] in given:
            self.loaded.append(given[LOADING[tag]])
        if tag == "link" and LOADED_RELATIONS & set(given.get("rel", "").split()):
            self.loaded.append(given.get("href", ""))


def broken_site_links(site: Path) -> list[Broken]:
    """Check every link of a built site to itself, with anchors, and that no page loads anything from elsewhere.

    Args:
        site: The folder.

    Returns:
        What does not resolve, and what would be asked of another server.
    """
    pages = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        name = path.relative_to(site).as_posix()
        for address in page.loaded:
            if problem := _problem_of_loading(address, path, site):
                broken.append(Broken(name, address, problem))
        if name == "404.html":
            continue  # its links begin at the root of a server
        for link in page.links:
            if problem := _problem(link, path, site, pages):
                broken.append(Broken(name, link, problem))
    for path in sorted(site.rglob("*.css")):
        for found in CSS_ADDRESS.finditer(path.read_text()):
            address = found[1] or found[2]
            if urlsplit(address).scheme not in ("", "data") or address.startswith("//"):
                broken.append(Broken(path.relative_to(site).as_posix(), address, "it would be loaded from elsewhere"))
    return broken


def _problem_of_loading(address: str, path: Path, site: Path) -> str:
    parts = urlsplit(address)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        return "it would be loaded from elsewhere"
    target = site / parts.path.lstrip("/") if address.startswith("/") else path.parent / unquote(parts.path)
    return "" if target.exists() else "there is no such file"


def _problem(link: str, path: Path, site: Path, pages: Mapping[Path, _Page]) -> str:
    """Why a link does not resolve; empty if it does, or leads to another server."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        return "there is no such page"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].ids:
        return "the page has no such anchor"
    return ""
