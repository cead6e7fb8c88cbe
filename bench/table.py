"""The table at a million rows, and a report at ten thousand: joined, counted and averaged, with nothing lost.

Rows are in memory when the clock starts: the table is the join of a frozen plan's cells with as many samples and
judgments, every check included, and the counts and the means of a model by condition from it. Reading the lines into
columns and making the plan's cells are measured and printed beside it. Processor seconds, so that a busy machine does
not matter. Fails above 1 s for the table, or above 2 s for compiling the report of 10,000 rows from its analysis.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from nightlab.evidence.design import Design, read_design
from nightlab.evidence.rows import Rows, read_rows
from nightlab.evidence.table import SCORED, Table
from nightlab.experiments.cells import product
from nightlab.experiments.freeze import document
from nightlab.experiments.identity import ModelIdentity, Treatments
from nightlab.experiments.lock import write_lock
from nightlab.experiments.plan import Plan
from nightlab.files import JsonLines

TABLE_BAR, COMPILE_BAR = 1.0, 2.0
CONDITIONS = ("base", "low", "high", "full")
RUBRIC = """\
---
name: r
version: 1
dimensions:
  tone: {range: [0, 10], question: How, markers: [{pattern: a, points: 1}]}
---
"""
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """A result and the processor seconds it took."""
    begun = time.process_time()
    return work(), time.process_time() - begun


def experiment(folder: Path, rows: int, prompts: int) -> Path:
    """A frozen experiment of two models, four conditions and `rows` cells, answered and judged as a whole."""
    replicates = rows // (2 * len(CONDITIONS) * prompts)
    models = [{"name": name, "id": f"lab/{name}", "path": "."} for name in ("one", "two")]
    for name in CONDITIONS[1:]:
        part = {"layers": "all", "is_relative": True, "module_amplifications": [{"modules": "all", "weight": 1.0}]}
        adapter = {"organism_name": "persona", "layer_amplifications": [part]}
        write(folder / "conditions" / f"{name}.yaml", {"name": name, "adapters": [adapter]})
    for number in range(prompts):
        write(
            folder / "prompts" / f"p{number}.yaml", {"name": f"p{number}", "category": "c", "prompt_text": f"{number}"}
        )
    factors = {"models": models, "replicates": replicates}
    write(folder / "config.yaml", {"question": "How fast?", "factors": factors, "ranges": list(CONDITIONS[1:])})
    (folder / "rubric.md").write_text(RUBRIC)
    plan = Plan.load(folder)
    names = [condition.name for condition in plan.conditions]
    adapters = {model.name: {name: None if name == "base" else name for name in names} for model in plan.models}
    treated = Treatments({model.name: ModelIdentity(model.id, None, "f") for model in plan.models}, adapters)
    write_lock(folder, document(plan, treated))
    answer(folder, product(plan, treated))
    return folder


def answer(folder: Path, cells: Any) -> None:
    """One sample and one judgment for each cell."""
    fields = ("key", "model", "model_id", "condition", "prompt", "category", "replicate")
    samples = ({name: getattr(cell, name) for name in fields} | {"text": "a", "server": "s"} for cell in cells)
    JsonLines(folder / "samples.jsonl").append_many(samples, sync=False)
    judged = (
        {"key": cell.key, "judge": "j", "repeat": 0, "rubric": "r", "scores": {"tone": len(cell.condition) % 7}}
        for cell in cells
    )
    JsonLines(folder / "judgments.jsonl").append_many(judged, sync=False)


def write(path: Path, value: Any) -> None:
    """A YAML file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value))


def table_seconds(design: Design, rows: Rows, folder: Path, rounds: int) -> tuple[float, int]:
    """The median seconds of the table with its counts and means, and how many cells are scored."""
    found = []
    scored = 0
    for _ in range(rounds):
        begun = time.process_time()
        table = Table.from_experiment(folder, design, rows=rows)
        scored = table.count(SCORED, model="one") + table.count(SCORED, model="two")
        table.means("tone", [{"model": "one", "condition": name} for name in CONDITIONS])
        found.append(time.process_time() - begun)
    return sorted(found)[len(found) // 2], scored


def compile_seconds(folder: Path) -> float:
    """The seconds that a report of 10,000 rows takes from its analysis."""
    from nightlab.evidence.analyze import analyze
    from nightlab.evidence.report import compile_report

    analysis = analyze(folder, servers=[])
    return min(timed(lambda: compile_report(folder, analysis))[1] for _ in range(2))


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = experiment(Path(scratch) / "exp_001_large", asked.rows, 50)
        design, planning = timed(lambda: _ready(read_design(folder)))
        rows, reading = timed(lambda: read_rows(folder))
        seconds, scored = table_seconds(design, rows, folder, asked.rounds)
        del rows, design
        compiling = compile_seconds(experiment(Path(scratch) / "exp_002_small", 10_000, 50))
    found = {"rows": asked.rows, "scored": scored, "table": seconds, "compile_10000": compiling}
    found |= {"reading": reading, "planning": planning}
    print("\n".join(f"{name:14} {value:,.3f}" for name, value in found.items()))
    passed = scored == asked.rows and seconds <= TABLE_BAR and compiling <= COMPILE_BAR
    if asked.json:
        print(json.dumps({"passed": passed, **found}))
    return 0 if passed else 1


def _ready(design: Design) -> Design:
    """The plan's own columns and keys belong to the plan, not to the table."""
    assert len(design.keys.order) == len(design.cells)
    assert design.columns
    return design


if __name__ == "__main__":
    sys.exit(main())
