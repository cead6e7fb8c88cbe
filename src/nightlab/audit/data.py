"""The rows of an unfamiliar folder: every record of its YAML, JSON, JSON lines and CSV files, with file and line.

Nothing is assumed about names: a column is a factor where its values are words that come again, and a measure where
they are numbers. What cannot be read is counted and said.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

TEXT = ("text", "response", "output", "answer", "completion", "generation", "generated_text", "response_text")
ID = ("key", "id", "sample_id", "sample", "cell")
MODEL = ("model", "model_name", "llm")
LARGEST = 50_000_000
_SKIPPED_FOLDERS = {".git", ".venv", "node_modules", "__pycache__", ".ipynb_checkpoints"}
_LEVELS = 60


@dataclass(frozen=True)
class Row:
    """One record, nested keys joined by dots."""

    file: Path
    line: int
    values: dict[str, Any]

    @property
    def text(self) -> str | None:
        """The answer it holds, if it holds one."""
        return next((str(self.values[name] or "") for name in TEXT if name in self.values), None)

    def number(self, name: str) -> float | None:
        """A measure of it, or None."""
        return as_number(self.values.get(name))


def as_number(value: object) -> float | None:
    """A number, also from the text of a csv; None for everything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if found == found and abs(found) != float("inf") else None


@dataclass
class Data:
    """A folder's records, Markdown texts, code and pictures."""

    root: Path
    rows: list[Row] = field(default_factory=list)
    texts: dict[Path, list[str]] = field(default_factory=dict)
    code: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    unread: dict[Path, str] = field(default_factory=dict)

    @cached_property
    def files(self) -> dict[Path, list[Row]]:
        """Rows by file."""
        found: dict[Path, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.file, []).append(row)
        return found

    @cached_property
    def factors(self) -> dict[str, tuple[str, ...]]:
        """Columns whose values are words that come again, with their levels, in the order in which they occur."""
        values: dict[str, Counter[str]] = {}
        for row in self.rows:
            for name, value in row.values.items():
                if (
                    isinstance(value, str)
                    and as_number(value) is None
                    and 0 < len(value) <= 80
                    and name not in (*TEXT, *ID)
                ):
                    values.setdefault(name, Counter())[value] += 1
        few = {
            n: c for n, c in values.items() if len(c) <= _LEVELS and sum(c.values()) > len(c) and "\n" not in "".join(c)
        }
        return {name: tuple(counts) for name, counts in few.items()}

    @cached_property
    def model_factor(self) -> str | None:
        """The column that names models, where there is one with two levels at least."""
        return next((name for name in MODEL if len(self.factors.get(name, ())) > 1), None)

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """Columns that hold scores: numbers that are not counters, times or identities."""
        found = Counter(name for row in self.rows for name in row.values if row.number(name) is not None)
        plain = re.compile(
            r"(^|[._])(id|index|seed|replicate|repeat|position|tokens?|latency|time|t|n|count|port|attempt|v)$"
        )
        return tuple(
            name for name, count in found.items() if count >= 2 and not plain.search(name) and "token" not in name
        )

    @cached_property
    def samples(self) -> list[Row]:
        """Rows that hold an answer."""
        return [row for row in self.rows if row.text is not None]

    @cached_property
    def scored(self) -> list[Row]:
        """Rows that hold scores of single answers: not those of tables of aggregates."""
        return [row for row in self.rows if self.is_scored(row)]

    def is_scored(self, row: Row) -> bool:
        """Whether a row scores one answer."""
        return not self.is_aggregate(row) and any(name in row.values for name in self.measures)

    def is_aggregate(self, row: Row) -> bool:
        """Whether a row sums up others: it has a mean or an n."""
        return any(re.fullmatch(r"(.*[._])?(mean|avg|average|n|count|std|ci|low|high)", name) for name in row.values)


def read(root: Path) -> Data:
    """Everything below a folder that an audit can use."""
    data = Data(root)
    for path in sorted(root.rglob("*")):
        if not path.is_file() or _SKIPPED_FOLDERS & set(path.relative_to(root).parts):
            continue
        if path.stat().st_size > LARGEST:
            data.unread[path] = "larger than an audit reads"
        elif path.suffix.lower() in (".md", ".markdown", ".rst", ".txt"):
            data.texts[path] = path.read_text("utf-8", "replace").splitlines()
        elif path.suffix in (".py", ".ipynb"):
            data.code.append(path)
        elif path.suffix.lower() in (".png", ".pdf", ".svg", ".jpg", ".jpeg"):
            data.pictures.append(path)
        elif path.suffix in (".json", ".jsonl", ".csv", ".tsv", ".yaml", ".yml"):
            _take(data, path)
        else:
            data.others.append(path)
    return data


def _take(data: Data, path: Path) -> None:
    try:
        data.rows += list(_records(path))
    except (ValueError, KeyError, RecursionError) as problem:
        data.unread[path] = f"not readable as {path.suffix[1:]}: {problem}"


def _records(path: Path) -> Iterator[Row]:
    text = path.read_text("utf-8", "replace")
    if path.suffix in (".csv", ".tsv"):
        reader = csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ",")
        for values in reader:
            yield Row(path, reader.line_num, {str(name): value for name, value in values.items() if name})
    elif path.suffix == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and isinstance(value := json.loads(line), dict):
                yield Row(path, number, flat(value))
    else:
        yield from _tree(path, text, _parsed(path, text))


def _parsed(path: Path, text: str) -> Any:
    if path.suffix == ".json":
        return json.loads(text)
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise ValueError(" ".join(str(problem).split())) from problem


def _tree(path: Path, text: str, value: Any) -> Iterator[Row]:
    """The records of a tree: the dictionaries of its lists, else the tree itself."""
    lists = (
        [value]
        if isinstance(value, list)
        else [v for v in value.values() if isinstance(v, list)]
        if isinstance(value, dict)
        else []
    )
    found = [one for items in lists for one in items if isinstance(one, dict)]
    shared = {k: v for k, v in value.items() if not isinstance(v, list | dict)} if isinstance(value, dict) else {}
    if found:
        at = 0
        for one in found:
            at = _line_of(text, one, at)
            yield Row(path, text.count("\n", 0, at) + 1, {**shared, **flat(one)})
    elif isinstance(value, dict):
        yield Row(path, 1, flat(value))


def _line_of(text: str, record: dict[str, Any], start: int) -> int:
    """Where a record begins in its file, as well as can be told: at the first of its texts."""
    first = next((str(v) for v in record.values() if isinstance(v, str) and v), "")
    found = text.find(first[:40], start + 1) if first else -1
    return found if found >= 0 else start


def flat(value: dict[str, Any], before: str = "", depth: int = 0) -> dict[str, Any]:
    """A nested dictionary with joined keys; lists are left out."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        if isinstance(inner, dict) and depth < 3:
            found |= flat(inner, f"{before}{name}.", depth + 1)
        elif not isinstance(inner, list):
            found[f"{before}{name}"] = inner
    return found
