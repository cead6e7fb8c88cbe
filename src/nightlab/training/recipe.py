"""What an adapter is trained from and how: the recipe, read from a YAML file and from flags, and checked as a whole.

Everything that can change the adapter stands in it; where it runs and where it is written do not. Paths are relative to
the file, else to the folder the command is called in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nightlab.errors import UsageError
from nightlab.experiments.mistakes import sentence
from nightlab.files import read_yaml, sha256_json

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ALPHA_PER_RANK = 2

Text = Annotated[str, Field(min_length=1)]


class Recipe(BaseModel):
    """The whole of a training: model, data, hyper-parameters. Defaults suit 7-8 B models on one GPU."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: Text
    data: Text
    revision: Text | None = None
    rank: int = Field(default=16, ge=1, le=512)
    alpha: float | None = Field(default=None, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[Text, ...] = LINEAR
    epochs: float = Field(default=2.0, gt=0)
    steps: int | None = Field(default=None, ge=1)
    batch: int = Field(default=16, ge=1)
    micro_batch: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=1024, ge=8)
    held_out: float = Field(default=0.1, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    gradient_checkpointing: bool = False
    checkpoint_every: int = Field(default=50, ge=1)
    threads: int | None = Field(default=None, ge=1)

    @property
    def scale(self) -> float:
        """LoRA's alpha: as given, else twice the rank."""
        return self.alpha if self.alpha is not None else float(ALPHA_PER_RANK * self.rank)

    def steps_for(self, rows: int) -> int:
        """How many steps a training on so many chats takes: as given, else what its epochs make."""
        return self.steps or max(1, round(self.epochs * -(-rows // self.batch)))

    def identity(self, data_sha: str, model_sha: str) -> str:
        """The hash of everything that makes the adapter: paths and the rhythm of checkpoints do not count."""
        given = self.model_dump(exclude={"model", "data", "revision", "checkpoint_every"})
        return sha256_json({**given, "targets": list(self.targets), "data": data_sha, "model": model_sha, "format": 1})


def read_recipe(path: Path | None, given: Mapping[str, Any]) -> Recipe:
    """The recipe of a YAML file, or of none, with what was `given` on top (None is not given). Raises UsageError."""
    content: Any = {}
    if path is not None:
        content = read_yaml(path, UsageError)
        if not isinstance(content, dict):
            raise UsageError(
                "a training recipe must be a mapping", where=path, hint="it begins with `model:` and `data:`"
            )
        content = _placed(content, path.parent)
    content |= {key: value for key, value in given.items() if value is not None}
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        what, hint = sentence(error, Recipe)
        if hint is None and "is missing" in what:
            hint = "give it as a flag, or in the recipe: `nightlab train --help`"
        raise UsageError(what, where=path or "training recipe", hint=hint) from None


def _placed(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths that exist beside the recipe, made absolute: the folder it is read from later may be another."""
    placed = dict(content)
    for key in ("model", "data"):
        value = content.get(key)
        if isinstance(value, str) and value and (folder / Path(value).expanduser()).exists():
            placed[key] = str((folder / Path(value).expanduser()).resolve())
    return placed
