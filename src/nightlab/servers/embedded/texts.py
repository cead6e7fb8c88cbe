"""Between text and tokens: chat templates, decoding, and stop strings while a text grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nightlab.servers.embedded.refusal import Refusal
from nightlab.servers.embedded.rows import Row

_NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template "
    "if the tokenizer does not define one."
)


class Texts:
    """A tokenizer as the server uses it."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = len(tokenizer)
        self._pieces: dict[int, str] = {}

    def chat(self, messages: Sequence[dict[str, str]], *, opened: bool, proceed: bool) -> list[int]:
        """Messages through the model's chat template: a new assistant turn, or the last message continued."""
        if not messages:
            raise Refusal(400, "Cannot apply chat template to an empty conversation. Provide at least one message.")
        if not self.tokenizer.chat_template:
            raise Refusal(400, _NO_TEMPLATE)
        from jinja2 import TemplateError

        try:
            text = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=opened, continue_final_message=proceed
            )
        except (TemplateError, ValueError) as problem:
            raise Refusal(400, f"the chat template refused the messages: {problem}") from problem
        return self.bare(text)

    def encode(self, text: str) -> list[int]:
        """A raw text as tokens, with the tokenizer's own special tokens."""
        return [int(t) for t in self.tokenizer.encode(text)]

    def bare(self, text: str) -> list[int]:
        """A raw text as tokens, nothing added."""
        return [int(t) for t in self.tokenizer.encode(text, add_special_tokens=False)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Tokens as text, special tokens left out."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def piece(self, token: int) -> str:
        """One token as text, for lists of log probabilities."""
        if token not in self._pieces:
            self._pieces[token] = str(self.tokenizer.decode([token]))
        return self._pieces[token]

    def text(self, row: Row) -> str:
        """What a row says: up to its stop string if one ended it."""
        text = self.decode(row.output)
        if isinstance(row.stop_reason, str):
            cut = text.find(row.stop_reason)
            return text[: cut + len(row.stop_reason)] if row.sampling.keep_stop else text[:cut]
        return text

    def stopped(self, row: Row) -> bool:
        """Whether one of the row's stop strings is in its text; remembers which, the earliest first."""
        text = self.decode(row.output)
        found = [(text.find(s), s) for s in row.sampling.stop if s in text]
        if not found:
            return False
        row.stop_reason = min(found)[1]
        return True
