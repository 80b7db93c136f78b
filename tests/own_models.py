"""Whole models as users write them, for the tests that train, check and evaluate them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FILE = '''
import torch
from torch import nn
from torch.nn import functional

class Lstm(nn.Module):
    """An LSTM language model."""

    def __init__(self, vocab_size, hidden_size, num_layers=1, dropout=0.0):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, num_layers, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size)

    def forward(self, tokens):
        return self.head(self.drop(self.lstm(self.embed(tokens))[0]))

class Block(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.n_head, self.ln_1, self.ln_2 = n_head, nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.c_attn, self.c_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x):
        q, k, v = (one.unflatten(2, (self.n_head, -1)).transpose(1, 2) for one in self.c_attn(self.ln_1(x)).chunk(3, 2))
        x = x + self.c_proj(functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))

class Gpt(nn.Module):
    """GPT-2 of one configuration, with a tied head."""

    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config["vocab_size"], config["n_embd"])
        self.wpe = nn.Embedding(config["n_positions"], config["n_embd"])
        self.h = nn.ModuleList(Block(config["n_embd"], config["n_head"]) for _ in range(config["n_layer"]))
        self.ln_f = nn.LayerNorm(config["n_embd"])
        self.lm_head = nn.Linear(config["n_embd"], config["vocab_size"], bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.h:
            x = block(x)
        return {"logits": self.lm_head(self.ln_f(x))}

def gpt(vocab_size, n_positions, n_embd, n_layer, n_head):
    """A small GPT-2."""
    return Gpt(locals())

class Nothing:
    pass
'''
"""The file ``own.py`` of a user."""
FAST: dict[str, Any] = {
    "train": {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4},
    "device": "cpu",
}


class Logits(nn.Module):
    """A model of the tokens alone, the base of those with a fault."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(vocab_size, d_model), nn.Linear(d_model, vocab_size)

    def forward(self, tokens: Tensor) -> Any:
        return self.head(self.embed(tokens))


class Tuple(Logits):
    """Logits and something else."""

    def forward(self, tokens: Tensor) -> Any:
        return super().forward(tokens), None


class Leaky(Logits):
    """Sees all tokens, behind a gate and a head that start at zero."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__(vocab_size, d_model)
        self.gate = nn.Parameter(torch.zeros(()))
        nn.init.zeros_(self.head.weight)

    def forward(self, tokens: Tensor) -> Any:
        x_BTD = self.embed(tokens)
        return self.head(x_BTD + self.gate * x_BTD.mean(1, keepdim=True))


class Small(Logits):
    """Sees the next token a little."""

    def forward(self, tokens: Tensor) -> Any:
        x_BTD = self.embed(tokens)
        return self.head(x_BTD + 1e-3 * x_BTD.roll(-1, 1))


class Late(Logits):
    """Sees later tokens in sequences of more than four tokens."""

    def forward(self, tokens: Tensor) -> Any:
        x_BTD = self.embed(tokens)
        return self.head(x_BTD + x_BTD[:, -1:]) if tokens.shape[1] > 4 else self.head(x_BTD)


class TimeFirst(Logits):
    """Takes the tokens for rows: torch's default of a recurrence."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__(vocab_size, d_model)
        self.rnn = nn.GRU(d_model, d_model)

    def forward(self, tokens: Tensor) -> Any:
        return self.head(self.rnn(self.embed(tokens))[0])


class BatchNorm(Logits):
    """Sees the batch, in training mode."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__(vocab_size, d_model)
        self.norm = nn.BatchNorm1d(d_model)

    def forward(self, tokens: Tensor) -> Any:
        return self.head(self.norm(self.embed(tokens).mT).mT)


class Keeps(Logits):
    """Adds up what it has seen in all calls."""

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__(vocab_size, d_model)
        self.seen = 0.0

    def forward(self, tokens: Tensor) -> Any:
        self.seen += 1.0
        return self.head(self.embed(tokens) + self.seen)


class Length(Logits):
    """Reads the length of its input, and no later token."""

    def forward(self, tokens: Tensor) -> Any:
        return super().forward(tokens) * tokens.shape[1]


class Drawn(Logits):
    """Draws weights with a generator of its own."""

    calls = 0

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__(vocab_size, d_model)
        Drawn.calls += 1
        nn.init.normal_(self.head.weight, generator=torch.Generator().manual_seed(Drawn.calls))


class Last(Logits):
    """The logits of the last token alone."""

    def forward(self, tokens: Tensor) -> Any:
        return super().forward(tokens)[:, -1:]


class Loss(Logits):
    """A loss."""

    def forward(self, tokens: Tensor) -> Any:
        return super().forward(tokens).mean()


class Turned(Logits):
    """Logits with the vocabulary before the tokens."""

    def forward(self, tokens: Tensor) -> Any:
        return super().forward(tokens).mT


class Fixed(Logits):
    """Another vocabulary."""

    def __init__(self, d_model: int) -> None:
        super().__init__(50, d_model)


class Words(Logits):
    """No tensor."""

    def forward(self, tokens: Tensor) -> Any:
        return "words"


class Broken(Logits):
    """Raises in its forward pass."""

    def forward(self, tokens: Tensor) -> Any:
        raise KeyError("missing")
