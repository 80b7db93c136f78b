"""The layout that CONTRIBUTING draws is the one that the import contract enforces."""

from __future__ import annotations

import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

import attnlab

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_the_drawing_is_the_contract() -> None:
    (layers,) = (contract["layers"] for contract in CONTRACTS if contract["type"] == "layers")
    drawing = re.search(r"```\n(cli .*?)```", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.DOTALL)
    assert drawing is not None
    assert drawing[1].splitlines() == layers


def test_the_packages_that_may_import_torch_are_those_that_no_contract_forbids() -> None:
    (forbidden,) = (
        contract["source_modules"] for contract in CONTRACTS if contract.get("forbidden_modules") == ["torch"]
    )
    text = (ROOT / "CONTRIBUTING.md").read_text()
    sentence = re.search(r"Torch is imported by (.*?)\. The other", text, flags=re.DOTALL)
    assert sentence is not None
    named = set(re.findall(r"`(\w+)`", sentence[1]))
    every = {path.stem for path in Path(attnlab.__file__).parent.iterdir() if not path.name.startswith("__")} - {"py"}
    quick = {name.removeprefix("attnlab.") for name in forbidden}
    assert named == every - quick - {"cli", "_api"}


def test_private_modules_are_imported_in_their_own_package_only() -> None:
    wrong = []
    for path in (ROOT / "attnlab").rglob("*.py"):
        package = path.relative_to(ROOT).parts[:2]
        for module in re.findall(
            r"^\s*(?:from|import) (attnlab\.\w+(?:\.\w+)*)\._", path.read_text(), flags=re.MULTILINE
        ):
            if tuple(module.split(".")[:2]) != package:
                wrong.append((path.name, module))
    assert wrong == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    graph = grimp.build_graph("attnlab", exclude_type_checking_imports=True)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
