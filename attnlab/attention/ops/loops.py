"""Loops compiled by numba, where it is installed: all that is done to scores while they lie in the cache of a core.

Torch makes one pass over memory for each operation on the scores of a block. A compiled loop makes one pass for all of
them, between products of small matrices. Numba is the optional extra ``fast``; without it, and for all but
float32 on a CPU, torch's operations compute the same numbers but for their rounding.

The first call compiles a loop, for seconds; the machine code is kept on disk for later processes where that is
possible. Importing numba takes half a second, so it is imported by a module of loops, at the first use of one.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, wraps
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Function = TypeVar("Function", bound=Callable[..., Any])
Numbers = NDArray[np.float32]
Integers = NDArray[np.int64]

REASSOCIATED = frozenset({"reassoc", "contract", "arcp", "nsz"})
"""What the compiler may assume of floating-point numbers: sums in any order. NaN and infinity keep their meaning."""
PLAIN = (Tensor, nn.Parameter)
"""Classes of tensors whose memory is read."""
SHARE = 2**22
"""Least multiplications for which a further thread is used, about 0.1 ms."""


@cache
def installed() -> bool:
    """Whether numba is installed.

    Returns:
        True where it is; it is not imported.
    """
    return find_spec("numba") is not None


@cache
def works() -> bool:
    """Whether loops can be compiled.

    Returns:
        True where numba can be imported and compiles; it refuses a NumPy that is newer than it knows.
    """
    if not installed():
        return False
    try:
        from numba import config
    except ImportError:
        return False
    return not getattr(config, "DISABLE_JIT", False)


def usable(*tensors: Tensor) -> bool:
    """Decide whether a compiled loop takes these tensors, by no measurement: equal runs are computed alike.

    Args:
        *tensors: Its inputs.

    Returns:
        True for float32 on a CPU that is not empty, unless torch compiles or traces the operations; a tensor of a class
        of its own may have no memory.
    """
    suitable = all(
        type(one) in PLAIN and one.device.type == "cpu" and one.dtype == torch.float32 and one.numel()
        for one in tensors
    )
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return suitable and _allowed and not traced and works()


@contextmanager
def no_loops() -> Iterator[None]:
    """Within this context torch's operations compute everything, as counters of operations see no others.

    Yields:
        Nothing.
    """
    global _allowed
    before, _allowed = _allowed, False
    try:
        yield
    finally:
        _allowed = before


_allowed = True


def rows_of(tensor: Tensor) -> Numbers:
    """View a tensor as an array whose last axis lies side by side, so that products take its rows where they are.

    Args:
        tensor: ... x T x C, float32 on a CPU.

    Returns:
        The memory of the tensor, or of a copy where its rows overlap or are spread.
    """
    tensor = tensor.detach()
    if tensor.stride(-1) != 1 or tensor.stride(-2) < tensor.shape[-1]:
        tensor = tensor.clone(memory_format=torch.contiguous_format)
    return tensor.numpy()


def memory_of(tensor: Tensor) -> tuple[Numbers, tuple[int, ...]]:
    """View the memory of a tensor, since the compiler does not know of an array of four axes which lie side by side.

    Args:
        tensor: ... x C, float32 on a CPU.

    Returns:
        All memory from its first number on, and its strides but the last, which is 1; of a copy if channels are spread.
    """
    tensor = tensor.detach()
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        tensor = tensor.clone(memory_format=torch.contiguous_format)
    *strides, _ = tensor.stride()
    last = sum(stride * (size - 1) for stride, size in zip(strides, tensor.shape, strict=False))
    numbers = last + tensor.shape[-1] if tensor.numel() else 0
    return torch.as_strided(tensor, (numbers,), (1,)).numpy(), tuple(strides)


def segment_of(tokens: int, least: int) -> int:
    """Tokens of a segment, about the root of their number where they are many: so the least is held on the way back.

    >>> segment_of(100, 64), segment_of(10_000, 64)
    (64, 100)

    Args:
        tokens: T.
        least: The fewest.

    Returns:
        The number.
    """
    return max(least, math.isqrt(tokens))


def in_threads(
    loop: Callable[..., None],
    arrays: Sequence[NDArray[Any]],
    multiplications: int,
    *numbers: object,
    axis: int | None = None,
) -> None:
    """Call a loop for parts of the batch, or of the heads of one sequence, at the same time, one for a torch thread.

    Args:
        loop: Compiled; it computes each head of each sequence by itself, so that the parts change no digit.
        arrays: Its arrays, B x H x ....
        multiplications: How many it makes; for few no further thread is used.
        *numbers: Its other arguments.
        axis: Which axis has the parts; None takes the batch, or the heads of one sequence.
    """
    axis = (0 if arrays[0].shape[0] > 1 else 1) if axis is None else axis
    length = arrays[0].shape[axis]
    count = max(1, min(torch.get_num_threads(), length, multiplications // SHARE))
    ends = [length * part // count for part in range(count + 1)]
    first, *others = (
        [array[start:end] if axis == 0 else array[:, start:end] for array in arrays] for start, end in pairwise(ends)
    )
    flushes = sys.float_info.min / 2 == 0  # threads take the flushing of denormals from the one that starts them
    waiting = [_pool(count - 1, flushes, os.getpid()).submit(loop, *part, *numbers) for part in others]
    loop(*first, *numbers)
    for one in waiting:
        one.result()


@cache
def _pool(count: int, flushes: bool, process: int) -> ThreadPoolExecutor:
    """Make threads; a forked process has none of its parent's."""
    return ThreadPoolExecutor(count)


