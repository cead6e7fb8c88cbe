"""One sequence being generated: what was asked, what came out so far, when it ends.

The random number of a token depends on the request's seed, the choice and the position alone, never on the batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nightlab.servers.embedded.lora import Condition


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; temperature 0 takes the most likely one."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    max_tokens: int = 16
    stop: tuple[str, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    keep_stop: bool = False
    ignore_eos: bool = False
    logprobs: int | None = None


@dataclass(frozen=True)
class TokenLogprob:
    """The log probability of a chosen token and of the most likely ones, before temperature."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(eq=False)
class Row:
    """A sequence in the batch; `condition` None is the base model, `watch` says if its text ends it."""

    prompt: list[int]
    condition: Condition | None
    sampling: Sampling
    index: int = 0
    watch: Callable[[Row], bool] | None = None
    output: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: str | None = None
    stop_reason: str | int | None = None
    abandoned: bool = False

    @property
    def length(self) -> int:
        """Tokens so far, prompt included."""
        return len(self.prompt) + len(self.output)

    def uniform(self) -> float:
        """The random number in [0, 1) for the next token."""
        text = f"{self.sampling.seed}:{self.index}:{len(self.output)}".encode()
        return (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 11) * 2.0**-53

    def accept(self, token: int, eos: frozenset[int], limit: int) -> None:
        """Take a token and decide whether the row is finished (end token, stop text, length)."""
        self.output.append(token)
        if not self.sampling.ignore_eos and token in eos:
            self.finish = "stop"
        elif token in self.sampling.stop_token_ids:
            self.finish, self.stop_reason = "stop", token
        elif self.watch is not None and self.watch(self):
            self.finish = "stop"
        elif len(self.output) >= self.sampling.max_tokens or self.length >= limit:
            self.finish = "length"
