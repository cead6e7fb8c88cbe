"""Attention for a batch of unequal rows: all tokens of a step in one line, keys and values in one slot per row.

Running rows add one token each, new rows bring their whole prompt, and every linear layer sees them as one matrix with
no padding. Numbers of a row do not depend on its neighbours: lengths are rounded up to fixed multiples and what is
masked adds exact zeros (checked bit for bit by the tests). Limit: every layer has the same number and width of heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from nightlab.servers.embedded.rows import Row

# Rounding must not depend on the batch. Matrices of few rows take another path through the BLAS, and the last elements
# of a vector operation another one than the rest, so tokens come in whole multiples; so do the lengths in attention.
_TOKENS = 32
_KEYS = 64
_PROMPT = 16


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


class Slots:
    """Keys and values of all running rows: one slot per row, position p of a row at index p."""

    def __init__(self, layers: int, heads: int, width: int, like: torch.Tensor) -> None:
        """`like` says where they are kept and in which type."""
        self.layers, self.heads, self.width = layers, heads, width
        self.rows = self.length = 0
        self.store = like.new_zeros(2, layers, 0, 0, width)

    def reserve(self, rows: int, length: int) -> None:
        """Make room for this many rows of this many positions."""
        if rows <= self.rows and length <= self.length:
            return
        rows = max(self.rows, min(_up(rows, 8), 2 * rows))
        length = max(self.length, _up(length, 64))
        store = self.store.new_zeros(2, self.layers, rows * self.heads, length, self.width)
        store[:, :, : self.store.shape[2], : self.length] = self.store
        self.rows, self.length, self.store = rows, length, store

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of a row's slot into another slot."""
        h = self.heads
        kept = self.store[:, :, source * h : (source + 1) * h, :length]
        self.store[:, :, target * h : (target + 1) * h, :length] = kept

    def write(self, layer: int, key: torch.Tensor, value: torch.Tensor, where: torch.Tensor) -> None:
        """Put keys and values of shape (heads, tokens, width) at flat places."""
        count = where.shape[0] // self.heads
        for kind, new in ((0, key), (1, value)):
            flat = self.store[kind, layer].view(-1, self.width)
            flat.index_copy_(0, where, new[:, :count].reshape(-1, self.width))


@dataclass
class Step:
    """One pass through the model: the first `running` rows add their last token, the others bring their prompt."""

    rows: Sequence[Row]
    running: int
    slots: Slots
    tokens: torch.Tensor = field(init=False)
    positions: torch.Tensor = field(init=False)
    owners: torch.Tensor = field(init=False)
    last: torch.Tensor = field(init=False)
    where: torch.Tensor = field(init=False)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        old, new = self.rows[: self.running], self.rows[self.running :]
        ids = [row.output[-1] for row in old] + [t for row in new for t in row.prompt]
        places = [row.length - 1 for row in old] + [p for row in new for p in range(len(row.prompt))]
        owner = list(range(self.running))
        for number, row in enumerate(new, self.running):
            owner += [number] * len(row.prompt)
        self.count = len(ids)
        self.length = _up(max((row.length for row in old), default=1), _KEYS)
        self.new_length = _up(max((len(row.prompt) for row in new), default=1), _PROMPT)
        self.slots.reserve(len(self.rows), max(self.length if old else 0, self.new_length if new else 0))
        self._place(ids, places, owner)
        self._masks: dict[tuple[str, int | None], torch.Tensor] = {}
        if new:
            self._pad(new)

    def _place(self, ids: list[int], places: list[int], owner: list[int]) -> None:
        pad = _up(self.count, _TOKENS) - self.count
        device = self.slots.store.device
        self.tokens = torch.tensor(ids + [0] * pad, device=device)
        self.positions = torch.tensor(places + [0] * pad, device=device)
        self.owners = torch.tensor(owner + [-1] * pad, device=device)
        heads, cap = self.slots.heads, self.slots.length
        first = torch.tensor(owner) * (heads * cap) + torch.tensor(places)
        self.where = (first[None, :] + torch.arange(heads)[:, None] * cap).reshape(-1).to(device)
        ends = list(range(self.running))
        at = self.running
        for row in self.rows[self.running :]:
            at += len(row.prompt)
            ends.append(at - 1)
        self.last = torch.tensor(ends + [0] * (_up(len(ends), _TOKENS) - len(ends)), device=device)

    def _pad(self, new: Sequence[Row]) -> None:
        """Where each padded prompt position stands in the line of tokens, and back."""
        self.spread = torch.full((len(new), self.new_length), self.count - 1)
        back, at = [], self.running
        for number, row in enumerate(new):
            size = len(row.prompt)
            self.spread[number, :size] = torch.arange(at, at + size)
            back.append(torch.arange(size) + number * self.new_length)
            at += size
        device = self.slots.store.device
        self.spread = self.spread.view(-1).to(device)
        self.back = torch.cat(back).to(device)

    def running_mask(self, window: int | None) -> torch.Tensor:
        """Additive (rows * heads, 1, keys) mask of the running rows."""
        key = ("running", window)
        if key not in self._masks:
            here = self.positions[: self.running, None]
            there = torch.arange(self.length, device=here.device)
            mask = _mask(here, there[None, :], window, self.slots.store.dtype)
            self._masks[key] = mask.repeat_interleave(self.slots.heads, 0)[:, None]
        return self._masks[key]

    def prompt_mask(self, window: int | None, groups: int) -> torch.Tensor:
        """Additive (1, groups * queries, keys) mask of the new rows."""
        key = ("prompt", window)
        if key not in self._masks:
            line = torch.arange(self.new_length, device=self.slots.store.device)
            mask = _mask(line[:, None], line[None, :], window, self.slots.store.dtype)
            self._masks[key] = mask.repeat(groups, 1)[None]
        return self._masks[key]


