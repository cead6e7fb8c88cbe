"""An existing folder of samples and judgments as an experiment, with its rows conserved.

The plan is made from the rows: models, conditions and prompts as they occur, replicates as many as the fullest group
has. A condition is a name alone: which weights were behind it nobody can prove here, so no canary speaks for these
rows, and nothing confirmatory follows from them. Rows in = samples + judgments + unfit rows (unfit.jsonl, with reasons)
+ links to rows; anything else is a ConservationError. A column that means nothing here stays in its row's `origin`.
Nothing is ever overwritten.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from nightlab.errors import ConservationError, UsageError, nearest
from nightlab.experiments.cells import product
from nightlab.experiments.columns import numbers_beside
from nightlab.experiments.foreign import Foreign, not_read, read_folder
from nightlab.experiments.freeze import document
from nightlab.experiments.identity import ModelIdentity, Treatments
from nightlab.experiments.imported import Imported
from nightlab.experiments.lock import write_lock
from nightlab.experiments.plan import BASE, Plan
from nightlab.experiments.taken_scores import Ranges, fault_of, judgments_of, ranges_of, rubric_of, slug
from nightlab.files import JsonLines, now, sha256_json

NAME = re.compile(r"exp_\d{3,}_[a-z0-9_]+")
SERVER = "imported"


def import_folder(source: Path, experiments: Path, name: str, scores: Sequence[str] = ()) -> Imported:
    """Make the experiment `name` from the rows below `source`; `scores` are columns of scores that do not say so.

    Raises UsageError, ConservationError.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of an experiment", hint="exp_NNN_slug, for example exp_007_old_runs")
    target = experiments / name
    if target.exists():
        raise UsageError(f"{name} exists already", where=target, hint="choose another number; nothing is overwritten")
    if not source.is_dir():
        what = "not a folder, but a file" if source.exists() else "no such folder"
        raise UsageError(what, where=source, hint="name the folder that holds the rows")
    rows = list(read_folder(source, scores))
    _check_named(rows, scores, source)
    if not any(row.fit == "sample" for row in rows):
        why = Counter(row.why for row in rows if row.why).most_common(1)
        raise UsageError(
            "no sample in this folder", where=source, hint=why[0][0] if why else "JSONL, CSV or by_prompt/"
        )
    experiments.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".import-", dir=experiments))
    try:
        made = _Import(rows, scratch / name, source.resolve().name).write()
        if not made.conserved:
            raise ConservationError(made.sentence().replace("=", "is not"), where=source)
        (scratch / name).rename(target)
    finally:
        shutil.rmtree(scratch)
    return replace(made, folder=target, not_read=not_read(source))


def _check_named(rows: Sequence[Foreign], scores: Sequence[str], source: Path) -> None:
    """Raises UsageError for a column of scores that no row has."""
    columns = {column for row in rows for column in row.row}
    for name in scores:
        if name not in columns:
            close = nearest(name, columns)
            hint = f"did you mean {close}?" if close else "name columns as they stand in the rows"
            raise UsageError(f"no row has a column {name!r}", where=source, hint=hint)


