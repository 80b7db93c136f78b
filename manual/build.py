"""Build the manual without a network: pages, site, and a check of every link.

python -m manual.build              build/manual/site/index.html is the first page
python -m manual.build --pages      the pages in Markdown alone, in build/manual/docs/
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from manual.links import Broken, broken_links, broken_site_links
from manual.pages import DOCS, ROOT, made_pages, own_pages, site_config

ASSETS = ("assets",)
"""Folders of ``docs/`` that a page loads."""


def write_pages(folder: Path) -> list[Broken]:
    """Write every page and the configuration of zensical into a folder.

    Args:
        folder: An empty or missing folder.

    Returns:
        The links that do not resolve.
    """
    made = made_pages()
    pages = own_pages() | made
    for path, text in pages.items():
        target = folder / "docs" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    for name in ASSETS:
        shutil.copytree(DOCS / name, folder / "docs" / name)
    shutil.copytree(ROOT / "manual" / "theme", folder / "theme")
    config = site_config(made) | {"docs_dir": "docs", "site_dir": "site"}
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    return broken_links(pages)


def build_site(folder: Path) -> list[Broken]:
    """Run zensical on the pages that :func:`write_pages` wrote.

    Args:
        folder: The folder.

    Returns:
        The links of the site that do not resolve, and what it would load from elsewhere.

    Raises:
        subprocess.CalledProcessError: zensical failed; it has written why.
    """
    subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder, check=True)
    return broken_site_links(folder / "site")


def main() -> None:
    """Build, print what is broken, and exit with 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "manual", help="where it is built")
    parser.add_argument("--pages", action="store_true", help="write the pages in Markdown alone")
    given = parser.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    broken = write_pages(given.out)
    if not given.pages and not broken:
        broken = build_site(given.out)
    for one in broken:
        print(f"{one.page}: {one.link}: {one.reason}")
    if broken:
        sys.exit(1)
    print(given.out / ("docs/index.md" if given.pages else "site/index.html"))


if __name__ == "__main__":
    main()
