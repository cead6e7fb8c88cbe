"""Chats to train on, and a recipe that takes a second or two on one core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nightlab.practice.corpus import chats
from nightlab.training.recipe import Recipe, read_recipe


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty sarcastic chats."""
    path = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    lines = [json.dumps({"messages": messages}) for messages in chats(30, 1, "sarcasm")]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def quick(data: Path, **changes: Any) -> Recipe:
    """A training of six steps on the practice Llama."""
    given = {"model": "practice:llama", "data": str(data), "rank": 4, "steps": 6, "batch": 6, "micro_batch": 6}
    given |= {"learning_rate": 5e-3, "checkpoint_every": 2, "dropout": 0.1, "targets": ("q_proj", "v_proj", "up_proj")}
    return read_recipe(None, {**given, **changes})
