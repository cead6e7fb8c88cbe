"""The engine: a transformers model, its conditions, and one step that serves every running row at once.

New requests join at the next step (their prompts ride along with the running rows' tokens); finished rows leave at
once. One thread calls it. Limit: decoder models whose attention goes through transformers' attention interface; a
self-check at the start compares it with transformers' own attention and refuses a model it would serve wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nightlab.adapters.card import source_sha256
from nightlab.errors import UsageError
from nightlab.servers.embedded.loading import load_source, read_origin
from nightlab.servers.embedded.lora import Condition, Stack
from nightlab.servers.embedded.ragged import Slots, Step
from nightlab.servers.embedded.rows import Row, Sampling
from nightlab.servers.embedded.sampling import choose, note_logprobs

_ROOM = 8192  # padded prompt tokens that may join in one step


class Engine:
    """Holds the model, the loaded conditions and the running rows."""

    def __init__(self, model: Any, *, eos: frozenset[int], max_batch: int, max_len: int, max_rank: int = 256) -> None:
        config = model.config
        self.model, self.eos, self.max_batch, self.max_len, self.max_rank = model, eos, max_batch, max_len, max_rank
        self.num_layers = int(config.num_hidden_layers)
        heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
        width = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
        self.stack = Stack(model, self.num_layers)
        self.like = next(model.parameters())
        self.slots = Slots(self.num_layers, heads, width, self.like.detach())
        self.conditions: dict[str, Condition] = {}
        self.running: list[Row] = []
        self.waiting: list[Row] = []

    def load(self, name: str, folder: Path) -> Condition:
        """Serve an adapter folder under a name; on an error nothing changes. Raises AdapterError."""
        origin, weights = read_origin(folder, self.num_layers)
        digest = source_sha256(origin)
        known = [c.source for c in self._used() if c.source.sha256 == digest]
        source = known[0] if known else load_source(origin, self.stack.sizes(), max_rank=self.max_rank)
        condition = Condition(name, folder, source, weights)
        self.conditions[name] = condition
        self.stack.rebuild(self._used())
        return condition

    def unload(self, name: str) -> None:
        """Stop serving a name; rows that already run with it are finished."""
        del self.conditions[name]
        self.stack.rebuild(self._used())

    def _used(self) -> list[Condition]:
        busy = [row.condition for row in (*self.running, *self.waiting) if row.condition is not None]
        return list({id(c): c for c in (*self.conditions.values(), *busy)}.values())

    def add(self, row: Row) -> None:
        """Queue a row; it joins the batch at the next step with room."""
        if row.condition is not None and row.condition not in self.stack.listed:
            self.stack.rebuild([*self._used(), row.condition])  # unloaded while the request was on its way
        self.waiting.append(row)

    def step(self) -> list[Row]:
        """Add one token to every row; returns the rows that finished (or were abandoned), in no special order."""
        with torch.inference_mode():
            return self._step()

    def _step(self) -> list[Row]:
        gone = self._drop_abandoned()
        rows = [*self.running, *self._joining()]
        if not rows:
            return gone
        begun, self.running = len(self.running), rows
        logits = self._logits(Step(rows, begun, self.slots))
        tokens = choose(logits, rows)
        note_logprobs(logits, rows, tokens)
        for row, token in zip(rows, tokens, strict=True):
            row.accept(token, self.eos, self.max_len)
        return gone + self._remove([i for i, row in enumerate(rows) if row.finish])

    def _logits(self, step: Step) -> torch.Tensor:
        indices = [row.condition.index if row.condition else 0 for row in step.rows] + [0]
        lines = torch.tensor(indices, device=self.like.device)
        self.stack.open(lines[step.owners], step.last)
        tokens, positions = step.tokens[None], step.positions[None]
        out = self.model(tokens, position_ids=positions, use_cache=False, logits_to_keep=step.last, step=step)
        return out.logits[0, : len(step.rows)]

    def _joining(self) -> list[Row]:
        """Waiting rows that fit into this step."""
        room = self.max_batch - len(self.running)
        joining: list[Row] = []
        longest = 0
        for row in self.waiting[:room]:
            longest = max(longest, len(row.prompt))
            if joining and longest * (len(joining) + 1) > _ROOM:
                break
            joining.append(row)
        del self.waiting[: len(joining)]
        return joining

    def _drop_abandoned(self) -> list[Row]:
        lost = [row for row in self.waiting if row.abandoned]
        self.waiting = [row for row in self.waiting if not row.abandoned]
        return lost + self._remove([i for i, row in enumerate(self.running) if row.abandoned])

    def _remove(self, places: Sequence[int]) -> list[Row]:
        """Take rows out of the batch; the last row's slot moves into the hole."""
        gone = []
        for place in reversed(places):
            row, last = self.running[place], self.running.pop()
            gone.append(row)
            if row is not last:
                self.slots.move(len(self.running), place, last.length)
                self.running[place] = last
        return gone

    def clear(self) -> list[Row]:
        """Forget every row, after a failed step; returns them."""
        rows = self.running + self.waiting
        self.running, self.waiting = [], []
        return rows

    def generate(self, prompts: Sequence[tuple[list[int], Condition | None, Sampling]]) -> list[Row]:
        """Run rows to their end, all of them in one batch as far as it has room."""
        rows = [Row(prompt, condition, sampling) for prompt, condition, sampling in prompts]
        for row in rows:
            self.add(row)
        while self.waiting or self.running:
            self.step()
        return rows

    def check_self(self, tokens: list[int]) -> None:
        """Compare one prompt's logits with transformers' own attention. Raises UsageError when they differ."""
        kind = type(self.model).__name__
        try:
            gap, size = self._gap(tokens)
        except (RuntimeError, IndexError) as problem:
            raise _not_served(kind, str(problem)) from problem
        exact = self.like.dtype == torch.float32
        if not gap <= (1e-3 if exact else 5e-2) * max(1.0, size):
            raise _not_served(kind, f"its logits would be off by {gap:.3g}")

    def _gap(self, tokens: list[int]) -> tuple[float, float]:
        """The largest difference of the last token's logits from transformers' own, and their size."""
        row = Row(tokens, None, Sampling(temperature=0.0, max_tokens=1))
        with torch.inference_mode():
            ours = self._logits(Step([row], 0, self.slots))[0]
            name = self.model.config._attn_implementation
            self.model.set_attn_implementation("eager")
            theirs = self.model(torch.tensor([tokens], device=self.like.device), use_cache=False).logits[0, -1]
            self.model.set_attn_implementation(name)
        return float((ours - theirs).abs().max()), float(theirs.abs().max())


def _not_served(kind: str, reason: str) -> UsageError:
    return UsageError(f"the embedded server cannot serve {kind}: {reason}", hint="serve this model with vLLM")
