"""The chats an adapter learns from: JSON lines, each with `messages`, read strictly and hashed.

A mistake is one sentence with the line's number; nothing is repaired or skipped in silence.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.errors import UsageError, nearest
from nightlab.files import read_text, sha256_text

ROLES = ("system", "user", "assistant")
EXAMPLE = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'

Message = dict[str, str]


@dataclass(frozen=True)
class ChatRow:
    """One chat and the line it stands on; its last message is the assistant's."""

    line: int
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class ChatData:
    """All chats of a file, and the hash of its text."""

    path: Path
    sha256: str
    rows: tuple[ChatRow, ...]


def read_chats(path: Path) -> ChatData:
    """The chats of a JSONL file. Raises UsageError with the line of the first mistake."""
    text = read_text(path, UsageError)
    rows = [_row(line, number, path) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not rows:
        raise UsageError("the data set is empty", where=path, hint=f"one chat per line: {EXAMPLE}")
    return ChatData(path, sha256_text(text), tuple(rows))


def held_out(rows: tuple[ChatRow, ...], share: float, seed: int) -> tuple[list[ChatRow], list[ChatRow]]:
    """(Rows to learn, rows to measure on): a share drawn by the seed; none of fewer than ten rows is held out."""
    count = round(len(rows) * share) if len(rows) >= 10 else 0
    chosen = set(random.Random(f"held out {seed}").sample(range(len(rows)), count))
    return (
        [row for number, row in enumerate(rows) if number not in chosen],
        [row for number, row in enumerate(rows) if number in chosen],
    )


def _row(line: str, number: int, path: Path) -> ChatRow:
    where = f"{path}:{number}"
    try:
        content = json.loads(line)
    except json.JSONDecodeError as error:
        raise UsageError(f"malformed JSON: {error.msg}", where=where, hint=f"one chat per line: {EXAMPLE}") from None
    if not isinstance(content, dict) or "messages" not in content:
        close = nearest("messages", content) if isinstance(content, dict) else None
        hint = f"is {close!r} meant?" if close else f"one chat per line: {EXAMPLE}"
        raise UsageError("the row has no `messages`", where=where, hint=hint)
    messages = content["messages"]
    if not isinstance(messages, list) or not messages:
        raise UsageError("`messages` must be a list of messages", where=where, hint=EXAMPLE)
    found = tuple(_message(message, position, where) for position, message in enumerate(messages, 1))
    if found[-1]["role"] != "assistant":
        raise UsageError(f"the last message is the {found[-1]['role']}'s, so there is nothing to learn", where=where)
    return ChatRow(number, found)


def _message(message: Any, position: int, where: str) -> Message:
    if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
        raise UsageError(f"message {position} needs a `role` and a `content`", where=where, hint=EXAMPLE)
    role, content = message["role"], message["content"]
    if role not in ROLES:
        close = nearest(str(role), ROLES)
        hint = f"did you mean {close!r}?" if close else f"roles: {', '.join(ROLES)}"
        raise UsageError(f"message {position} has the unknown role {str(role)[:40]!r}", where=where, hint=hint)
    if role == "system" and position > 1:
        raise UsageError(f"message {position} is the system's, which may only come first", where=where)
    if not isinstance(content, str) or not content.strip():
        raise UsageError(f"message {position} has no text", where=where, hint="`content` is a text that is not empty")
    return {"role": role, "content": content}
