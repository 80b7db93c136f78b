"""Load finished runs and build tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attnlab._api import _arguments as read
from attnlab._api import _values as values
from attnlab._api._checked import checked
from attnlab._api._values import plain
from attnlab._api.records import Records
from attnlab.errors import AttnlabError

if TYPE_CHECKING:
    from attnlab.model.base import Model
    from attnlab.records import Record
    from attnlab.tasks import Task


@checked(store=read.folders, published=values.flag)
def load_records(store: str | Path | Sequence[str | Path] = "results", *, published: bool = False) -> Records:
    """Read every record of a folder of results, or the published records of a built-in experiment.

    >>> load_records("there is no such folder")
    []
    >>> len(load_records("quickstart", published=True))
    20

    Args:
        store: A store, or a folder of stores, or several; the name of an experiment, where its published records are
            read.
        published: Whether the published records of a built-in experiment are read, which come with attnlab.

    Returns:
        The records, in the order in which the runs were finished, or published ones in that of their plan; a run that
        stands in several stores is listed once. It is a list that a notebook shows as a table, with ``to_pandas()``
        and ``to_polars()``.

    Raises:
        attnlab.errors.StoreError: A journal is damaged.
        attnlab.errors.UnknownNameError: No records of that experiment are published.
    """
    from attnlab.records import distinct
    from attnlab.storage import Store
    from attnlab.storage.published import read_published
    from attnlab.storage.status import find_stores

    named = [store] if isinstance(store, str | Path) else store
    if published:
        return Records(distinct(record for name in named for record in read_published(str(name)).records))
    stores = dict.fromkeys(path for folder in named for path in find_stores(Path(folder)))
    return Records(distinct(record for path in stores for record in Store(path).records()))


@checked(run=read.run_id, store=read.folder)
def load_run(run: str | Record, store: str | Path = "results") -> Record:
    """Find the record of a run.

    >>> import tempfile, attnlab
    >>> fast = {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (record,) = attnlab.train("copy", model={"width": 8}, train=fast, store=folder, device="cpu")
    ...     load_run(record.id[:6], folder) == record
    True

    Args:
        run: Its id, or as much of it as no other run begins with; or a record of it.
        store: A store, or a folder of stores.

    Returns:
        The record.

    Raises:
        attnlab.errors.AttnlabError: No run begins so, or several do.
    """
    from attnlab.storage.find_run import find_record

    return find_record(cast("str", run), Path(store))[0]


@checked(run=read.run_id, store=read.folder)
def load_model(run: str | Record, store: str | Path = "results") -> Model:
    """Build the model of a finished run with the weights that it learned.

    >>> import tempfile, attnlab
    >>> fast = {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (record,) = attnlab.train("copy", model={"width": 8}, train=fast, store=folder, device="cpu")
    ...     model = load_model(record, folder)
    >>> model.training, sum(weight.numel() for weight in model.parameters()) == record.parameters
    (False, True)
    >>> import torch
    >>> model(torch.tensor([[0, 1, 2]])).shape == (1, 3, record.vocabulary)
    True

    Args:
        run: The run, as its record, its id or the start of it.
        store: A store, or a folder of stores.

    Returns:
        The model in evaluation mode, each weight in its own type, on the CPU: ``model(tokens)``, with tokens B x T, are
        the logits B x T x V. Of a whole model of the user's own, its ``module`` is the user's.

    Raises:
        attnlab.errors.AttnlabError: The run or its weights are not there, or a part of it has another version now.
    """
    from attnlab.storage.find_run import find_run, in_store
    from attnlab.storage.weights import read
    from attnlab.tasks.io.streams import Source
    from attnlab.training.load_model import rebuild_model
    from attnlab.training.run_parts import error_of_run

    record, path = find_run(cast("str", run), Path(store))
    spec = record.spec
    weights, _ = read(path)
    try:
        return rebuild_model(spec, weights, Source(spec.task, spec.seed, spec.train.train_examples))
    except AttnlabError as error:
        raise error_of_run(record, error, f"attnlab evaluate {record.id}{in_store(Path(store))}") from None


@checked(path=read.file)
def load_plugin(path: str | Path) -> None:
    r"""Run a Python file of yours, as ``--plugin`` does: what it registers is known, and so are its classes in runs.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "mine.py"
    ...     _ = file.write_text("from torch import nn\nclass Mixer(nn.Linear): ...")
    ...     load_plugin(file)

    Args:
        path: The file.

    Raises:
        attnlab.errors.PluginError: The file is missing or fails; the message has the file's own error, shortened.
    """
    from attnlab import plugins

    plugins.load_plugin(Path(path), str(path))


@checked(
    task=values.word(read.TASK), complexity=values.anything, options=values.optional(values.mapping("{'length': 64}"))
)
def make_task(task: str = "recall", *, complexity: Any = None, options: Mapping[str, Any] | None = None) -> Task:
    """Build a task, to draw its sequences.

    >>> import numpy as np
    >>> batch = make_task("copy", complexity=4).sample(np.random.default_rng(0), 8)
    >>> batch.inputs_BT.shape == batch.targets_BT.shape
    True

    Args:
        task: A ladder's name or file, or a registered task; with inline options.
        complexity: The level; None takes the ladder's default.
        options: Options of the task.

    Returns:
        The task.

    Raises:
        attnlab.errors.AttnlabError: There is no such task or option, or the task does not accept a value.
    """
    from attnlab.config.inline_parts import parse_part
    from attnlab.config.renamed import renamed_options
    from attnlab.tasks.io.ladders import find_ladder, task_spec
    from attnlab.tasks.io.streams import build

    part = parse_part(task)
    given = renamed_options(part.name, {**part.options, **(options or {})})
    return build(task_spec(find_ladder(part.name), plain(given), plain(complexity)))