class _Import:
    def __init__(self, rows: Sequence[Foreign], folder: Path, origin: str) -> None:
        self._ranges = ranges_of(rows)
        self._rows = [_as_it_stands(row) if _odd(row, self._ranges) else row for row in rows]
        self._folder, self._origin = folder, origin
        self._unfit: list[dict[str, Any]] = []
        self._keys: dict[str, set[str]] = {}
        """Cells by foreign id: more than one where samples share it."""
        self._scored: list[tuple[str, Foreign]] = []
        """Samples that carry scores, with their cells."""
        self._judged = 0
        self._models, self._conditions, self._prompts = _Named(), _Named([BASE]), _Named()

    def write(self) -> Imported:
        samples = [row for row in self._rows if row.fit == "sample"]
        self._folder.mkdir()
        placed = [(self._place(row), row) for row in samples]
        plan = self._plan(placed)
        count = self._write_samples(plan, placed)
        scored = self._write_judgments()
        for row in self._rows:
            if row.fit == "unfit":
                self._refuse(row, row.why)
        JsonLines(self._folder / "unfit.jsonl").append_many(self._unfit)
        taken = [row for row in self._rows if row.fit in ("sample", "judgment")]
        unfit = Counter(str(row["why"]) for row in self._unfit)
        nameless = {what: sum(not _said(row.parts, what, "") for row in samples) for what in ("model", "condition")}
        return Imported(
            self._folder,
            len(self._rows),
            count,
            self._judged,
            len(self._unfit),
            sum(row.fit == "link" for row in self._rows),
            dict(unfit),
            scored,
            tuple(self._ranges),
            dict(Counter(column for row in taken for column in row.rest)),
            tuple(numbers_beside(row.rest for row in samples)),
            {what: missing for what, missing in nameless.items() if missing},
        )

    def _refuse(self, row: Foreign, why: str) -> None:
        self._unfit.append({"from": row.where, "why": why, "row": dict(row.row)})

    def _place(self, row: Foreign) -> tuple[str, str, str]:
        """Model, condition and prompt of a sample by our names."""
        parts = row.parts
        content = json.dumps(parts["asked"], ensure_ascii=False)
        prompt = self._prompts.of(content, str(parts.get("prompt") or parts["asked"][-1]["content"])[:40], "prompt")
        whole = _said(parts, "model", "unknown")
        model = self._models.of(whole, whole.rsplit("/", 1)[-1], "model")
        condition = _said(parts, "condition", BASE)
        return model, self._conditions.of(condition, condition, "condition"), prompt

    def _plan(self, placed: Sequence[tuple[tuple[str, str, str], Foreign]]) -> Plan:
        groups = Counter(place for place, _ in placed)
        for folder in ("prompts", "conditions"):
            (self._folder / folder).mkdir()
        categories = {place[2]: str(row.parts.get("category") or "imported") for place, row in placed}
        for content, name in self._prompts.by_content.items():
            prompt = {"name": name, "category": categories[name], "messages": json.loads(content)}
            _dump(self._folder / "prompts" / f"{name}.yaml", prompt)
        for name in self._conditions.by_content.values():
            if name != BASE:
                _dump(self._folder / "conditions" / f"{name}.yaml", {"name": name, "adapters": []})
        config = {
            "question": f"Imported from {self._origin}: what do these answers show?",
            "kind": "sample",
            "factors": {
                "models": [{"name": name, "id": whole} for whole, name in self._models.by_content.items()],
                "include_base": BASE in self._conditions.by_content.values(),
                "replicates": max(groups.values()),
            },
            "judge": {"rubric": "rubric.md", "by": "openai"},
        }
        _dump(self._folder / "config.yaml", config)
        (self._folder / "rubric.md").write_text(rubric_of(self._ranges), "utf-8")
        plan = Plan.load(self._folder)
        identities = {model.name: ModelIdentity(model.id, None, None) for model in plan.models}
        treated = Treatments(identities, {m: dict.fromkeys(c.name for c in plan.conditions) for m in identities})
        write_lock(self._folder, {**document(plan, treated), "imported": {"from": self._origin, "at": now()}})
        self._cells = {(c.model, c.condition, c.prompt, c.replicate): c for c in product(plan, treated)}
        return plan

    def _write_samples(self, plan: Plan, placed: Sequence[tuple[tuple[str, str, str], Foreign]]) -> int:
        counts: Counter[tuple[str, str, str]] = Counter()
        written = []
        for place, row in placed:
            cell = self._cells[(*place, counts[place])]
            counts[place] += 1
            if "id" in row.parts:
                self._keys.setdefault(str(row.parts["id"]), set()).add(cell.key)
            if "scores" in row.parts:
                self._scored.append((cell.key, row))
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
                        **({"rest": dict(row.rest)} if row.rest else {}),
                    },
                }
            )
        JsonLines(self._folder / "samples.jsonl").append_many(written)
        return len(written)

    def _write_judgments(self) -> int:
        """Write the judgments of rows of their own and of samples with scores; how many the latter are."""
        from nightlab.experiments.rubric import Rubric

        own: list[tuple[str, Foreign]] = []
        for row in (row for row in self._rows if row.fit == "judgment"):
            keys = self._keys.get(str(row.parts["id"]), set())
            if why := _unplaced(keys) or fault_of(row, self._ranges):
                self._refuse(row, why)
            else:
                own += [(key, row) for key in keys]
        rubric = Rubric.load(self._folder / "rubric.md").sha
        written = judgments_of([*self._scored, *own], self._ranges, rubric)
        JsonLines(self._folder / "judgments.jsonl").append_many(written)
        self._judged = len(written)
        return len(self._scored)


class _Named:
    """Names of ours for foreign ones: two that differ stay two, also where our letters would make them one.

    A `kept` name means something here: only content that is this very word has it.
    """

    def __init__(self, kept: Collection[str] = ()) -> None:
        self.by_content: dict[str, str] = {}
        self._kept, self._taken = kept, set(kept)

    def of(self, content: str, wanted: str, fallback: str) -> str:
        """The name for some content."""
        if content in self._kept:
            self.by_content[content] = content
        elif content not in self.by_content:
            name = slug(wanted, fallback)
            numbered = (f"{name}-{number}" for number in itertools.count(2))
            own = next(one for one in itertools.chain([name], numbered) if one not in self._taken)
            self._taken.add(own)
            self.by_content[content] = own
        return self.by_content[content]


def _said(parts: Mapping[str, Any], what: str, otherwise: str) -> str:
    """What a row says of something, a zero too; `otherwise` where it says nothing."""
    given = parts.get(what)
    return otherwise if given in (None, "") else str(given)


def _odd(row: Foreign, ranges: Ranges) -> bool:
    """Whether a sample carries scores of which no judgment can be made."""
    return row.fit == "sample" and "scores" in row.parts and bool(fault_of(row, ranges))


def _as_it_stands(row: Foreign) -> Foreign:
    """A sample whose scores are kept beside it."""
    parts = {name: value for name, value in row.parts.items() if name != "scores"}
    return replace(row, parts=parts, rest={**row.rest, "scores": row.parts["scores"]})


def _unplaced(keys: Collection[str]) -> str:
    if not keys:
        return "scores of a sample that is not in the folder"
    return "" if len(keys) == 1 else "scores of an id that several samples have"


def _plain(row: Foreign) -> bool:
    try:
        sha256_json(dict(row.row))
    except (TypeError, ValueError):
        return False
    return True


def _dump(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True), "utf-8")
