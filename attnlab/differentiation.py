"""Ways back that have no derivative of their own: a second derivative is refused, and never left out in silence.

Torch's ``once_differentiable`` (2.13.0) refuses it only where the gradient that arrives needs one itself. Where that is
a constant, as for a sum, or within ``torch.func``, what the saved tensors add to a second derivative is dropped: it is
zero or plausible, and wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, final

import torch
from torch import Tensor

Backward = TypeVar("Backward", bound=Callable[..., Any])
ADVICE = (
    "With `fast = False`, attentions are computed by torch's own operations, which have derivatives of every order."
)


def differentiable_once(backward: Backward) -> Backward:
    """Decorate the ``backward`` of an autograd function that computes with numbers alone.

    Args:
        backward: Takes the context, which has saved tensors, and gradients; it returns a gradient or a tuple of them.

    Returns:
        The same; where a graph of it is asked for, to differentiate its results raises a RuntimeError.
    """

    @wraps(backward)
    def checked(ctx: Any, *grads: Any) -> Any:
        with torch.no_grad():
            results = backward(ctx, *grads)
        if not torch.is_grad_enabled():
            return results
        sources = [one for one in (*ctx.saved_tensors, *grads) if isinstance(one, Tensor)]
        linked = [
            _Refused.apply(one, *sources) if isinstance(one, Tensor) else one  # type: ignore[no-untyped-call]
            for one in (results if isinstance(results, tuple) else (results,))
        ]
        return tuple(linked) if isinstance(results, tuple) else linked[0]

    return checked  # type: ignore[return-value]


@final
class _Refused(torch.autograd.Function):
    """A tensor that depends on others by a derivative that nobody computes."""

    @staticmethod
    def forward(result: Tensor, *sources: Tensor) -> Tensor:
        """Return the tensor."""
        return result.view_as(result)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> None:
        """Refuse.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(f"A fast path computes first derivatives alone, and a second one is asked for. {ADVICE}")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int | None]:
        """Leave the runs where they are."""
        return _Refused.apply(*args), in_dims[0]  # type: ignore[no-untyped-call]
