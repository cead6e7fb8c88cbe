"""A sweep that is killed at half of its cells and started again, beside peers; and a million cells opened.

10,000 cells at 0 ms, kill -9 when the server was asked half of them, start again. Of nightlab no cell is lost, none
stands twice, none is asked twice beyond those in flight, and the first new request reaches the server within 0.5 s of
the sweep's start (the plan is not read yet, the lines there are not either). Beside it stands the time from the start
of the process, with Python and every import. All is read from one clock: the sweep says when it began, the server when
it was asked. The bare loop over the same HTTP client and the peers (bench/peers.sh) are killed and started again the
same way, with whatever they have to go on: eval_set of inspect_ai, --use_cache of lm-eval, --resume of promptfoo; the
script has nothing. Then an experiment of 1,000,000 cells with 900,000 lines is opened, in seconds of the processor.
Prints its figures last; exit 1 where a bar is missed.

    python bench/resume.py [--quick] [--no-peers] [--peer-cells N] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # it runs by itself: `bench` is beside it

from bench.local import Server, make_plan, serving
from bench.peer_runs import PeerRun, kept, peers, prepare_resumable

from nightlab.experiments.cells import cells
from nightlab.experiments.samples import Samples

IN_FLIGHT = 64
FIRST, OPENING = 0.5, 5.0
LONGEST = 900.0  # seconds of one life of one peer
ONE = Path(__file__).with_name("one_sweep.py")
ROW = '{"key":"%s","model":"m","condition":"base","prompt":"p","text":"' + "A plain answer. " * 40 + '","attempt":1}\n'

Figures = dict[str, float]


@dataclass(frozen=True)
class Resumed:
    """Two lives: questions asked in both, when the second began and asked something new, when it ended, its words."""

    again: int
    began: float
    first_new: float
    ended: float
    said: str

    def figures(self, count: int, stored: int) -> Figures:
        """What is measured of everyone."""
        return {
            "cells": count,
            "lost": count - stored,
            "asked_again": self.again,
            "first_request_after_process_start_s": round(self.first_new - self.began, 3),
            "finished_s": round(self.ended - self.began, 2),
        }


def killed(server: Server, run: PeerRun, again: PeerRun, count: int, cwd: Path) -> Resumed:
    """Kill a run with its children when half of the questions were asked, and let it go on."""
    with _started(run, cwd, subprocess.DEVNULL) as first:
        deadline = time.monotonic() + LONGEST
        while len(server.seen()["asked"]) < count // 2:
            if first.poll() is not None:
                raise SystemExit(f"{Path(run.words[0]).name} ended before half of its questions")
            if time.monotonic() > deadline:
                raise SystemExit(f"{Path(run.words[0]).name} asked less than half of its questions in {LONGEST:g} s")
            time.sleep(0.02)
    before = server.seen()["asked"].keys()
    server.stop()
    server.start()
    began = time.time()
    with _started(again, cwd, subprocess.PIPE) as second:
        said, errors = second.communicate(timeout=LONGEST)
    ended = time.time()
    if second.returncode:
        raise SystemExit(f"it does not go on: {(said + errors)[-500:]}")
    seen = server.seen()["first"]
    new = [moment for question, moment in seen.items() if question not in before]
    return Resumed(len(seen.keys() & before), began, min(new, default=ended), ended, said)


@contextlib.contextmanager
def _started(run: PeerRun, cwd: Path, out: int) -> Iterator[subprocess.Popen[str]]:
    """A process with its children; what still runs of it at the end is killed, as by kill -9."""
    env = {**os.environ, **run.env}
    process = subprocess.Popen(
        run.words, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, text=True, start_new_session=True
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def ours(count: int, *, bare: bool) -> Figures:
    """The runner, or the bare loop."""
    with tempfile.TemporaryDirectory() as place, serving() as server:
        folder = make_plan(Path(place) / "exp_001_bench", count).folder
        words = [sys.executable, str(ONE), str(folder), server.url, str(IN_FLIGHT), *(["bare"] if bare else [])]
        resumed = killed(server, PeerRun(words, {}), PeerRun(words, {}), count, folder)
        lines = (folder / ("bare.jsonl" if bare else "samples.jsonl")).read_text().splitlines()
        keys = [json.loads(line)["key"] for line in lines]
        told = json.loads(resumed.said)
        return {
            **resumed.figures(count, len(set(keys))),
            "twice": len(keys) - len(set(keys)),
            "first_request_after_sweep_start_s": round(resumed.first_new - told["began"], 3),
            "rest_s": round(told["seconds"], 3),
        }


def peer(name: str, count: int) -> Figures:
    """One peer."""
    place = Path(tempfile.mkdtemp(prefix="nightlab-bench-"))
    try:
        with serving() as server:
            run, again = prepare_resumable(name, server.url, count, place / name)
            return killed(server, run, again, count, place).figures(count, kept(name, place / name))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def opened(count: int) -> Figures:
    """The seconds until the missing cells of a large experiment are known."""
    with tempfile.TemporaryDirectory() as place:
        plan = make_plan(Path(place) / "exp_001_bench", count)
        planned = cells(plan)
        with (plan.folder / "samples.jsonl").open("w") as out:
            for number, key in enumerate(planned.keys()):
                if number % 10:
                    out.write(ROW % key)
        size = (plan.folder / "samples.jsonl").stat().st_size
        start, busy = time.perf_counter(), time.process_time()
        missing = Samples(plan.folder).missing(cells(plan))
        spent = {"cpu_s": round(time.process_time() - busy, 2), "wall_s": round(time.perf_counter() - start, 2)}
        return {"cells": count, "missing": len(missing), "mb": round(size / 1e6), **spent}


def measure(options: argparse.Namespace, say: Callable[[str, Figures], None]) -> dict[str, Figures]:
    """Everything, by name."""
    count = 2000 if options.quick else 10_000
    asked: Sequence[str] = [] if options.no_peers else peers()
    found: dict[str, Figures] = {}
    runs: list[tuple[str, Callable[[], Figures]]] = [
        ("nightlab", lambda: ours(count, bare=False)),
        ("bare", lambda: ours(count, bare=True)),
    ]
    runs += [(name, lambda name=name: peer(name, options.peer_cells or count)) for name in asked]  # type: ignore[misc]
    runs += [("opened", lambda: opened(100_000 if options.quick else 1_000_000))]
    for name, run in runs:
        try:
            found[name] = run()
        except (SystemExit, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            if name not in asked:
                raise
            print(f"{name} is left out: {error!r:.600}", file=sys.stderr)
        else:
            say(name, found[name])
    return found


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="2,000 cells, and 100,000 to open")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--peer-cells", type=int, default=0, help="cells for the peers; else as many as for nightlab")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    def say(name: str, figures: Figures) -> None:
        if not options.json:
            print(f"{name:>10} " + "  ".join(f"{key} {value:g}" for key, value in figures.items()), flush=True)

    found = measure(options, say)
    if options.json:
        print(json.dumps(found))
    mine, large = found["nightlab"], found["opened"]
    fine = mine["lost"] == mine["twice"] == 0 and mine["asked_again"] <= IN_FLIGHT
    return 0 if fine and mine["first_request_after_sweep_start_s"] <= FIRST and large["cpu_s"] <= OPENING else 1


if __name__ == "__main__":
    sys.exit(main())
