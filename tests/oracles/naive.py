"""The plain references of flash-linear-attention, loaded by path: the package itself does not import without triton."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def naive(operation: str) -> ModuleType:
    """The module ``fla/ops/OPERATION/naive.py`` of the package fla-core; the test is skipped where it is absent.

    Args:
        operation: Name of the folder, such as ``delta_rule``.

    Returns:
        The module, run by itself.
    """
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations:
        pytest.skip("fla-core is absent; `make test-oracles` installs it")
    pytest.importorskip("einops")
    path = Path(package.submodule_search_locations[0]) / "ops" / operation / "naive.py"
    spec = importlib.util.spec_from_file_location(f"fla_naive_{operation}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
