"""Reading an amplification file's YAML value into records, with one clear sentence for every mistake.

The keys and their defaults are the diffing-toolkit's; unknown keys are refused, since a misspelt one would be a
different experiment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nightlab.adapters.ranges import Layers
from nightlab.errors import AmplificationError, nearest

_MODULES = {"all": ("attention", "mlp"), "attention": ("attention",), "mlp": ("mlp",)}


@dataclass(frozen=True)
class Entry:
    """One item of layer_amplifications: these layers get these two weights."""

    layers: Layers
    attention: float
    mlp: float


@dataclass(frozen=True)
class AdapterSpec:
    """One item of adapters: which adapter, and its entries in order."""

    organism: str
    variant: str
    entries: tuple[Entry, ...]

    @property
    def id(self) -> str:
        """organism/variant, or for the organism `custom` the variant itself."""
        if self.organism == "custom":
            return self.variant
        return f"{self.organism}/{self.variant}" if self.organism else self.variant


class Parser:
    """Reads one file's value; remembers the file's name for its errors."""

    def __init__(self, where: str) -> None:
        self.where = where

    def condition(self, data: object) -> tuple[str, str, tuple[AdapterSpec, ...]]:
        """Name, description and adapters of a condition."""
        top = self._mapping(data, "", {"name", "description", "adapters"})
        if "name" not in top:
            raise self._error("", "the key `name` is missing")
        name = self._text(top["name"], "name")
        if not name:
            raise self._error("name", "is empty")
        adapters = self._list(top.get("adapters", []), "adapters")
        specs = tuple(self._adapter(a, f"adapters[{i}]") for i, a in enumerate(adapters))
        return name, self._text(top.get("description", ""), "description"), specs

    def _adapter(self, data: object, at: str) -> AdapterSpec:
        item = self._mapping(data, at, {"organism_name", "variant", "layer_amplifications"})
        organism = self._text(item.get("organism_name", ""), f"{at}.organism_name")
        variant = self._text(item.get("variant", "default"), f"{at}.variant")
        if organism == "custom" and variant in ("", "default"):
            raise self._error(f"{at}.variant", "must name the adapter when organism_name is `custom`")
        entries = self._list(item.get("layer_amplifications", []), f"{at}.layer_amplifications")
        parsed = tuple(self._entry(e, f"{at}.layer_amplifications[{i}]") for i, e in enumerate(entries))
        return AdapterSpec(organism, variant, parsed)

    def _entry(self, data: object, at: str) -> Entry:
        item = self._mapping(data, at, {"layers", "is_relative", "module_amplifications"})
        if "layers" not in item:
            raise self._error(at, "the key `layers` is missing")
        relative = item.get("is_relative", False)
        if not isinstance(relative, bool):
            raise self._error(f"{at}.is_relative", f"must be true or false, not {relative!r}")
        weights = {"attention": 1.0, "mlp": 1.0}
        modules = self._list(item.get("module_amplifications", []), f"{at}.module_amplifications")
        for i, module in enumerate(modules):
            weights.update(self._module(module, f"{at}.module_amplifications[{i}]"))
        return Entry(self._layers(item["layers"], relative, f"{at}.layers"), **weights)

    def _module(self, data: object, at: str) -> dict[str, float]:
        item = self._mapping(data, at, {"modules", "weight"})
        for key in ("modules", "weight"):
            if key not in item:
                raise self._error(at, f"the key `{key}` is missing")
        modules = item["modules"]
        if not isinstance(modules, str) or modules not in _MODULES:
            raise self._error(f"{at}.modules", f"must be all, attention or mlp, not {modules!r}")
        weight = self._number(item["weight"], f"{at}.weight")
        return dict.fromkeys(_MODULES[modules], weight)

    def _layers(self, data: object, relative: bool, at: str) -> Layers:
        where = f"{self.where}: {at}"
        if data == "all":
            return Layers(None, where=where)
        if isinstance(data, dict):
            return self._range(data, relative, at)
        items = data if isinstance(data, list) else [data]
        if not items:
            raise self._error(at, "is an empty list: it names no layer")
        values = tuple(self._layer(v, relative, f"{at}[{i}]" if items is data else at) for i, v in enumerate(items))
        return Layers(values, is_relative=relative, where=where)

    def _layer(self, value: object, relative: bool, at: str) -> float:
        if isinstance(value, str):
            close = nearest(value, ["all"])
            raise self._error(at, f"must be all, a number, a list or a range, not {value!r}", close)
        number = self._number(value, at)
        if relative:
            return self._fraction(number, at)
        if not isinstance(value, int):
            raise self._error(
                at, f"must be a whole number, not {number:g}", "is_relative: true" if number <= 1 else None
            )
        return self._natural(number, at)

    def _range(self, data: dict[object, object], relative: bool, at: str) -> Layers:
        item = self._mapping(data, at, {"type", "start", "end", "border"})
        if item.get("type", "range") != "range":
            raise self._error(f"{at}.type", f"must be range, not {item['type']!r}")
        for key in ("type", "start", "end"):
            if key not in item:
                raise self._error(at, f"the key `{key}` is missing")
        border = item.get("border", "inclusive")
        if border not in ("inclusive", "exclusive"):
            raise self._error(f"{at}.border", f"must be inclusive or exclusive, not {border!r}")
        start, end = (self._border(item[k], relative, f"{at}.{k}") for k in ("start", "end"))
        if start > end or (border == "exclusive" and start == end):
            raise self._error(at, f"covers no layer: start {start:g}, end {end:g}")
        where = f"{self.where}: {at}"
        return Layers(None, start, end, True, relative, border == "exclusive", where)

    def _border(self, value: object, relative: bool, at: str) -> float:
        number = self._number(value, at)
        return self._fraction(number, at) if relative else self._natural(float(int(number)), at)

    def _fraction(self, number: float, at: str) -> float:
        if not 0.0 <= number <= 1.0:
            raise self._error(at, f"must lie between 0 and 1 when is_relative is true, not {number:g}")
        return number

    def _natural(self, number: float, at: str) -> float:
        if number < 0:
            raise self._error(at, f"must not be negative: {number:g}")
        return number

    def _number(self, value: object, at: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(at, f"must be a number, not {value!r}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._error(at, f"must be a finite number, not {number}")
        return number

    def _text(self, value: object, at: str) -> str:
        if not isinstance(value, str):
            raise self._error(at, f"must be text, not {value!r}")
        return value

    def _list(self, value: object, at: str) -> list[object]:
        if not isinstance(value, list):
            raise self._error(at, f"must be a list, not {type(value).__name__}")
        return value

    def _mapping(self, value: object, at: str, known: set[str]) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self._error(at, f"must be a mapping with {', '.join(sorted(known))}")
        for key in value:
            if key not in known:
                close = nearest(str(key), known)
                raise self._error(at, f"unknown key {key!r}", close or ", ".join(sorted(known)))
        return value

    def _error(self, at: str, problem: str, close: str | None = None) -> AmplificationError:
        sentence = f"{at}: {problem}" if at else problem
        return AmplificationError(sentence, where=self.where, hint=f"did you mean {close}?" if close else None)
