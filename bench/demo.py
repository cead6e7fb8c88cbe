"""How long the first run takes: the demo night, and the start of the command line.

    python bench/demo.py [--nights 3] [--json]

Bars: a night (after installation) at most 60 s on two otherwise idle cores; `nightlab --help` at most 0.2 s of CPU.
Prints medians last and exits 1 where one misses its bar. Every night is a fresh lab with a seed of its own; a night
whose peaks are not those that were planted, or that lost a row, exits 1 too.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nightlab import practice

NIGHT_SECONDS = 60.0
HELP_SECONDS = 0.2
HELPS = 7


def main() -> int:
    """Run the nights, print the figures, compare them with the bars."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--nights", type=int, default=3)
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        nights = [night(Path(place), seed) for seed in range(1, given.nights + 1)]
    figures: dict[str, Any] = {
        "night_s": round(statistics.median(one["seconds"] for one in nights), 1),
        "command_s": round(statistics.median(one["command"] for one in nights), 1),
        "whole": sum(one["samples"] == one["judgments"] == one["planned"] for one in nights),
        "truth_recovered": sum(one["recovered"] for one in nights),
        "nights": len(nights),
        "help_cpu_s": round(min(help_seconds() for _ in range(HELPS)), 3),
    }
    print(json.dumps(figures) if given.json else "\n".join(f"{name:>16} {value}" for name, value in figures.items()))
    good = figures["whole"] == figures["truth_recovered"] == len(nights)
    return 0 if good and figures["night_s"] <= NIGHT_SECONDS and figures["help_cpu_s"] <= HELP_SECONDS else 1


def night(place: Path, seed: int) -> dict[str, Any]:
    """One demo night in a fresh lab."""
    began = time.monotonic()
    lab = place / f"lab-{seed}"
    words = [sys.executable, "-m", "nightlab", "demo", str(lab), "--json", "--seed", str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told | {
        "command": time.monotonic() - began,
        "recovered": recovered(lab / "experiments" / told["experiment"]),
    }


def recovered(folder: Path) -> bool:
    """Whether the range with the largest mean sarcasm is the planted one, in each model that has one."""
    with (folder / "tables" / "means.csv").open(encoding="utf-8", newline="") as source:
        rows = [row for row in csv.DictReader(source) if row["dimension"] == "sarcasm"]
    for name, model in practice.truth()["models"].items():
        means = {r["condition"]: float(r["mean"]) for r in rows if r["model"] == name and "layers_" in r["condition"]}
        if model["peak"] != "diffuse" and max(means, key=lambda one: means[one]) != model["peak"]:
            return False
    return True


def help_seconds() -> float:
    """CPU seconds of `nightlab --help`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "nightlab", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
