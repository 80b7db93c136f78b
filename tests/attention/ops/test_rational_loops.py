"""Compiled loops over blocks: the sums and gradients of the weights written out, and of torch's own operations."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attnlab.attention.expressive import rational
from attnlab.attention.ops import loop_memory, loops, rational_loops, small_products, small_transposes
from attnlab.attention.ops import rational as torch_way
from attnlab.attention.ops.rational import rational_sums
from attnlab.training.denormals import flush_denormals, flushes_denormals
from attnlab.training.environment import torch_threads
from tests.builders import noise

needs_numba = pytest.mark.skipif(not loops.works(), reason="numba is the optional extra fast")
Heads = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def without_loops(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(torch_way, "usable", lambda *_: False)


def drawn(tokens: int, *, batch: int = 2, heads: int = 2, channels: int = 8, value_channels: int = 8) -> Heads:
    """Queries, keys and values as a projection lays them out: the heads of a token side by side."""
    sizes = channels, channels, value_channels
    queries, keys, values = (
        noise(batch, tokens, heads, size, seed=seed, dtype=torch.float32).transpose(1, 2).requires_grad_()
        for seed, size in enumerate(sizes)
    )
    return queries, keys, values


def differentiated(mixed: Tensor, heads: Heads, grad: Tensor | None = None) -> list[Tensor]:
    grad = noise(*mixed.shape, seed=7) if grad is None else grad
    return [mixed.detach(), *torch.autograd.grad(mixed, heads, grad.to(mixed.dtype))]


def written_out(heads: Heads, scale: float) -> list[Tensor]:
    queries, keys, values = (one.detach().double().requires_grad_() for one in heads)
    return differentiated(rational(queries @ keys.mT * scale) @ values, (queries, keys, values))


def off(results: list[Tensor], expected: list[Tensor]) -> float:
    """The largest error, of the largest number of each tensor."""
    pairs = zip(results, expected, strict=True)
    return max(float((one - other).abs().max() / other.abs().max().clamp_min(1e-30)) for one, other in pairs)


@needs_numba
@pytest.mark.parametrize("tokens", [2, 3, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 191, 193, 256, 257])
def test_sums_and_gradients_are_those_of_the_weights_written_out(tokens: int) -> None:
    heads = drawn(tokens, value_channels=5)
    assert loops.usable(*heads)
    assert off(differentiated(rational_sums(*heads, 0.4), heads), written_out(heads, 0.4)) <= 5e-6


@needs_numba
@pytest.mark.parametrize(("channels", "value_channels"), [(1, 1), (1, 3), (3, 1), (64, 128), (200, 16)])
def test_blocks_of_any_number_of_channels(channels: int, value_channels: int) -> None:
    for tokens in (40, 90):
        heads = drawn(tokens, batch=1, channels=channels, value_channels=value_channels)
        with torch.no_grad():  # where one channel of a query is near zero, all its products are, and digits are lost
            _ = [one.add_(one.sign() / 2) for one in heads[:2]]
        assert off(differentiated(rational_sums(*heads, 0.2), heads), written_out(heads, 0.2)) <= 5e-6


@needs_numba
def test_one_token_is_its_own_value() -> None:
    heads = drawn(1)
    mixed, *grads = differentiated(rational_sums(*heads, 0.4), heads)
    assert torch.equal(mixed, heads[2])
    assert not grads[0].any()
    assert not grads[1].any()
    assert torch.allclose(grads[2], noise(*mixed.shape, seed=7).float())


@needs_numba
@pytest.mark.parametrize("factor", [1e-20, 1e-12, 1e-6, 1e3, 1e20])
@pytest.mark.parametrize("tokens", [20, 70])
def test_extreme_products_lose_no_more_digits_than_by_torch_operations(
    tokens: int, factor: float, without_loops: Callable[[], None]
) -> None:
    heads = drawn(tokens)
    results, exact = differentiated(rational_sums(*heads, factor), heads), written_out(heads, factor)
    without_loops()
    operations = differentiated(rational_sums(*heads, factor), heads)
    for one, other, expected in zip(results, operations, exact, strict=True):
        assert off([one], [expected]) <= 2 * off([other], [expected]) + 5e-6


@needs_numba
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("tokens", [20, 70])
def test_what_is_not_finite_is_so_in_the_rows_of_torch_operations(
    tokens: int, which: int, value: float, without_loops: Callable[[], None]
) -> None:
    heads = drawn(tokens)
    with torch.no_grad():
        heads[which][0, 0, 7, 3] = value
    results = rational_sums(*heads, 0.4)
    without_loops()
    assert torch.allclose(results, rational_sums(*heads, 0.4), atol=1e-5, equal_nan=True)


@needs_numba
@pytest.mark.parametrize("tokens", [20, 70])
def test_gradients_may_be_expanded_and_inputs_laid_out_in_any_way(tokens: int) -> None:
    heads = drawn(tokens)
    queries, keys, values = (one.detach().mT.contiguous().mT.requires_grad_() for one in heads)
    expanded = torch.ones(()).expand(*heads[2].shape)
    expected = differentiated(rational_sums(*heads, 0.4), heads, expanded.contiguous())
    turned = queries, keys, values
    results = differentiated(rational_sums(*turned, 0.4), turned, expanded)
    assert all(torch.equal(one, other) for one, other in zip(results, expected, strict=True))


@needs_numba
@pytest.mark.parametrize("tokens", [20, 130])
def test_digits_do_not_depend_on_the_batch_or_the_time(tokens: int) -> None:
    heads = drawn(tokens, batch=3)
    grad = noise(*heads[2].shape, seed=7)
    results = differentiated(rational_sums(*heads, 0.4), heads, grad)
    again = differentiated(rational_sums(*heads, 0.4), heads, grad)
    queries, keys, values = (one.detach()[2:].requires_grad_() for one in heads)
    alone = queries, keys, values
    single = differentiated(rational_sums(*alone, 0.4), alone, grad[2:])
    for one, other, third in zip(results, again, single, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one[2:], third)


@needs_numba
@pytest.mark.parametrize("tokens", [20, 70])
def test_vmapped_runs_have_the_digits_of_single_ones(tokens: int) -> None:
    queries, values = (noise(3, 2, 2, tokens, 4, seed=seed, dtype=torch.float32).requires_grad_() for seed in (0, 1))
    shared = noise(2, 2, tokens, 4, seed=5, dtype=torch.float32)
    together = torch.func.vmap(lambda one, other: rational_sums(one, shared, other, 0.5))(queries, values)
    alone = torch.stack([rational_sums(one, shared, other, 0.5) for one, other in zip(queries, values, strict=True)])
    grad = noise(*together.shape, seed=7, dtype=torch.float32)
    assert torch.equal(together, alone)
    results = [torch.autograd.grad(mixed, [queries, values], grad) for mixed in (together, alone)]
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@needs_numba
@pytest.mark.parametrize("batch", [1, 3])
def test_digits_do_not_depend_on_the_number_of_threads(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "SHARE", 1)
    heads = drawn(70, batch=batch)
    pools: list[int] = []

    def noted(count: int, *key: Any) -> ThreadPoolExecutor:
        pools.append(count)
        return pool(count, *key)

    pool = loops._pool
    monkeypatch.setattr(loops, "_pool", noted)
    results = []
    for threads in (1, 2, 8):
        with torch_threads(threads):
            results.append(differentiated(rational_sums(*heads, 0.4), heads))
    assert set(pools) == {1, max(batch, 2) - 1}  # further threads: of two heads, or of the sequences
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


@needs_numba
def test_threads_flush_denormals_as_the_thread_that_waits_for_them() -> None:
    def note(array: np.ndarray) -> None:
        flushed.append(flushes_denormals())

    arrays = [np.zeros((4, 1), np.float32)]
    for wanted in (False, True, False):
        flushed: list[bool] = []
        with torch_threads(4), flush_denormals() if wanted else nullcontext():
            loops.in_threads(note, arrays, 4 * loops.SHARE)
        assert flushed == [wanted] * 4


@needs_numba
def test_loops_take_float32_on_a_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = drawn(5)
    assert loops.usable(*heads)
    assert not loops.usable(heads[0].double(), *heads[1:])
    assert not loops.usable(heads[0].bfloat16(), *heads[1:])
    assert not loops.usable(heads[0].to("meta"), *heads[1:])
    assert not loops.usable(heads[0][:0], *heads[1:])
    monkeypatch.setattr(loops, "works", lambda: False)
    assert not loops.usable(*heads)


@needs_numba
def test_code_that_is_kept_is_that_of_all_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop is compiled anew when a function of another file has changed, which numba does not look at."""
    from attnlab.attention.ops.loop_math import product

    stamp = product._cache._cache_file._source_stamp  # type: ignore[attr-defined]
    assert stamp == loops.sources()
    loops.sources.cache_clear()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path.name == "loop_math.py" else b""))
    assert loops.sources() != stamp
    loops.sources.cache_clear()


@needs_numba
def test_a_loop_is_compiled_where_its_code_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.caching import CacheImpl

    def add(one: int, other: int) -> int:
        return one + other

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    assert loops.compiled(add)(3, 4) == 7


def test_a_numba_that_refuses_to_be_imported_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(loops, "installed", lambda: True)
    assert not loops.works.__wrapped__()  # the answer of this process is kept


@needs_numba
def test_a_numba_that_compiles_nothing_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba import config

    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    assert not loops.works.__wrapped__()


def test_without_numba_torch_operations_compute_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "works", lambda: False)
    monkeypatch.setattr(rational_loops, "forward", lambda *_: pytest.fail("a loop was called"))
    for module in (loop_memory, small_products, small_transposes):
        monkeypatch.setattr(module, "works", lambda: False)
    heads = drawn(70)
    assert loops.compiled(drawn) is drawn
    assert small_products.micro_tiles() is small_transposes.exchanges() is loop_memory.rows_of_a_matrix() is None
    assert loop_memory.borrowing() is None
    assert off(differentiated(rational_sums(*heads, 0.4), heads), written_out(heads, 0.4)) <= 5e-6
