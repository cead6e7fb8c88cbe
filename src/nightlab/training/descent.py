"""The descent itself: batches in an order that the seed fixes, AdamW with warm-up and cosine, one row per step.

The loss of a step is the mean over all learned tokens of its batch, however it is cut into micro-batches.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nightlab.errors import NightlabError
from nightlab.training.examples import IGNORED, Example, batch
from nightlab.training.recipe import Recipe

BETAS = (0.9, 0.999)
FLOOR = 0.1  # of the learning rate, where the cosine ends

Row = dict[str, Any]


class Diverged(NightlabError):
    """The loss is no number any more: nothing of this training can be used."""


@dataclass
class Descent:
    """One training under way: `step` steps are taken of `total`."""

    model: nn.Module
    recipe: Recipe
    rows: Sequence[Example]
    total: int
    pad: int
    device: str
    step: int = 0

    def __post_init__(self) -> None:
        self.parameters = [one for one in self.model.parameters() if one.requires_grad]
        decay = self.recipe.weight_decay
        self.optimizer = torch.optim.AdamW(self.parameters, lr=0.0, betas=BETAS, weight_decay=decay)

    def run(self, until: Callable[[], bool]) -> Iterator[Row]:
        """Take the missing steps, one row each, until `until` says so or all are taken."""
        self.model.train()
        while self.step < self.total and not until():
            yield self._take()

    def measure(self, rows: Sequence[Example]) -> float:
        """The mean loss over the learned tokens of `rows`, without dropout."""
        self.model.eval()
        total, learned = 0.0, 0
        with torch.no_grad():
            for start in range(0, len(rows), self.recipe.micro_batch):
                some = rows[start : start + self.recipe.micro_batch]
                total += float(self._loss(some))
                learned += sum(one.learned for one in some)
        self.model.train()
        return total / learned

    def _take(self) -> Row:
        began = time.monotonic()
        chosen = self._chosen()
        learned = sum(one.learned for one in chosen)
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)  # dropout: a resumed run draws the same
        loss = 0.0
        for start in range(0, len(chosen), self.recipe.micro_batch):
            part = self._loss(chosen[start : start + self.recipe.micro_batch]) / learned
            part.backward()
            loss += float(part.detach())
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip))
        if not math.isfinite(loss) or not math.isfinite(norm):
            hint = "lower learning_rate, or train in bfloat16 or float32 where float16 overflows"
            raise Diverged(f"the loss is not finite at step {self.step + 1} of {self.total}", hint=hint)
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        told = {"step": self.step, "loss": loss, "learning_rate": rate, "gradient": norm, "tokens": learned}
        return {**told, "epoch": self._epoch(), "seconds": round(time.monotonic() - began, 4)}

    def _loss(self, rows: Sequence[Example]) -> Tensor:
        """The summed loss of a micro-batch; logits become float32 only where something is learned."""
        ids, mask, labels = batch(rows, self.pad, self.device)
        logits = self.model(input_ids=ids, attention_mask=mask).logits
        targets = labels[:, 1:]
        learned = targets != IGNORED
        return nn.functional.cross_entropy(logits[:, :-1][learned].float(), targets[learned], reduction="sum")

    def _chosen(self) -> list[Example]:
        """The rows of the next step: each epoch goes over all rows once, in an order of its own."""
        per_epoch = -(-len(self.rows) // self.recipe.batch)
        epoch, position = divmod(self.step, per_epoch)
        order = list(range(len(self.rows)))
        random.Random(f"{self.recipe.seed} {epoch}").shuffle(order)
        start = position * self.recipe.batch
        return [self.rows[number] for number in order[start : start + self.recipe.batch]]

    def _rate(self) -> float:
        warm = math.ceil(self.total * self.recipe.warmup)
        if self.step < warm:
            return self.recipe.learning_rate * (self.step + 1) / warm
        gone = (self.step - warm) / max(1, self.total - warm)
        return self.recipe.learning_rate * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * gone)))

    def _epoch(self) -> float:
        return round(self.step * self.recipe.batch / len(self.rows), 3)
