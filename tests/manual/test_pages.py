"""Every registered part, command, setting and exported name has a page, and the navigation leads to all of them."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest

import attnlab
from attnlab import resources
from attnlab.choices import ListKind
from attnlab.cli.app import MODULES
from attnlab.cli.cards import PARTS
from attnlab.diagnosis.quantities import all_metrics
from attnlab.experiments.resolve import REGISTRIES
from attnlab.specs import ModelSpec, Modifiers, TrainSpec
from attnlab.tasks import TASKS
from manual import parts
from manual.api import PAGES
from manual.diagram import layers
from manual.links import broken_links
from manual.pages import DRAWING, nav_paths, own_pages, site_config
from tests.cli.conftest import Command
from tests.cli.conftest import command as command


def built_in(kind: str) -> set[str]:
    """The names that are registered by attnlab itself; other tests register further ones."""
    return {entry.name for entry in REGISTRIES[kind] if not entry.code.digest}


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("attention", "attention"),
        ("position", "position"),
        ("norm", "norm_layer"),
        ("mlp", "mlp"),
        ("block", "block"),
        ("residual-stream", "residual_stream"),
    ],
)
def test_every_part_has_a_page(folder: str, kind: str, made: dict[str, str]) -> None:
    names = built_in(kind)
    assert len(names) >= 2
    pages = {name: made[f"reference/{folder}/{name}.md"] for name in names}
    for name, text in pages.items():
        entry = REGISTRIES[kind].entry(name)
        assert text.startswith(f"# {name}\n")
        assert "Source" in text
        assert all(f"| `{option}` |" in text for option in entry.options), name
        assert f"]({name}.md)" in made[f"reference/{folder}/index.md"]


def test_every_kind_of_part_has_a_folder() -> None:
    lists = {kind.name for kind in parts.KINDS}
    assert lists == set(get_args(ListKind)) - {"results", "recipes"}  # recipes stand on the page of the settings
    assert set(PARTS.values()) == set(REGISTRIES)


def test_every_task_ladder_metric_and_experiment_has_a_page(made: dict[str, str]) -> None:
    tasks = {*resources.names("tasks"), *(entry.name for entry in TASKS if not entry.code.digest)}
    expected = {f"reference/tasks/{name}.md" for name in tasks}
    expected |= {f"reference/metrics/{name}.md" for name in all_metrics()}
    expected |= {f"reference/experiments/{name}.md" for name in resources.names("experiments")}
    assert sorted(expected - made.keys()) == []


def test_a_page_has_what_show_prints(made: dict[str, str], command: Command) -> None:
    card = json.loads(command("show", "attention:gated-delta", "--json").out)
    page = made["reference/attention/gated-delta.md"]
    assert card["summary"].replace("*", r"\*") in page
    assert f"| **Weights of the default model** | {card['parameters']:,} |" in page
    assert all(f"| `{name}` |" in page for name in card["options"])
    assert "https://arxiv.org/abs/2412.06464" in page


def test_the_page_of_a_task_has_ladders_chance_and_sequences(made: dict[str, str], command: Command) -> None:
    page = made["reference/tasks/copy.md"]
    assert "- Ladder copy: symbols" in page
    sampled = command("sample", "copy", "--complexity", "4", "--sequences", "2").out
    first = sampled.splitlines()[0].rstrip()
    assert first in page or "--complexity 4" not in page


def test_every_command_has_a_page_with_its_options(made: dict[str, str]) -> None:
    assert {f"reference/commands/{name}.md" for name in MODULES} <= made.keys()
    train = made["reference/commands/train.md"]
    assert "| `--attn` `--attention` `TEXT` | Attentions, such as `softmax,dape`;" in train
    assert "Default: `recall`." in train
    assert "Default: `0.02`." in made["reference/commands/sweep.md"]
    assert not re.search(r"\[/?(b|dim)\\?\]", "".join(text for path, text in made.items() if "/commands/" in path))


def test_every_setting_is_listed(made: dict[str, str]) -> None:
    page = made["reference/settings.md"]
    fields = {*ModelSpec.model_fields, *TrainSpec.model_fields, *Modifiers.model_fields}
    hidden = {"matched", "module", "modifiers"}
    assert [name for name in sorted(fields - hidden) if f"| `{name}` |" not in page] == []
    assert "| `[0.9, 0.98]` | `2 of float >= 0 <= 1` |" in page
    assert "`train.optimizer=muon` `train.lr=0.01`" in page
    assert not re.search(r"^\| `\w+` \|  \|", page, flags=re.MULTILINE), "a field without words"


def test_every_exported_name_is_documented_once(made: dict[str, str]) -> None:
    documented = [name for page in PAGES for name, _ in page.objects]
    assert len(documented) == len(set(documented))
    assert {f"attnlab.{name}" for name in attnlab.__all__} - set(documented) == set()
    train = made["reference/api/running.md"]
    assert "    seeds: int = 1," in train
    assert "[`ModelSpec`](../settings.md#model)" in train
    assert ":func:" not in "".join(text for path, text in made.items() if path.startswith("reference/api/"))


def test_the_navigation_leads_to_every_page_once(made: dict[str, str]) -> None:
    paths = list(nav_paths(site_config(made)["nav"]))
    assert len(paths) == len(set(paths))
    assert set(paths) == made.keys() | own_pages().keys()


def test_every_link_of_the_pages_resolves(made: dict[str, str]) -> None:
    assert broken_links(own_pages() | made) == []


def test_the_drawing_has_every_layer() -> None:
    page = own_pages()["architecture.md"]
    assert DRAWING not in page
    assert all(f">{name}</text>" in page for line in layers() for name in line)
    assert "http" not in page[page.index("<svg") : page.index("</svg>")]
