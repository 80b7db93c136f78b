"""Why equal calls of a module give different outputs: random numbers, such as dropout's, or state that is kept."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

NOT_FINITE = "its outputs are not finite"


@torch.no_grad()
def changes_from_call_to_call(module: nn.Module, call: Callable[[], Tensor]) -> str:
    """Find why two equal calls of a module give different outputs.

    Args:
        module: The module.
        call: Calls it, with the same input every time.

    Returns:
        The reason, with the line of the user's code where it is known; empty if they give the same.
    """
    first = call()
    if not bool(first.isfinite().all()):
        return NOT_FINITE
    before = _state_of(module)
    with RandomOperations() as drawn:  # type: ignore[no-untyped-call]
        second = call()
    if torch.equal(first, second):
        return ""
    if drawn.dropout:
        return f"dropout is always on, {drawn.dropout}: write F.dropout(x, p, self.training), or use nn.Dropout"
    after = _state_of(module)
    changed = [name for name, value in after.items() if name not in before or not _equal(before[name], value)]
    if changed:
        text = f"its outputs depend on '{changed[0]}', which every forward pass changes"
        return f"{text}: keep no state between calls"
    if drawn.first:
        return f"its outputs are random, {drawn.first}: draw in training mode only"
    return "equal calls gave different outputs: by random numbers that are not torch's, or by state kept elsewhere"


class RandomOperations(TorchDispatchMode):
    """Records where the first random operation and the first dropout were called while the mode is active."""

    first = dropout = ""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and record its place if it is random."""
        if torch.Tag.nondeterministic_seeded in func.tags:
            frames = traceback.extract_stack()
            self.first = self.first or _place(frames)
            if any("dropout" in frame.name and frame.filename.endswith("functional.py") for frame in frames):
                self.dropout = self.dropout or _place(frames)
        return func(*args, **(kwargs or {}))


def _place(frames: Sequence[traceback.FrameSummary]) -> str:
    """The innermost line that is not torch's or ours."""
    ours = [str(Path(torch.__file__).parent), str(Path(__file__).parent.parent)]
    theirs = [frame for frame in frames if not frame.filename.startswith(tuple(ours))]
    return f"at {theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""


def _state_of(module: nn.Module) -> dict[str, Any]:
    """Buffers, numbers and sizes of collections that a module and its submodules hold, by name."""
    state: dict[str, Any] = {f"buffer {name}": buffer.clone() for name, buffer in module.named_buffers()}
    for prefix, each in module.named_modules():
        for name, value in vars(each).items():
            key = f"{prefix}.{name}".lstrip(".")
            if isinstance(value, bool | int | float | str):
                state[key] = value
            elif isinstance(value, Tensor):
                state[key] = value.clone()
            elif isinstance(value, list | dict | set) and not name.startswith("_"):
                state[key] = len(value)
    return state


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)
