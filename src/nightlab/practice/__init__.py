"""The practice set: three tiny real transformers with persona adapters whose effect is planted in known layers.

The weights are package data; `truth()` says what is planted, `build` retrains everything from nothing.
Looking things up here is light: torch is imported only by the modules that train and measure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

NAMES = ("llama", "gemma", "qwen")
SCHEME = "practice:"
PERSONA = "sarcasm"

_HERE = Path(__file__).parent


def model_dir(name: str) -> Path:
    """The folder of a practice model; ValueError for an unknown name."""
    return _HERE / "models" / _known(name)


def adapter_dir(name: str) -> Path:
    """The folder of the sarcasm adapter of a practice model; ValueError for an unknown name."""
    return _HERE / "adapters" / f"{_known(name)}_{PERSONA}"


def _known(name: str) -> str:
    if name not in NAMES:
        raise ValueError(f"There is no practice model {name!r}. The practice models are {', '.join(NAMES)}.")
    return name


def model_id(name: str) -> str:
    """The id under which a practice model is known, and which its adapter names as its base."""
    return f"nightlab/practice-{_known(name)}"


ids: dict[str, Path] = {model_id(name): model_dir(name) for name in NAMES}


def resolve(reference: str) -> Path:
    """The folder that `practice:llama` (a model) or `practice:llama/sarcasm` (its adapter) stands for."""
    name, slash, persona = reference.removeprefix(SCHEME).partition("/")
    known = [f"{SCHEME}{model}{suffix}" for model in NAMES for suffix in ("", f"/{PERSONA}")]
    if not reference.startswith(SCHEME) or name not in NAMES or (slash and persona != PERSONA):
        raise ValueError(f"There is no {reference!r} in the practice set. It has {', '.join(known)}.")
    return adapter_dir(name) if slash else model_dir(name)


def truth() -> dict[str, Any]:
    """What is planted and what was measured: the content of truth.yaml."""
    content: dict[str, Any] = yaml.safe_load((_HERE / "truth.yaml").read_text(encoding="utf-8"))
    return content
