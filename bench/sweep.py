"""The sweep runner against a bare loop over the same HTTP client and against peers: same server, same run.

63, 1,000, 10,000 and 100,000 cells at 0 ms, and 1,000 and 10,000 at 50 ms, 64 in flight; the runner and the bare loop
in turns, each as a process of its own. Peers (bench/peers.sh) at the sizes that they can bear. Figures: cells a second,
CPU seconds for 1,000 cells, peak memory, bytes on disk for a cell. Prints its figures last; exit 1 where a bar is
missed: 0.7 of the bare loop, 60 x inspect_ai and 8 x lm-eval at 0 ms and 10,000; 0.9 of what the concurrency allows at
50 ms; 50 MB of growth from 1,000 to 100,000 cells. Ratios to the bare loop are of CPU time where the machine is loaded
(`--cpu`): wall time then measures the neighbours.

    python bench/sweep.py [--quick] [--cpu] [--no-peers] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # it runs by itself: `bench` is beside it

from bench.local import make_plan, measured, serving
from bench.peer_runs import peers, prepare, stored

IN_FLIGHT = 64
SLOW = 0.05
LEAST_OF_BARE, LEAST_OF_ALLOWED, MOST_GROWTH = 0.7, 0.9, 50.0
LEAST_OF_PEER = {"inspect_ai": 60.0, "lm_eval": 8.0}
MOST_OF_PEER = {"inspect_ai": 10_000, "lm_eval": 10_000, "promptfoo": 1000, "script": 1000}
ONE = Path(__file__).with_name("one_sweep.py")

Figures = dict[str, float]


def ours(url: str, count: int, *, bare: bool) -> Figures:
    """One sweep, or the bare loop over its cells, in a folder and a process of its own."""
    place = Path(tempfile.mkdtemp(prefix="nightlab-bench-"))
    try:
        folder = make_plan(place / "exp_001_bench", count).folder
        words = [sys.executable, ONE, folder, url, IN_FLIGHT, *(["bare"] if bare else [])]
        done = measured([str(word) for word in words])
        if done.code:
            raise SystemExit(f"the sweep failed: {done.said}")
        told = json.loads(done.said.splitlines()[-1])
        size = (folder / ("bare.jsonl" if bare else "samples.jsonl")).stat().st_size
        return {
            "cells_per_s": count / told["seconds"],
            "cpu_per_1000": told["cpu"] / count * 1000,
            "rss_mb": done.rss_mb,
            "bytes_per_cell": size / count,
            "wall_s": done.wall,
        }
    finally:
        shutil.rmtree(place)


def peer(name: str, url: str, count: int) -> Figures | None:
    """One run of a peer; None where it failed, which is said."""
    place = Path(tempfile.mkdtemp(prefix="nightlab-bench-"))
    try:
        run = prepare(name, url, count, place / name)
        before = stored(place)
        done = measured(run.words, run.env, place)
        if done.code:
            print(f"{name} failed with {count} cells: {done.said[-300:]}", file=sys.stderr)
            return None
        return {
            "cells_per_s": count / done.wall,
            "cpu_per_1000": done.cpu / count * 1000,
            "rss_mb": done.rss_mb,
            "bytes_per_cell": (stored(place) - before) / count,
            "wall_s": done.wall,
        }
    finally:
        shutil.rmtree(place, ignore_errors=True)


def medians(rounds: list[Figures]) -> Figures:
    """The median of each figure."""
    return {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]}


def paired(url: str, count: int, rounds: int) -> dict[str, Figures]:
    """The runner and the bare loop in turns, and their ratios."""
    pairs = [(ours(url, count, bare=True), ours(url, count, bare=False)) for _ in range(rounds)]
    wall = statistics.median(one["cells_per_s"] / bare["cells_per_s"] for bare, one in pairs)
    cpu = statistics.median(bare["cpu_per_1000"] / one["cpu_per_1000"] for bare, one in pairs)
    ratio = {"wall": round(wall, 3), "cpu": round(cpu, 3)}
    return {"bare": medians([b for b, _ in pairs]), "nightlab": medians([one for _, one in pairs]), "ratio": ratio}


def measure(options: argparse.Namespace) -> dict[str, dict[str, Figures]]:
    """Everything, by latency and size."""
    found: dict[str, dict[str, Figures]] = {}
    sizes = (63, 1000, 10_000) if options.quick else (63, 1000, 10_000, 100_000)
    asked = [] if options.no_peers else peers()
    with serving() as server:
        for count in sizes:
            rounds = 1 if count > 10_000 else options.rounds
            row = found[f"0 ms, {count}"] = paired(server.url, count, rounds)
            most = 1000 if options.quick else 10_000
            for name in asked:
                if count <= min(most, MOST_OF_PEER[name]) and (figures := peer(name, server.url, count)):
                    row[name] = {key: round(value, 3) for key, value in figures.items()}
    with serving(SLOW) as server:
        for count in (1000, 10_000):
            row = found[f"50 ms, {count}"] = paired(server.url, count, options.rounds)
            row["ratio"]["allowed"] = round(row["nightlab"]["cells_per_s"] / (IN_FLIGHT / SLOW), 3)
    return found


def misses(found: dict[str, dict[str, Figures]], *, cpu: bool) -> list[str]:
    """The bars that were missed."""
    main = found["0 ms, 10000"]
    ratio = main["ratio"]["cpu" if cpu else "wall"]
    said = [f"{ratio} of the bare loop"] if ratio < LEAST_OF_BARE else []
    if (allowed := found["50 ms, 10000"]["ratio"]["allowed"]) < LEAST_OF_ALLOWED:
        said.append(f"{allowed} of what the concurrency allows at 50 ms")
    for name, least in LEAST_OF_PEER.items():
        if name in main and (times := main["nightlab"]["cells_per_s"] / main[name]["cells_per_s"]) < least:
            said.append(f"{times:.1f} times {name}, asked {least:g}")
    if "0 ms, 100000" in found:
        growth = found["0 ms, 100000"]["nightlab"]["rss_mb"] - found["0 ms, 1000"]["nightlab"]["rss_mb"]
        if growth > MOST_GROWTH:
            said.append(f"memory grew by {growth:.0f} MB from 1,000 to 100,000 cells")
    return said


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="without 100,000 cells, peers at 1,000 at most")
    parser.add_argument("--cpu", action="store_true", help="judge the ratio to the bare loop by CPU time")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options)
    missed = misses(found, cpu=options.cpu)
    if options.json:
        print(json.dumps({"figures": found, "missed": missed}))
    else:
        for size, row in found.items():
            for name, figures in row.items():
                print(f"{size:>14}  {name:<11} " + "  ".join(f"{key} {value:g}" for key, value in figures.items()))
        print("\n".join(f"missed: {text}" for text in missed) or "every bar is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
