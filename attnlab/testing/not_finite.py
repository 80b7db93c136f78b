"""Which module of a model gives the first output that is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from attnlab.attention.adapter import Adapted
from attnlab.model.module import ModuleModel


def first_not_finite(model: nn.Module, call: Callable[[], object]) -> tuple[str, list[type]] | None:
    """Find the innermost module that makes a number that is not finite from finite ones: the first NaN, or else inf.

    Args:
        model: The model.
        call: Calls it.

    Returns:
        How the module is named, and its class and those of the modules that hold it, the innermost first; None where
        all outputs are finite.
    """
    found: dict[bool, str] = {}

    def hook(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(_: nn.Module, inputs: Any, output: Any) -> None:
            if not all(bool(tensor.isfinite().all()) for tensor in _tensors(inputs)):
                return  # it passes on what another has made
            for tensor in _tensors(output):
                if bool(tensor.isnan().any()):
                    found.setdefault(True, path)
                elif bool(tensor.isinf().any()):
                    found.setdefault(False, path)

        return look

    handles = []
    for path, module in model.named_modules():
        if not isinstance(module, Adapted | ModuleModel):  # of those the user's module is told
            handles.append(module.register_forward_hook(hook(path)))
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        return None
    path, infinite = found.get(True, found.get(False, "")), found.get(False, "")
    if not path or infinite.startswith(f"{path}."):
        path = infinite  # inside of a module that makes NaN of finite numbers: NaN comes of that
    holders = holding(model, path)
    return (f"'{path}' ({holders[0].__name__})" if path else f"the model ({holders[0].__name__})"), holders


def holding(model: nn.Module, path: str) -> list[type]:
    """List the classes of a module, or of a parameter's owner, and of the modules that hold it.

    Args:
        model: The model.
        path: The name of the module or parameter in the model.

    Returns:
        The classes, the innermost first, that of the model last.
    """
    modules = dict(model.named_modules())
    return [type(one) for name, one in reversed(modules.items()) if not name or f"{path}.".startswith(f"{name}.")]


def _tensors(output: Any) -> Iterator[Tensor]:
    """The tensors of real numbers among outputs."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, dict):
        yield from (tensor for one in output.values() for tensor in _tensors(one))
    elif isinstance(output, list | tuple):
        yield from (tensor for one in output for tensor in _tensors(one))
