"""The mutation test of the truth machinery: how many lies about a finished experiment `nightlab audit` finds.

A practice night is run (or a finished demo lab taken, --lab). Then copies of it are spoiled, one lie each, seeded, all
classes in turn; and other copies are changed harmlessly. Every lie has to be found and no harmless change may raise an
alarm. Lies are looked for with --quick, without drawing figures again: less than a user's audit sees. Last, random
one-decimal numbers are typed into the report's prose: none may be accepted. And ten thousand rows are compiled, in at
most two seconds of CPU. Prints the table last; exit 1 where less than 99 % of a class is found, an alarm is raised, a
typed number passes, or the compiler is slower.

    python bench/truth.py [--lies N] [--clean N] [--typed N] [--lab DIR] [--seed N] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import yaml

from nightlab.audit.run import audit
from nightlab.evidence.lint import find_typed
from nightlab.evidence.reproduce import rebuild_into
from nightlab.experiments.cells import cells
from nightlab.experiments.freeze import freeze
from nightlab.experiments.plan import Plan
from nightlab.files import JsonLines
from nightlab.testing.copies import copied
from nightlab.testing.corruptions import CORRUPTIONS
from nightlab.testing.harmless import HARMLESS

EXPERIMENT = "exp_001_phase1_replication"
CAUGHT = 0.99
REPLICATES, COMPILE_SECONDS = 53, 2.0
FRAMES = (
    "{}",
    "The mean is {} here.",
    "({})",
    "**{}**",
    "`{}`",
    "~{}",
    "It was {}, as said.",
    "x={}",
    "about {} points",
)


def practice(folder: Path) -> Path:
    """A lab with a finished practice night."""
    from nightlab import founding
    from nightlab.morning.brief import write_brief
    from nightlab.night import Options, run_night

    made = founding.demo(folder / "lab")
    with founding.held(made.port), contextlib.redirect_stdout(io.StringIO()):
        run_night(made.lab, Options(brief=write_brief))
    return made.lab.root


def lies(lab: Path, place: Path, count: int, seed: int) -> dict[str, Any]:
    """Spoil copies, class by class in turn; told and found by class, and what was missed."""
    told, found, missed = Counter[str](), Counter[str](), []
    for number, name in enumerate(itertools.islice(itertools.cycle(CORRUPTIONS), count)):
        copy = copied(lab, place, EXPERIMENT)
        what = CORRUPTIONS[name](copy, Random(f"{seed}:{number}"))
        told[name] += 1
        if audit(copy.root, pictures=False).sound:
            missed.append(f"{name}: {what}")
        else:
            found[name] += 1
    return {"told": dict(told), "found": {name: found[name] for name in told}, "missed": missed}


def alarms(lab: Path, place: Path, count: int, seed: int) -> list[str]:
    """Change copies harmlessly; the alarms that were raised."""
    raised = []
    for number, name in enumerate(itertools.islice(itertools.cycle(HARMLESS), count)):
        copy, drawn = copied(lab, place, EXPERIMENT), number < len(HARMLESS)
        HARMLESS[name](copy, Random(f"{seed}:{number}"))
        raised += [f"{name}: {found}" for found in audit(copy.root, pictures=drawn).findings if found.level != "note"]
    return raised


def accepted(lab: Path, count: int, seed: int) -> list[str]:
    """Type random one-decimal numbers into the prose of the report's template; those that the linter lets pass."""
    random = Random(seed)
    text = (lab / "experiments" / EXPERIMENT / "report.md.j2").read_text("utf-8")
    lines = text.split("\n")
    places = [number for number, line in enumerate(lines) if line.startswith("#")]
    passed = []
    for _ in range(count):
        typed, frame, place = f"{random.uniform(0, 10):.1f}", random.choice(FRAMES), random.choice(places)
        changed = [*lines[: place + 1], "", frame.format(typed), *lines[place + 1 :]]
        if place + 3 not in {one.line for one in find_typed("\n".join(changed))}:
            passed.append(frame.format(typed))
    return passed


def compile_seconds(lab: Path, place: Path) -> tuple[int, float]:
    """Rows, and CPU seconds from rows to tables, claims and report (figures as csv): the best of three.

    The experiment is the practice night's, with so many replicates that it has ten thousand rows; their answers repeat.
    """
    source, folder = lab / "experiments" / EXPERIMENT, place / "experiments" / EXPERIMENT
    for name in ("rubric.md", "prompts", "conditions"):
        copy = shutil.copytree if (source / name).is_dir() else shutil.copy
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(source / name, folder / name)
    config = yaml.safe_load((source / "config.yaml").read_text("utf-8"))
    config["factors"]["replicates"] = REPLICATES
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    plan = Plan.load(folder)
    freeze(plan)
    answers = {(r["model"], r["condition"], r["prompt"]): r for r in JsonLines(source / "samples.jsonl").read()}
    scores = {row["key"]: row for row in JsonLines(source / "judgments.jsonl").read()}
    wanted = cells(plan)
    pairs = [(cell, answers[cell.model, cell.condition, cell.prompt]) for cell in wanted]
    own = [{**old, "key": cell.key, "replicate": cell.replicate, "seed": cell.seed} for cell, old in pairs]
    JsonLines(folder / "samples.jsonl").append_many(own)
    JsonLines(folder / "judgments.jsonl").append_many({**scores[old["key"]], "key": cell.key} for cell, old in pairs)
    took = []
    for number in range(3):
        started = time.process_time()
        rebuild_into(folder, place / f"made-{number}", pictures=False)
        took.append(time.process_time() - started)
    return len(wanted), round(min(took), 2)


def main() -> int:
    """Run all three and print what they say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, default in (("lies", 200), ("clean", 50), ("typed", 1000), ("seed", 20261125)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lab", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = asked.lab or practice(Path(folder))
        started = time.perf_counter()
        result = lies(lab, Path(folder) / "copy", asked.lies, asked.seed)
        result["alarms"] = alarms(lab, Path(folder) / "copy", asked.clean, asked.seed)
        result["accepted"] = accepted(lab, asked.typed, asked.seed)
        result["rows"], result["compile_seconds"] = compile_seconds(lab, Path(folder) / "large")
        result["seconds"] = round(time.perf_counter() - started, 1)
    result["typed"], result["clean"] = asked.typed, asked.clean
    short = [name for name, told in result["told"].items() if result["found"][name] < CAUGHT * told]
    if not asked.json:
        show(result)
    print(json.dumps(result, indent=2) if asked.json else verdict(result, short))
    slow = result["compile_seconds"] > COMPILE_SECONDS
    return 1 if short or slow or result["alarms"] or result["accepted"] else 0


def show(result: dict[str, Any]) -> None:
    """The table."""
    for line in [*(f"missed: {what}" for what in result["missed"]), *(f"alarm: {what}" for what in result["alarms"])]:
        print(line)
    print(f"{'lie':34}{'told':>6}{'found':>7}")
    for name, told in result["told"].items():
        print(f"{name:34}{told:>6}{result['found'][name]:>7}")


def verdict(result: dict[str, Any], short: list[str]) -> str:
    """The last line."""
    told, found = sum(result["told"].values()), sum(result["found"].values())
    said = f"{found} of {told} lies found, {len(result['alarms'])} alarms at {result['clean']} harmless changes, "
    said += f"{len(result['accepted'])} of {result['typed']} typed numbers accepted, {result['seconds']} s; "
    said += f"{result['rows']} rows compiled in {result['compile_seconds']} s of CPU"
    return said + (f"; below {CAUGHT:.0%}: {', '.join(short)}" if short else "")


if __name__ == "__main__":
    sys.exit(main())
