"""What cannot be trained, whatever it computes."""

from __future__ import annotations

from torch import nn

from attnlab.errors import InvalidValueError


def check_real(module: nn.Module) -> None:
    """Refuse a learned weight that is complex.

    Args:
        module: A model, or a part of one.

    Raises:
        InvalidValueError: One is complex.
    """
    for name, weight in module.named_parameters():
        if weight.requires_grad and weight.is_complex():
            kind = str(weight.dtype).removeprefix("torch.")
            hint = (
                "Learn a real parameter of shape ... x 2, the real and the imaginary parts, and make the complex "
                "numbers in the forward pass: torch.view_as_complex(parameter)."
            )
            raise InvalidValueError(f"The weight '{name}' is {kind}; the optimizers train real numbers.", hint)
