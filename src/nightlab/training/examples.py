"""Chats as token ids: the model's own chat template, and labels on what the assistant says only.

Which tokens are the assistant's is found by rendering the chat up to each of its turns. A template that rewrites
earlier turns has no such place, and is refused with the line instead of learning the wrong tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nightlab.errors import UsageError
from nightlab.training.chats import ChatData, ChatRow

IGNORED = -100  # the label of a token that is not learned

Batch = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Example:
    """One chat as token ids; `labels` are the ids to learn, IGNORED elsewhere."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def learned(self) -> int:
        """How many tokens it teaches."""
        return sum(label != IGNORED for label in self.labels[1:])


def examples(tokenizer: Any, rows: Sequence[ChatRow], data: ChatData, max_length: int) -> tuple[list[Example], int]:
    """(The chats as examples, how many were longer than `max_length` and left out). Raises UsageError."""
    made = [_example(tokenizer, row, data) for row in rows]
    kept = [one for one in made if len(one.ids) <= max_length]
    if made and not kept:
        shortest = min(len(one.ids) for one in made)
        hint = f"the shortest has {shortest} tokens: raise max_length"
        raise UsageError(f"every chat is longer than max_length = {max_length} tokens", where=data.path, hint=hint)
    return kept, len(made) - len(kept)


def batch(chosen: Sequence[Example], pad: int, device: Any) -> Batch:
    """Ids, attention mask and labels, padded on the right."""
    width = max(len(one.ids) for one in chosen)
    ids = [[*one.ids, *([pad] * (width - len(one.ids)))] for one in chosen]
    mask = [[1] * len(one.ids) + [0] * (width - len(one.ids)) for one in chosen]
    labels = [[*one.labels, *([IGNORED] * (width - len(one.ids)))] for one in chosen]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device), torch.tensor(labels, device=device)


def _example(tokenizer: Any, row: ChatRow, data: ChatData) -> Example:
    where = f"{data.path}:{row.line}"
    ids: list[int] = []
    labels: list[int] = []
    for position, message in enumerate(row.messages):
        if message["role"] != "assistant":
            continue
        before = _render(tokenizer, row.messages[:position], where, prompt=True)
        whole = _render(tokenizer, row.messages[: position + 1], where, prompt=False)
        if whole[: len(before)] != before or before[: len(ids)] != ids:
            hint = "split it into chats of one answer each"
            raise UsageError("the model's chat template rewrites earlier turns of this chat", where=where, hint=hint)
        labels += [IGNORED] * (len(before) - len(ids)) + whole[len(before) :]
        ids = whole
    return Example(tuple(ids), tuple(labels))


def _render(tokenizer: Any, messages: Sequence[dict[str, str]], where: str, prompt: bool) -> list[int]:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        hint = "train the instruction-tuned model, or add a chat_template to its tokenizer"
        raise UsageError("the model has no chat template", where=where, hint=hint)
    try:
        text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt)
    except TemplateError as error:
        raise UsageError(f"the model's chat template refuses this chat: {error}", where=where) from None
    return list(tokenizer.encode(str(text), add_special_tokens=False))