def compiled(function: Function) -> Function:
    """Compile a function that loops call.

    Args:
        function: The function.

    Returns:
        What compiled functions call; the function itself where none can be compiled.
    """
    return _njit(function) if works() else function


def called(signature: str) -> Callable[[Function], Function]:
    """Compile a function that loops call in many places, once, for one set of types.

    Numba takes the code of each function that a loop calls into that of the loop, and optimizes it there once more: the
    loops of this folder took twice as long to compile in that way. A loop knows of this function no more than its name.

    Args:
        signature: Its types, as numba writes them, with that of what it returns, a number or nothing.

    Returns:
        A decorator; where none can be compiled, it returns the function itself.
    """

    def decorate(function: Function) -> Function:
        return _by_name(_njit(function, signature)) if works() else function

    return decorate


def _by_name(dispatcher: Any) -> Any:
    """Make a function that compiled functions call by its name, to which the linker of this process has the address."""
    from llvmlite import binding
    from numba.core.cgutils import get_or_insert_function, if_unlikely
    from numba.extending import lower_builtin, type_callable

    ((kinds, overload),) = dispatcher.overloads.items()
    name = f"{dispatcher.py_func.__module__}.{dispatcher.py_func.__name__}"
    binding.add_symbol(name, overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name))

    @wraps(dispatcher.py_func)
    def function(*args: Any) -> Any:
        return dispatcher(*args)

    @type_callable(function)
    def typed(context: Any) -> Callable[..., Any]:
        def signature_of(*given: Any) -> Any:
            return overload.signature if len(given) == len(kinds) else None

        signature_of.__signature__ = inspect.signature(dispatcher.py_func)  # type: ignore[attr-defined]
        return signature_of

    @lower_builtin(function, *kinds)  # type: ignore[untyped-decorator]
    def call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(signature.return_type, signature.args)
        there = get_or_insert_function(builder.module, kind, name)
        status, result = convention.call_function(builder, there, signature.return_type, signature.args, arguments)
        with if_unlikely(builder, status.is_error):  # such as of memory that there is not
            convention.return_status_propagate(builder, status)
        return result

    return function


def inlined(function: Function) -> Function:
    """Compile a function as a part of each that calls it, for which its constant arguments are constants.

    Args:
        function: The function.

    Returns:
        What compiled functions call; the function itself where none can be compiled.
    """
    return _njit(function, inline="always") if works() else function


def loop(signature: str) -> Callable[[Function], Function]:
    """Compile a loop at its first call, for one set of types alone.

    Args:
        signature: Its types, as numba writes them.

    Returns:
        A decorator; the compiled function does not hold the interpreter's lock.
    """

    def decorate(function: Function) -> Function:
        machine_code = cache(lambda: _njit(function, signature))

        @wraps(function)
        def call(*args: Any) -> None:
            machine_code()(*args)

        return call  # type: ignore[return-value]

    return decorate


def _njit(function: Function, *signature: str, inline: str = "never") -> Any:
    """Compile a function, and keep its machine code on disk where that is possible."""
    from numba import njit

    options: dict[str, Any] = {"fastmath": set(REASSOCIATED), "nogil": True, "error_model": "numpy", "inline": inline}
    options["forceinline"] = not signature  # calls would count references of arrays by atomic operations
    try:
        dispatcher = njit(cache=True, **options)(function)
        with suppress(AttributeError):  # of another version of numba, which looks at the file of the loop alone
            dispatcher._cache._cache_file._source_stamp = sources()
            dispatcher._cache.save_overload = _kept_where_possible(dispatcher._cache.save_overload)
    except RuntimeError:  # no folder can be written to
        dispatcher = njit(**options)(function)
    for types in signature:
        dispatcher.compile(types)
        dispatcher.disable_compile()
    return dispatcher


def _kept_where_possible(save: Callable[..., None]) -> Callable[..., None]:
    """Keep machine code, unless the folder that was writable has no room for it."""

    def saved(*args: Any) -> None:
        with suppress(OSError):
            save(*args)

    return saved


@cache
def sources() -> str:
    """Digest the files of this folder: code that is kept is that of all functions which a loop calls.

    Numba 0.68 compiles a loop anew when its own file has changed, and not when that of a function it calls has.

    Returns:
        The digest.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
