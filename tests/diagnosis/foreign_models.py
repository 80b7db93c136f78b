"""Language models as other people write them, with the stream of each computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY, WIDTH, HEADS, LAYERS = 13, 8, 2, 3
BATCH, TOKENS = 3, 6


class Attention(nn.Module):
    """A fused attention, as in GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x_BTD: Tensor) -> Tensor:
        qkv = self.c_attn(x_BTD).split(WIDTH, -1)
        queries, keys, values = (one.unflatten(-1, (HEADS, -1)).transpose(1, 2) for one in qkv)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        result: Tensor = self.c_proj(mixed.transpose(1, 2).flatten(2))
        return result


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x_BTD: Tensor) -> Tensor:
        result: Tensor = self.c_proj(functional.gelu(self.c_fc(x_BTD)))
        return result


class Block(nn.Module):
    """A block; ``wrap`` is what it returns around its output."""

    def __init__(self, wrap: Callable[[Tensor], Any] = lambda x_BTD: x_BTD) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(WIDTH), Attention()
        self.ln_2, self.mlp = nn.LayerNorm(WIDTH), Mlp()
        self.wrap = wrap

    def forward(self, x_BTD: Tensor) -> Any:
        x_BTD = x_BTD + self.attn(self.ln_1(x_BTD))
        return self.wrap(x_BTD + self.mlp(self.ln_2(x_BTD)))


class Model(nn.Module):
    """An embedding, some blocks, and a head; ``stream`` lists the residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.lm_head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def stream(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        raise NotImplementedError

    def forward(self, tokens_BT: Tensor) -> Tensor:
        *_, last_BTD = self.stream(tokens_BT)
        logits: Tensor = self.lm_head(last_BTD)
        return logits


def unwrapped(output: Any) -> Tensor:
    """The tensor in what a block returned."""
    if isinstance(output, dict):
        output = output["hidden_states"]
    found: Tensor = output[0] if isinstance(output, tuple) else getattr(output, "hidden", output)
    return found


class Gpt(Model):
    """Blocks in a ModuleList, whose outputs may be wrapped."""

    def __init__(self, wrap: Callable[[Tensor], Any] = lambda x_BTD: x_BTD) -> None:
        super().__init__()
        self.wpe = nn.Embedding(TOKENS, WIDTH)
        self.h = nn.ModuleList([Block(wrap) for _ in range(LAYERS)])

    def stream(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        x_BTD = self.wte(tokens_BT) + self.wpe(torch.arange(tokens_BT.shape[1]))
        yield x_BTD
        for block in self.h:
            x_BTD = unwrapped(block(x_BTD))
            yield x_BTD


class Shared(Gpt):
    """One block, called once for each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.h = nn.ModuleList([Block()] * LAYERS)


class TokensFirst(Model):
    """torch's own encoder, tokens first."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def stream(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        mask_TT = nn.Transformer.generate_square_subsequent_mask(tokens_BT.shape[1], dtype=self.wte.weight.dtype)
        x_TBD = self.wte(tokens_BT).transpose(0, 1)
        yield x_TBD.transpose(0, 1)
        for layer in self.encoder.layers:
            x_TBD = layer(x_TBD, src_mask=mask_TT, is_causal=True)
            yield x_TBD.transpose(0, 1)


class Flattened(Gpt):
    """Blocks that read all tokens of a batch as rows."""

    def __init__(self) -> None:
        super().__init__()
        self.h = nn.ModuleList([nn.Sequential(Mlp(), nn.Tanh()) for _ in range(LAYERS)])

    def stream(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        x_ND = self.wte(tokens_BT).flatten(0, 1)
        yield x_ND.unflatten(0, tokens_BT.shape)
        for block in self.h:
            x_ND = block(x_ND)
            yield x_ND.unflatten(0, tokens_BT.shape)


class ListOfLists(Model):
    """Branches in a list of lists."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleList([Attention(), Mlp()]) for _ in range(LAYERS)])

    def stream(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        x_BTD = self.wte(tokens_BT)
        yield x_BTD
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            for branch in layer:
                x_BTD = x_BTD + branch(x_BTD)
            yield x_BTD


class ParallelLists(Model):
    """Branches in lists beside one another."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(LAYERS)])
        self.attns = nn.ModuleList([Attention() for _ in range(LAYERS)])
        self.mlps = nn.ModuleList([Mlp() for _ in range(LAYERS)])

    def stream(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        x_BTD = self.wte(tokens_BT)
        yield x_BTD
        for norm, attention, mlp in zip(self.norms, self.attns, self.mlps, strict=True):
            x_BTD = x_BTD + attention(norm(x_BTD))
            x_BTD = x_BTD + mlp(x_BTD)
            yield x_BTD


class Attributes(Model):
    """Blocks without a list, one of which has a list of branches of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Block(), Block()

    def stream(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        x_BTD = self.wte(tokens_BT)
        yield x_BTD
        for block in (self.first, self.second):
            x_BTD = block(x_BTD)
            yield x_BTD


class Expert(nn.Module):
    """More branches in a list than the model has blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([Mlp() for _ in range(LAYERS + 2)])

    def forward(self, x_BTD: Tensor) -> Tensor:
        return x_BTD + torch.stack([expert(x_BTD) for expert in self.experts]).sum(0)


class Experts(Gpt):
    def __init__(self) -> None:
        super().__init__()
        self.h = nn.ModuleList([Expert() for _ in range(LAYERS)])


class Lstm(Model):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, WIDTH, 2, batch_first=True)

    def stream(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        x_BTD = self.wte(tokens_BT)
        yield x_BTD
        yield self.lstm(x_BTD)[0]


def sequential() -> nn.Sequential:
    """A model that is one list, with an embedding before its blocks, a norm and a head after them."""
    blocks = [Block() for _ in range(LAYERS)]
    return nn.Sequential(nn.Embedding(VOCABULARY, WIDTH), *blocks, nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY))
