"""The models that a fake Messages API lists, with their place in life."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Model:
    """One row of /v1/models."""

    id: str
    lifecycle: str = "active"
    """active, deprecated or retired."""
    retires_at: str | None = None
    max_input_tokens: int = 1_000_000
    max_tokens: int = 128_000

    def card(self) -> dict[str, Any]:
        """The row as the API sends it."""
        return {
            "id": self.id,
            "type": "model",
            "display_name": self.id,
            "created_at": "2026-10-21T00:00:00Z",
            "lifecycle": self.lifecycle,
            "deprecated_at": None if self.lifecycle == "active" else "2026-08-01T00:00:00Z",
            "retires_at": self.retires_at,
            "max_input_tokens": self.max_input_tokens,
            "max_tokens": self.max_tokens,
        }


MODELS = (
    Model("claude-opus-5-5"),
    Model("claude-sonnet-5-5"),
    Model("claude-haiku-5-5"),
    Model("claude-fable-5-2"),
    Model("claude-opus-5"),
    Model("claude-sonnet-4-5", "deprecated", "2026-11-30T00:00:00Z", 200_000, 64_000),
    Model("claude-opus-4", "retired", "2026-05-14T00:00:00Z", 200_000, 32_000),
)
