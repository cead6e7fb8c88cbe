"""What tokens cost: a dated table in the package, which a lab overrides row by row.

A model that no row names costs as much as the dearest row, and the caller is told: never nothing. Limit: fees of
server-side tools (web search) are not counted; nightlab gives its agents none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nightlab.errors import ConfigError, nearest
from nightlab.files import read_yaml
from nightlab.lab import Lab
from nightlab.settings import NOTHING

SHIPPED = Path(__file__).with_name("prices.yaml")
MILLION = 1_000_000


@dataclass(frozen=True)
class Row:
    """US dollars per million tokens."""

    input: float
    output: float
    cache_read: float
    write_5m: float
    write_1h: float

    def cost(self, usage: Mapping[str, Any]) -> float:
        """US dollars of one `usage` record of the API, compaction and fallbacks aside."""
        made = usage.get("cache_creation") or {}
        hour = _count(made, "ephemeral_1h_input_tokens")
        written = _count(usage, "cache_creation_input_tokens")
        minutes = _count(made, "ephemeral_5m_input_tokens") if made else written - hour
        dollars = (
            _count(usage, "input_tokens") * self.input
            + _count(usage, "output_tokens") * self.output
            + _count(usage, "cache_read_input_tokens") * self.cache_read
            + minutes * self.write_5m
            + hour * self.write_1h
        )
        return dollars / MILLION

    def worst(self, constant: int, rest: int, output: int) -> float:
        """US dollars without a cached prompt: `constant` tokens are written for an hour, the rest for minutes."""
        prompt = constant * max(self.input, self.write_1h) + rest * max(self.input, self.write_5m)
        return (prompt + output * self.output) / MILLION


@dataclass(frozen=True)
class Prices:
    """The table: for each model its row, and the row for long prompts where it has one."""

    as_of: str
    batch: float
    us_only: float
    rows: Mapping[str, Row]
    long: Mapping[str, tuple[int, Row]]

    @classmethod
    def load(cls, override: Path | None = None) -> Prices:
        """The shipped table, with the rows and factors of a lab's file in place of its own. Raises ConfigError."""
        table = _read(SHIPPED)
        if override is not None:
            own = _read(override)
            table = {**table, **own, "models": {**table["models"], **own.get("models", {})}}
        models = {str(name): _row(name, row, override or SHIPPED) for name, row in table["models"].items()}
        return cls(
            str(table.get("as_of", "")),
            float(table["batch"]),
            float(table["us_only"]),
            {name: row for name, (row, _) in models.items()},
            {name: long for name, (_, long) in models.items() if long},
        )

    @classmethod
    def of_lab(cls, lab: Lab) -> Prices:
        """The table of a lab: the file that its setting `prices` names, else `prices.yaml` at its root, else ours."""
        named = "" if lab.config.prices == NOTHING else lab.config.prices
        own = lab.root / (named or "prices.yaml")
        if named and not own.is_file():
            raise ConfigError("no such file", where=own, hint="the setting `prices` names a price table")
        return cls.load(own if own.is_file() else None)

    def knows(self, model: str) -> bool:
        """Whether a row names this model, by its id or by the id without its date."""
        return _undated(model) in self.rows

    def row(self, model: str, prompt: int) -> Row:
        """The row for a prompt of so many tokens; the dearest one for a model that no row names."""
        name = _undated(model)
        if name not in self.rows:
            rows = [*self.rows.values(), *(row for _, row in self.long.values())]
            return max(rows, key=lambda row: (row.output, row.input))
        if name in self.long and prompt > self.long[name][0]:
            return self.long[name][1]
        return self.rows[name]

    def cost(self, model: str, usage: Mapping[str, Any], *, batch: bool = False) -> float:
        """US dollars of a `usage` record; from its iterations where it has some, as those alone hold everything."""
        parts = usage.get("iterations") or [usage]
        dollars = sum(self._part(str(part.get("model") or model), part) for part in parts)
        factor = self.us_only if usage.get("inference_geo") == "us" else 1.0
        return dollars * factor * (self.batch if batch else 1.0)

    def _part(self, model: str, usage: Mapping[str, Any]) -> float:
        names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        return self.row(model, sum(_count(usage, name) for name in names)).cost(usage)


def _count(usage: Mapping[str, Any], name: str) -> int:
    return int(usage.get(name) or 0)


def _undated(model: str) -> str:
    return re.sub(r"-20\d{6}$", "", model)


def _read(path: Path) -> dict[str, Any]:
    table = read_yaml(path, ConfigError)
    if not isinstance(table, dict) or not isinstance(table.get("models", {}), dict):
        raise ConfigError("no price table: it needs `models`, a row for each", where=path)
    for name in table:
        if name not in ("as_of", "batch", "us_only", "models"):
            raise ConfigError(f"unknown key {name!r}", where=path, hint="known: as_of, batch, us_only, models")
    for name in ("batch", "us_only"):
        if name in table:
            _price(table[name], name, path)
    return table


def _row(model: object, value: Any, path: Path) -> tuple[Row, tuple[int, Row] | None]:
    where = f"{path}: {model}"
    if not isinstance(value, dict):
        raise ConfigError("a row is a mapping of prices", where=where)
    long = value.get("long")
    plain = _plain({key: price for key, price in value.items() if key != "long"}, where)
    if long is None:
        return plain, None
    if not isinstance(long, dict) or not isinstance(long.get("above"), int):
        raise ConfigError("`long` needs `above`, a number of tokens", where=where)
    return plain, (long["above"], _plain({key: price for key, price in long.items() if key != "above"}, where))


def _plain(prices: dict[str, Any], where: str) -> Row:
    names = [field.name for field in fields(Row)]
    for name in prices:
        if name not in names:
            raise ConfigError(f"unknown price {name!r}", where=where, hint=f"did you mean {nearest(name, names)}?")
    if missing := [name for name in names if name not in prices]:
        raise ConfigError(f"prices are missing: {', '.join(missing)}", where=where)
    return Row(**{name: _price(prices[name], name, where) for name in names})


def _price(value: Any, name: str, where: Path | str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigError(f"{name} is {value!r}, not a number of at least 0", where=where)
    return float(value)
