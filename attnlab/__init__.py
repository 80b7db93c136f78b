"""attnlab: which attention learns what, up to which complexity, how certainly, and why it fails beyond.

    import attnlab
    records = attnlab.train(task="recall", attention="expressive", seeds=3)

    train, sweep                              train variants; over the levels of a task
    report, evaluate, diagnose                metrics against complexity; other lengths and levels; inside a model
    compare                                   runs side by side, and their paired differences
    check, audit                              does an attention, or a task, keep its contract?
    load_records, load_run, load_model        what a store has
    load_plugin                               run a file of yours, so that what it has is known
    make_task                                 draw sequences
    StepsTaken, Validated, RunFinished, ...   events that callbacks of train and sweep receive
    Attention, Position, Task, ...            to write parts of your own, with register_attention and its siblings

Importing attnlab is quick: torch is imported by the functions that need it.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from attnlab._api.inspecting import audit, check, compare, diagnose, evaluate, report
from attnlab._api.loading import load_model, load_plugin, load_records, load_run, make_task
from attnlab._api.running import sweep, train
from attnlab.version import __version__ as __version__

if TYPE_CHECKING:
    from attnlab.attention import Attention as Attention
    from attnlab.attention import RowConstraint as RowConstraint
    from attnlab.attention import register as register_attention
    from attnlab.block import Block as Block
    from attnlab.block import BlockParts as BlockParts
    from attnlab.block import register as register_block
    from attnlab.errors import AttnlabError as AttnlabError
    from attnlab.metrics import metric as register_metric
    from attnlab.mlp import Mlp as Mlp
    from attnlab.mlp import register as register_mlp
    from attnlab.norm import Norm as Norm
    from attnlab.norm import register as register_norm
    from attnlab.position import Position as Position
    from attnlab.position import register as register_position
    from attnlab.records import Record as Record
    from attnlab.residual_stream import ResidualStream as ResidualStream
    from attnlab.residual_stream import register as register_residual_stream
    from attnlab.scorer import Scorer as Scorer
    from attnlab.scorer import register as register_scorer
    from attnlab.tasks import IGNORE as IGNORE
    from attnlab.tasks import Batch as Batch
    from attnlab.tasks import Task as Task
    from attnlab.tasks import register as register_task
    from attnlab.tensors import QKV as QKV
    from attnlab.tensors import LayerContext as LayerContext
    from attnlab.tensors import LayerInputs as LayerInputs
    from attnlab.training.events import DiagnosticsLogged as DiagnosticsLogged
    from attnlab.training.events import Event as Event
    from attnlab.training.events import RunFinished as RunFinished
    from attnlab.training.events import RunStarted as RunStarted
    from attnlab.training.events import StepsTaken as StepsTaken
    from attnlab.training.events import Validated as Validated

_PARTS = {
    "Attention": "attnlab.attention",
    "AttnlabError": "attnlab.errors",
    "Batch": "attnlab.tasks",
    "Block": "attnlab.block",
    "BlockParts": "attnlab.block",
    "DiagnosticsLogged": "attnlab.training.events",
    "Event": "attnlab.training.events",
    "IGNORE": "attnlab.tasks",
    "LayerContext": "attnlab.tensors",
    "LayerInputs": "attnlab.tensors",
    "Mlp": "attnlab.mlp",
    "Norm": "attnlab.norm",
    "Position": "attnlab.position",
    "QKV": "attnlab.tensors",
    "Record": "attnlab.records",
    "ResidualStream": "attnlab.residual_stream",
    "RowConstraint": "attnlab.attention",
    "RunFinished": "attnlab.training.events",
    "RunStarted": "attnlab.training.events",
    "Scorer": "attnlab.scorer",
    "StepsTaken": "attnlab.training.events",
    "Task": "attnlab.tasks",
    "Validated": "attnlab.training.events",
    "register_attention": "attnlab.attention:register",
    "register_block": "attnlab.block:register",
    "register_metric": "attnlab.metrics:metric",
    "register_mlp": "attnlab.mlp:register",
    "register_norm": "attnlab.norm:register",
    "register_position": "attnlab.position:register",
    "register_residual_stream": "attnlab.residual_stream:register",
    "register_scorer": "attnlab.scorer:register",
    "register_task": "attnlab.tasks:register",
}
"""Names for writers of parts, and the modules they are imported from when they are first used."""

__all__ = [
    "IGNORE",
    "QKV",
    "Attention",
    "AttnlabError",
    "Batch",
    "Block",
    "BlockParts",
    "DiagnosticsLogged",
    "Event",
    "LayerContext",
    "LayerInputs",
    "Mlp",
    "Norm",
    "Position",
    "Record",
    "ResidualStream",
    "RowConstraint",
    "RunFinished",
    "RunStarted",
    "Scorer",
    "StepsTaken",
    "Task",
    "Validated",
    "audit",
    "check",
    "compare",
    "diagnose",
    "evaluate",
    "load_model",
    "load_plugin",
    "load_records",
    "load_run",
    "make_task",
    "register_attention",
    "register_block",
    "register_metric",
    "register_mlp",
    "register_norm",
    "register_position",
    "register_residual_stream",
    "register_scorer",
    "register_task",
    "report",
    "sweep",
    "train",
]

# Torch's threads spin while they wait for one another; where the machine does anything else, each spinning thread keeps
# the one it waits for from running. Milliseconds per step by spin count, beside nothing and beside one busy process:
# 0: 97, 136; 10,000: 72, 209; 100,000: 122, 716. Means of two runs on two cores: the middle is the compromise.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    if name == "attention":  # attnlab.attention.adapt, without an import of its own
        return importlib.import_module("attnlab.attention")
    if name not in _PARTS:
        raise AttributeError(f"module 'attnlab' has no attribute {name!r}")
    module, _, attribute = _PARTS[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return [*globals(), *_PARTS]
