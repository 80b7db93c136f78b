"""Steps in bf16: the products of linear maps have bf16 factors, the mixing of the tokens keeps full precision.

Within torch's autocast, linear maps round their factors to bf16 and return bf16. Everything else of a layer is float32:
embedding, norms, the residual stream, scores, normalizers and recurrences. Their gradients are then added in float32.
In bf16 the gradient of a token that is frequent, or of a norm's gain, is a sum of many small numbers, each rounded to
the last digit of a large one.

On a CPU the weighted sums are float32 too: the backward pass of torch's fused attention takes 4 to 7 times as long in
bf16 as in float32 (torch 2.13.0, 64 tokens). On other devices its factors are bf16, and its softmax is float32.
"""

from __future__ import annotations

from attnlab.tensors import QKV, at_least_float32, full_precision, rounds_factors

__all__ = ["float32_heads", "full_precision", "kernel_heads", "rounds_factors"]


def float32_heads(qkv: QKV) -> QKV:
    """Queries, keys and values in float32 where linear maps have returned bf16; for norms, rotations and mixing.

    Args:
        qkv: Queries, keys and values, as they were projected.

    Returns:
        The same, in float32 or more within a step in bf16, and unchanged outside of one.
    """
    if not rounds_factors(qkv.values_BHSC):
        return qkv
    return qkv._replace(
        queries_BHTC=at_least_float32(qkv.queries_BHTC),
        keys_BHSC=at_least_float32(qkv.keys_BHSC),
        values_BHSC=at_least_float32(qkv.values_BHSC),
        extra=tuple(at_least_float32(tensor) for tensor in qkv.extra),
    )


def kernel_heads(qkv: QKV) -> QKV:
    """Queries, keys and values in the type in which tokens are mixed.

    Args:
        qkv: Queries, keys and values.

    Returns:
        The same, in bf16 within a step in bf16 on another device than a CPU, and unchanged elsewhere.
    """
    if not rounds_factors(qkv.values_BHSC) or qkv.values_BHSC.device.type == "cpu":
        return qkv
    return qkv._replace(
        queries_BHTC=qkv.queries_BHTC.bfloat16(),
        keys_BHSC=qkv.keys_BHSC.bfloat16(),
        values_BHSC=qkv.values_BHSC.bfloat16(),
    )
