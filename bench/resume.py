"""A sweep that is killed at half of its cells and started again; and a million cells opened.

10,000 cells at 0 ms, kill -9 when half of the lines are on the disk, start again: no cell is lost, none stands twice,
none is asked twice beyond those in flight, and the first new request reaches the server within 0.5 s of the sweep's
start (the plan is not read yet, the lines there are not either). Beside it stands the time from the start of the
process, with Python and every import. Both are read from one clock: the sweep says when it began, the server when it
was asked. Then an experiment of 1,000,000 cells with 900,000 lines is opened. Prints its figures last; exit 1 where a
bar is missed.

    python bench/resume.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # it runs by itself: `bench` is beside it

from bench.local import make_plan, serving

from nightlab.experiments.cells import cells
from nightlab.experiments.samples import Samples

IN_FLIGHT = 64
FIRST, OPENING = 0.5, 5.0
ONE = Path(__file__).with_name("one_sweep.py")
ROW = '{"key":"%s","model":"m","condition":"base","prompt":"p","text":"' + "A plain answer. " * 40 + '","attempt":1}\n'


def killed_and_resumed(count: int) -> dict[str, float]:
    """Kill a sweep at half of its cells, and let it go on."""
    with tempfile.TemporaryDirectory() as place, serving() as server:
        plan = make_plan(Path(place) / "exp_001_bench", count)
        samples = plan.folder / "samples.jsonl"
        words = [sys.executable, str(ONE), str(plan.folder), server.url, str(IN_FLIGHT)]
        first = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        while not samples.exists() or samples.read_bytes().count(b"\n") < count // 2:
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        first.wait()
        written = len(Samples(plan.folder).keys())
        before = server.seen()["asked"]
        server.stop()
        server.start()
        start = time.time()
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        seen = server.seen()
        again = {seed for seed in seen["asked"] if seed in before}
        keys = [row["key"] for row in Samples(plan.folder).rows()]
        told = json.loads(done.stdout)
        return {
            "cells": count,
            "written_before": written,
            "lost": count - len(set(keys)),
            "twice": len(keys) - len(set(keys)),
            "asked_again": len(again),
            "first_request_after_process_start_s": round(seen["times"][0] - start, 3),
            "first_request_after_sweep_start_s": round(seen["times"][0] - told["began"], 3),
            "rest_s": round(told["seconds"], 3),
        }


def opened(count: int) -> dict[str, float]:
    """The seconds until the missing cells of a large experiment are known."""
    with tempfile.TemporaryDirectory() as place:
        plan = make_plan(Path(place) / "exp_001_bench", count)
        planned = cells(plan)
        with (plan.folder / "samples.jsonl").open("w") as out:
            for number, key in enumerate(planned.keys()):
                if number % 10:
                    out.write(ROW % key)
        size = (plan.folder / "samples.jsonl").stat().st_size
        start = time.perf_counter()
        missing = Samples(plan.folder).missing(cells(plan))
        seconds = time.perf_counter() - start
        return {"cells": count, "missing": len(missing), "mb": round(size / 1e6), "seconds": round(seconds, 2)}


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="2,000 cells, and 100,000 to open")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    resumed = killed_and_resumed(2000 if options.quick else 10_000)
    large = opened(100_000 if options.quick else 1_000_000)
    figures = {"resumed": resumed, "opened": large}
    if options.json:
        print(json.dumps(figures))
    else:
        for name, values in figures.items():
            print(f"{name}: " + "  ".join(f"{key} {value:g}" for key, value in values.items()))
    fine = resumed["lost"] == resumed["twice"] == 0 and resumed["asked_again"] <= IN_FLIGHT
    return 0 if fine and resumed["first_request_after_sweep_start_s"] <= FIRST and large["seconds"] <= OPENING else 1


if __name__ == "__main__":
    sys.exit(main())
