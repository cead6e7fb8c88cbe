"""Choosing the next token of every row, in float64, each row by its own numbers.

A row's choice depends on its own logits and its own random number only; temperature and top_p follow vLLM's order
(temperature first, then the smallest set of tokens whose probability reaches top_p).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nightlab.servers.embedded.rows import Row, TokenLogprob


def choose(logits: torch.Tensor, rows: Sequence[Row]) -> list[int]:
    """One token per row from logits of shape (rows, vocabulary)."""
    warm = [i for i, row in enumerate(rows) if row.sampling.temperature > 0]
    if not warm:
        return [int(t) for t in logits.argmax(-1).tolist()]
    tokens = logits.argmax(-1)
    drawn = [rows[i] for i in warm]
    chosen = logits if len(warm) == len(rows) else logits[warm]
    tokens[warm] = _draw(chosen, drawn)
    return [int(t) for t in tokens.tolist()]


def _draw(logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    heat = _column([row.sampling.temperature for row in rows], logits)
    chance = torch.softmax(logits.double() / heat, -1)
    dice = _column([row.uniform() for row in rows], logits)
    tokens = _invert(chance, dice)
    cut = [i for i, row in enumerate(rows) if row.sampling.top_p < 1.0]
    if cut:
        limit = _column([rows[i].sampling.top_p for i in cut], logits)
        tokens[cut] = _nucleus(chance[cut], dice[cut], limit)
    return tokens


def _column(numbers: list[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64, device=like.device)[:, None]


def _invert(chance: torch.Tensor, dice: torch.Tensor) -> torch.Tensor:
    """The first token at which the summed probability passes the row's random number."""
    total = chance.cumsum(-1)
    found = torch.searchsorted(total, dice * total[:, -1:], right=True).squeeze(-1)
    return found.clamp_(max=chance.shape[-1] - 1)


def _nucleus(chance: torch.Tensor, dice: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    ordered, places = torch.sort(chance, dim=-1, descending=True, stable=True)
    kept = ordered.masked_fill(ordered.cumsum(-1) - ordered >= limit, 0.0)
    return places.gather(-1, _invert(kept, dice)[:, None]).squeeze(-1)


def note_logprobs(logits: torch.Tensor, rows: Sequence[Row], tokens: Sequence[int]) -> None:
    """Append the log probabilities of the chosen tokens to the rows that asked for them."""
    asked = [i for i, row in enumerate(rows) if row.sampling.logprobs is not None]
    if not asked:
        return
    values = torch.log_softmax(logits[asked].double(), -1)
    most = max(rows[i].sampling.logprobs or 0 for i in asked)
    top, places = values.topk(min(most, values.shape[-1]), -1)
    for line, i in enumerate(asked):
        count = rows[i].sampling.logprobs or 0
        best = zip(places[line, :count].tolist(), top[line, :count].tolist(), strict=True)
        rows[i].logprobs.append(TokenLogprob(tokens[i], float(values[line, tokens[i]]), tuple(best)))
