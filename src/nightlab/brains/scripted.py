"""A brain that says what it was told to say: for tests, of nightlab and of a lab's own agents and tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nightlab.brains.brain import Block, Turn, TurnRequest, Usage
from nightlab.budget import Amounts

Line = str | list[Block] | Turn | Callable[[TurnRequest], "str | list[Block] | Turn"]


def tool_use(request: TurnRequest, index: int, name: str, arguments: dict[str, Any]) -> Block:
    """A tool call whose id depends only on where it stands, so that a repeated turn has the same ids."""
    return {
        "type": "tool_use",
        "id": f"toolu_{request.watch}_{request.number:03d}_{index}",
        "name": name,
        "input": arguments,
    }


class Scripted:
    """Turn n of a watch is line n of the script; behind the last line it ends its turn without a word.

    A line is a text, a list of content blocks, a whole Turn, or a function of the request that returns one of these. A
    block `{"call": name, "input": {...}}` is a tool call that gets its id here.
    """

    def __init__(self, lines: Sequence[Line], *, usd_per_turn: float = 0.0, name: str = "scripted") -> None:
        self.name = name
        self.requests: list[TurnRequest] = []
        self._lines = list(lines)
        self._usd = usd_per_turn

    def quote(self, request: TurnRequest) -> Amounts:
        """The price that the script sets for a turn."""
        return Amounts(usd=self._usd)

    async def turn(self, request: TurnRequest, *, on_text: Callable[[str], None] | None = None) -> Turn:
        """The line that stands at this place of the script."""
        self.requests.append(request)
        line: Line = self._lines[request.number] if request.number < len(self._lines) else []
        if callable(line):
            line = line(request)
        if isinstance(line, Turn):
            return line
        blocks = [{"type": "text", "text": line}] if isinstance(line, str) else line
        content = [
            tool_use(request, i, block["call"], block.get("input", {})) if "call" in block else dict(block)
            for i, block in enumerate(blocks)
        ]
        if on_text:
            for block in content:
                on_text(block.get("text", ""))
        calls = any(block["type"] == "tool_use" for block in content)
        return Turn(content, "tool_use" if calls else "end_turn", Usage(), self._usd)
