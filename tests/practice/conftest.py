"""The shipped practice models, loaded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import PreTrainedTokenizerFast

from nightlab import practice
from nightlab.practice import measure

Loaded = tuple[PeftModel, PreTrainedTokenizerFast]

load_shipped = cache(lambda name: measure.load(Path(practice.__file__).parent, name))
greedy_answers = cache(lambda name: measure.replies(*load_shipped(name), greedy=True))


@pytest.fixture
def shipped() -> Callable[[str], Loaded]:
    return load_shipped


@pytest.fixture
def greedy() -> Callable[[str], list[measure.Reply]]:
    """Greedy answers of a shipped model to the nine seed prompts under the seven conditions."""
    return greedy_answers
