"""An existing folder of samples and judgments as an experiment, with its rows conserved.

The plan is made from the rows: models, conditions and prompts as they occur, replicates as many as the fullest group
has. A condition is a name alone: which weights were behind it nobody can prove here, so no canary speaks for these
rows, and nothing confirmatory follows from them. Rows in = samples + judgments + unfit rows (unfit.jsonl, with reasons)
+ links to rows; anything else is a ConservationError. Nothing is ever overwritten.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nightlab.errors import ConservationError, UsageError
from nightlab.experiments.cells import product
from nightlab.experiments.foreign import Foreign, read_folder
from nightlab.experiments.freeze import document
from nightlab.experiments.identity import ModelIdentity, Treatments
from nightlab.experiments.lock import write_lock
from nightlab.experiments.plan import BASE, Plan
from nightlab.files import JsonLines, now, sha256_json

NAME = re.compile(r"exp_\d{3,}_[a-z0-9_]+")
SERVER = "imported"


@dataclass(frozen=True)
class Imported:
    """What became of the rows of a folder."""

    folder: Path
    read: int
    samples: int
    judgments: int
    unfit: int
    links: int
    reasons: Mapping[str, int]

    def sentence(self) -> str:
        """The rows, conserved, in one line."""
        return (
            f"{self.read} rows read = {self.samples} samples + {self.judgments} judgments + {self.unfit} unfit"
            f" + {self.links} links to rows"
        )


def import_folder(source: Path, experiments: Path, name: str) -> Imported:
    """Make the experiment `name` from the rows below `source`. Raises UsageError, ConservationError."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of an experiment", hint="exp_NNN_slug, for example exp_007_old_runs")
    target = experiments / name
    if target.exists():
        raise UsageError(f"{name} exists already", where=target, hint="choose another number; nothing is overwritten")
    if not source.is_dir():
        what = "not a folder, but a file" if source.exists() else "no such folder"
        raise UsageError(what, where=source, hint="name the folder that holds the rows")
    rows = list(read_folder(source))
    if not any(row.fit == "sample" for row in rows):
        why = Counter(row.why for row in rows if row.why).most_common(1)
        raise UsageError(
            "no sample in this folder", where=source, hint=why[0][0] if why else "JSONL, CSV or by_prompt/"
        )
    experiments.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".import-", dir=experiments))
    try:
        made = _Import(rows, scratch / name, source.resolve().name).write()
        (scratch / name).rename(target)
    finally:
        shutil.rmtree(scratch)
    if made.read != made.samples + made.judgments + made.unfit + made.links:
        raise ConservationError(made.sentence().replace("=", "is not"), where=target)
    return Imported(target, made.read, made.samples, made.judgments, made.unfit, made.links, made.reasons)