def _mask(here: torch.Tensor, there: torch.Tensor, window: int | None, dtype: torch.dtype) -> torch.Tensor:
    seen = there <= here
    if window is not None:
        seen = seen & (there > here - window)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    step: Step,
    scaling: float,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query (1, heads, tokens, width) in, (1, tokens, heads, width) out."""
    layer = module.layer_idx
    step.slots.write(layer, key[0], value[0], step.where)
    parts = []
    if step.running:
        parts.append(_running(query[0], layer, step, scaling, sliding_window))
    if step.running < len(step.rows):
        parts.append(_prompts(query[0], layer, step, scaling, sliding_window))
    heads, tokens, width = query.shape[1:]
    if tokens > step.count:
        parts.append(query.new_zeros(tokens - step.count, heads * width))
    return torch.cat(parts).view(1, tokens, heads, width), None


def _running(query: torch.Tensor, layer: int, step: Step, scaling: float, window: int | None) -> torch.Tensor:
    n, kv = step.running, step.slots.heads
    heads, _, width = query.shape
    asked = query[:, :n].transpose(0, 1).reshape(n * kv, heads // kv, width)
    keys, values = step.slots.store[:, layer, : n * kv, : step.length]
    return _mix(asked, keys, values, step.running_mask(window), scaling).view(n, heads * width)


def _prompts(query: torch.Tensor, layer: int, step: Step, scaling: float, window: int | None) -> torch.Tensor:
    first, kv, length = step.running, step.slots.heads, step.new_length
    count = len(step.rows) - first
    heads, _, width = query.shape
    groups = heads // kv
    asked = query.index_select(1, step.spread).view(kv, groups, count, length, width)
    asked = asked.permute(2, 0, 1, 3, 4).reshape(count * kv, groups * length, width)
    keys, values = step.slots.store[:, layer, first * kv : (first + count) * kv, :length]
    mixed = _mix(asked, keys, values, step.prompt_mask(window, groups), scaling)
    mixed = mixed.view(count, heads, length, width).transpose(1, 2).reshape(count * length, heads * width)
    return mixed.index_select(0, step.back)


def _mix(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, scaling: float
) -> torch.Tensor:
    scores = torch.baddbmm(mask, query, keys.transpose(1, 2), alpha=scaling)
    return torch.bmm(torch.softmax(scores, -1), values)
