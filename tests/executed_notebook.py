"""Execute a notebook in a kernel of its own. ``python -m tests.executed_notebook`` renews docs/notebook.ipynb."""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "docs" / "notebook.ipynb"


def executed(notebook: Any, folder: Path) -> Any:
    """Run all cells in order.

    Args:
        notebook: A notebook of nbformat; its outputs are replaced.
        folder: The working folder of the kernel.

    Returns:
        The same notebook.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell raised an exception.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    client: Any = importlib.import_module("nbclient").NotebookClient
    words: dict[str, Any] = {"timeout": 600, "record_timing": False, "resources": {"metadata": {"path": str(folder)}}}
    client(notebook, kernel_name="python3", **words).execute(env=environment)
    return notebook


def main() -> None:
    """Renew the outputs of the shipped notebook."""
    nbformat: Any = importlib.import_module("nbformat")
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(nbformat.read(SHIPPED, 4), Path(folder))
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, SHIPPED)


if __name__ == "__main__":
    main()