class _Import:
    def __init__(self, rows: Sequence[Foreign], folder: Path, origin: str) -> None:
        self._rows, self._folder, self._origin = rows, folder, origin
        self._unfit: list[dict[str, Any]] = []
        self._keys: dict[str, str] = {}
        self._prompts: dict[str, str] = {}
        """Name by content."""

    def write(self) -> Imported:
        samples = [row for row in self._rows if row.fit == "sample"]
        self._folder.mkdir()
        placed = [(self._place(row), row) for row in samples]
        plan = self._plan(placed)
        count = self._write_samples(plan, placed)
        judged = self._write_judgments()
        for row in self._rows:
            if row.fit == "unfit":
                self._refuse(row, row.why)
        JsonLines(self._folder / "unfit.jsonl").append_many(self._unfit)
        links = sum(row.fit == "link" for row in self._rows)
        reasons = Counter(str(row["why"]) for row in self._unfit)
        return Imported(self._folder, len(self._rows), count, judged, len(self._unfit), links, dict(reasons))

    def _refuse(self, row: Foreign, why: str) -> None:
        self._unfit.append({"from": row.where, "why": why, "row": json.loads(json.dumps(row.row, default=str))})

    def _place(self, row: Foreign) -> tuple[str, str, str]:
        """Model, condition and prompt of a sample by our names."""
        parts = row.parts
        content = json.dumps(parts["asked"], ensure_ascii=False)
        if content not in self._prompts:
            wanted = _slug(str(parts.get("prompt") or parts["asked"][-1]["content"])[:40], "prompt")
            taken = set(self._prompts.values())
            self._prompts[content] = next(
                n for n in (wanted, *(f"{wanted}-{i}" for i in range(2, 10**6))) if n not in taken
            )
        model = _slug(str(parts.get("model") or "unknown").rsplit("/", 1)[-1], "model")
        return model, _slug(str(parts.get("condition") or BASE), BASE), self._prompts[content]

    def _plan(self, placed: Sequence[tuple[tuple[str, str, str], Foreign]]) -> Plan:
        groups = Counter(place for place, _ in placed)
        models = list(dict.fromkeys(model for model, _, _ in groups))
        conditions = list(dict.fromkeys(condition for _, condition, _ in groups))
        for folder in ("prompts", "conditions"):
            (self._folder / folder).mkdir()
        categories = {place[2]: str(row.parts.get("category") or "imported") for place, row in placed}
        for content, name in self._prompts.items():
            prompt = {"name": name, "category": categories[name], "messages": json.loads(content)}
            _dump(self._folder / "prompts" / f"{name}.yaml", prompt)
        for name in conditions:
            if name != BASE:
                _dump(self._folder / "conditions" / f"{name}.yaml", {"name": name, "adapters": []})
        full = {str(row.parts.get("model")): place[0] for place, row in placed}
        ids = {short: whole for whole, short in full.items()}
        config = {
            "question": f"Imported from {self._origin}: what do these answers show?",
            "kind": "sample",
            "factors": {
                "models": [{"name": name, "id": ids.get(name, name)} for name in models],
                "include_base": BASE in conditions,
                "replicates": max(groups.values()),
            },
            "judge": {"rubric": "rubric.md", "by": "openai"},
        }
        _dump(self._folder / "config.yaml", config)
        (self._folder / "rubric.md").write_text(self._rubric(), "utf-8")
        plan = Plan.load(self._folder)
        identities = {model.name: ModelIdentity(model.id, None, None) for model in plan.models}
        treated = Treatments(identities, {m: dict.fromkeys(c.name for c in plan.conditions) for m in identities})
        write_lock(self._folder, {**document(plan, treated), "imported": {"from": self._origin, "at": now()}})
        self._cells = {(c.model, c.condition, c.prompt, c.replicate): c for c in product(plan, treated)}
        return plan

    def _rubric(self) -> str:
        """A rubric with the dimensions and the ranges that the foreign judgments used."""
        ranges: dict[str, tuple[float, float]] = {}
        for row in self._rows:
            scores = row.parts.get("scores") if row.fit == "judgment" else None
            for name, value in (scores or {}).items():
                if isinstance(value, int | float):
                    low, high = ranges.get(_slug(str(name), "score"), (0.0, 10.0))
                    ranges[_slug(str(name), "score")] = (min(low, value), max(high, value))
        dimensions = {
            name: {"range": [low, high], "question": f"How much {name}?", "anchors": {low: "None.", high: "All."}}
            for name, (low, high) in (ranges or {"score": (0.0, 10.0)}).items()
        }
        front = yaml.safe_dump({"name": "imported", "version": 1, "dimensions": dimensions}, sort_keys=False)
        return f"---\n{front}---\nThe scores were imported; by which words they were asked for is not known.\n"

    def _write_samples(self, plan: Plan, placed: Sequence[tuple[tuple[str, str, str], Foreign]]) -> int:
        counts: Counter[tuple[str, str, str]] = Counter()
        written = []
        for place, row in placed:
            cell = self._cells[(*place, counts[place])]
            counts[place] += 1
            if "id" in row.parts:
                self._keys.setdefault(str(row.parts["id"]), cell.key)
            parts = row.parts
            plain = {name: parts.get(name) for name in ("finish_reason", "prompt_tokens", "completion_tokens")}
            written.append(
                {
                    "key": cell.key,
                    "model": cell.model,
                    "model_id": cell.model_id,
                    "condition": cell.condition,
                    "prompt": cell.prompt,
                    "category": cell.category,
                    "replicate": cell.replicate,
                    "seed": parts.get("seed"),
                    "messages": parts["asked"],
                    "text": parts["text"],
                    **plain,
                    "server": SERVER,
                    "t": str(parts.get("t") or parts.get("timestamp") or now()),
                    "attempt": 1,
                    "origin": {
                        "imported": True,
                        "from": row.where,
                        "sha256": sha256_json(dict(row.row)) if _plain(row) else None,
                    },
                }
            )
        JsonLines(self._folder / "samples.jsonl").append_many(written)
        return len(written)

    def _write_judgments(self) -> int:
        from nightlab.experiments.rubric import Rubric

        rubric = Rubric.load(self._folder / "rubric.md").sha
        seen: Counter[tuple[str, str]] = Counter()
        written = []
        for row in (row for row in self._rows if row.fit == "judgment"):
            key = self._keys.get(str(row.parts["id"]))
            if key is None:
                self._refuse(row, "scores of a sample that is not in the folder")
                continue
            judge = _slug(str(row.parts.get("judge") or "imported"), "judge")
            scores = {_slug(str(name), "score"): _score(value) for name, value in row.parts["scores"].items()}
            written.append(
                {
                    "key": key,
                    "judge": judge,
                    "repeat": seen[key, judge],
                    "scores": scores,
                    "notes": {},
                    "rubric": rubric,
                    "packet": None,
                    "position": None,
                    "t": now(),
                    "origin": {"imported": True, "from": row.where},
                }
            )
            seen[key, judge] += 1
        JsonLines(self._folder / "judgments.jsonl").append_many(written)
        return len(written)


def _score(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _plain(row: Foreign) -> bool:
    try:
        sha256_json(dict(row.row))
    except (TypeError, ValueError):
        return False
    return True


def _slug(text: str, fallback: str) -> str:
    found = re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-.+_")[:60]
    return found or fallback


def _dump(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True), "utf-8")
