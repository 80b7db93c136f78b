"""What vmapped runs draw: call by call, what each of them draws alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional

from attnlab.training.batched_sdpa import BatchedSDPAMode
from attnlab.training.vmap_noise import RunNoise, is_refused_draw

SEEDS = [10, 11, 12]


def attend(x: Tensor, dropout: float) -> Tensor:
    return functional.scaled_dot_product_attention(x, x, x, dropout_p=dropout)


PROGRAMS: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": lambda x: functional.dropout(x, 0.3),
    "dropout1d": lambda x: functional.dropout1d(x, 0.3),
    "alpha dropout": lambda x: functional.alpha_dropout(x, 0.3, True),
    "feature alpha dropout": lambda x: functional.feature_alpha_dropout(x, 0.3, True),
    "gumbel softmax": lambda x: functional.gumbel_softmax(x),
    "rand": lambda x: torch.rand(4, 5) * x,
    "rand of another type": lambda x: torch.rand(4, 5, dtype=torch.float64) + x,
    "a random number": lambda x: torch.rand(()) + x,
    "randn_like": torch.randn_like,
    "randint": lambda x: torch.randint(0, 9, (4,)) + x[:, 0],
    "permutations among others": lambda x: x[torch.randperm(4)] * torch.rand(5) + x[torch.randperm(4)],
    "bernoulli of tensors": lambda x: torch.bernoulli(x.sigmoid()),
    "in place, of a shared tensor": lambda x: torch.empty_like(x).bernoulli_(torch.full((5,), 0.5)),
    "multinomial": lambda x: torch.multinomial(x.exp(), 2),
    "multinomial of one row": lambda x: torch.multinomial(x[0].exp(), 2),
    "normal": lambda x: torch.normal(x, x.exp()),
    "normal of a size": lambda x: torch.normal(0.0, 1.0, (4, 5)) + x,
    "in place": lambda x: torch.empty_like(x).exponential_(),
    "poisson": lambda x: torch.poisson(x.exp()),
    "a generator of its own": lambda x: torch.rand(4, 5, generator=torch.Generator().manual_seed(1)) + x,
    "attention with dropout": lambda x: attend(x[None, None], 0.2),
    "attention without": lambda x: attend(x[None, None], 0.0) * torch.rand(5),
    "vmapped within": lambda x: vmap(lambda row: functional.dropout(row), randomness="different")(x),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_run_draws_what_it_draws_alone(name: str) -> None:
    program = PROGRAMS[name]
    x_KBD = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    alone = []
    with torch.random.fork_rng(devices=[]):
        for seed, x_BD in zip(SEEDS, x_KBD, strict=True):
            torch.default_generator.manual_seed(seed)
            before = torch.get_rng_state()
            alone.append(program(x_BD))
            assert name == "a generator of its own" or not torch.equal(torch.get_rng_state(), before), "no draw"
        with BatchedSDPAMode(), RunNoise(SEEDS):
            stacked = vmap(program, randomness="different")(x_KBD)
    torch.testing.assert_close(stacked, torch.stack(alone), rtol=1e-6, atol=1e-6)


def test_a_refused_draw_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        vmap(lambda x: functional.dropout(x))(torch.ones(3, 4))
    assert is_refused_draw(caught.value)
    assert not is_refused_draw(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_refused_draw(ValueError(str(caught.value)))
