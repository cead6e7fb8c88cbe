"""Which layers a `layers:` entry means, with the arithmetic of the diffing-toolkit.

A relative value v is layer round(v * (layers - 1)) with Python's round (ties to even); a range includes both ends, so
neighbouring relative ranges share a border layer. Our addition `border: exclusive` cuts [round(start * layers),
round(end * layers)) instead: ranges that meet in a value then share nothing and miss nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from nightlab.errors import AmplificationError


@dataclass(frozen=True)
class Layers:
    """A `layers:` entry: all layers, single values, or a range; `where` names it in errors."""

    values: tuple[float, ...] | None
    start: float = 0.0
    end: float = 0.0
    is_range: bool = False
    is_relative: bool = False
    exclusive: bool = False
    where: str = ""

    def resolve(self, num_layers: int) -> tuple[int, ...]:
        """The layer numbers in a model of `num_layers` layers. Raises AmplificationError when one does not exist."""
        if self.is_range:
            return self._range(num_layers)
        if self.values is None:
            return tuple(range(num_layers))
        return tuple(self._checked(self._one(v, num_layers), num_layers) for v in self.values)

    def _one(self, value: float, num_layers: int) -> int:
        return round(value * (num_layers - 1)) if self.is_relative else int(value)

    def _range(self, num_layers: int) -> tuple[int, ...]:
        if self.exclusive and self.is_relative:
            first, last = round(self.start * num_layers), round(self.end * num_layers) - 1
        else:
            first, last = self._one(self.start, num_layers), self._one(self.end, num_layers) - int(self.exclusive)
        if last < first:
            raise AmplificationError(
                f"the range {self.start:g} to {self.end:g} covers none of the model's {num_layers} layers",
                where=self.where,
            )
        self._checked(first, num_layers)
        self._checked(last, num_layers)
        return tuple(range(first, last + 1))

    def _checked(self, layer: int, num_layers: int) -> int:
        if not 0 <= layer < num_layers:
            raise AmplificationError(
                f"there is no layer {layer}: the model has {num_layers} layers",
                where=self.where,
                hint=f"layers are counted from 0 to {num_layers - 1}",
            )
        return layer
