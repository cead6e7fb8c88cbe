"""The kill test: a demo night is killed with kill -9 again and again, resumed, and compared with one that was not.

A moment is "when line K of events.jsonl is there, and so many milliseconds later": 0 ms for each event boundary, and a
random share of the pause until the next event for the instants between, where tools act. The parent polls the file
every half millisecond, so the kill comes about 1-10 ms behind the line; where it fell is counted and told.

    python bench/killtest.py                      every boundary and as many instants between, of the whole demo night
    python bench/killtest.py --small --sample 40 --each 20 --who all   what continuous integration runs

Where the supervisor alone was killed, its worker is taken over at once by another `nightlab run` in the first half of a
night, and goes on alone in the second.

Compared are tables, claims, verdicts, the report, the diary, the research state, the brief, samples, judgments, commits
and the committed tree, normalised as nightlab.testing.nights says; and nothing may be there twice or be left running.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import yaml

from nightlab.founding.demo_lab import demo, held
from nightlab.lab import Lab
from nightlab.night.lock import living_holder
from nightlab.night.state import unclosed, unfinished
from nightlab.testing.nights import differences, git, record, rows_of, running, twice

POLL = 0.0005  # seconds between two looks at the log
PATIENCE = 300.0  # seconds that a night may take
RESTARTS = (b'"worker_lost"', b'"night_resumed"')
SEED = 7
SMALL_PROMPTS = ("creative-pineapple-pizza", "direct-mondays", "instruction-movie")
SMALL_CONDITIONS = ("layers_0_20", "sarcasm_full")
WHO = ("worker", "supervisor", "both")


@dataclass(frozen=True)
class Moment:
    """When to kill: so many seconds after line `event` of the log was seen."""

    event: int
    after: float = 0.0

    def __str__(self) -> str:
        """As the reader of a failure needs it."""
        return f"event {self.event}" + (f" + {1000 * self.after:.0f} ms" if self.after else "")


@dataclass(frozen=True)
class Case:
    """One night that was killed: when and who, the lines at which it fell, and what differs."""

    moments: list[Moment]
    who: list[str]
    fell: list[int]
    seconds: float
    differences: list[str]


def template(folder: Path, small: bool) -> Path:
    """The lab that every case gets a copy of; the small one has one model, three prompts and three conditions."""
    made = demo(folder, seed=SEED)
    project = folder / "pyproject.toml"
    project.write_text(project.read_text().replace("[tool.nightlab]", "[tool.nightlab]\nrestart-seconds = 0.1", 1))
    git(folder, "commit", "-qam", "A killed worker is started again at once")
    if small:
        experiment = made.lab.experiment(made.experiment)
        data = yaml.safe_load((experiment / "config.yaml").read_text())
        data["factors"]["models"] = data["factors"]["models"][:1]
        data["hypotheses"] = [h for h in data["hypotheses"] if h["id"] == "H4"]
        data["multiplicity"] = "holm"
        data["ranges"] = [name for name in data["ranges"] if name in SMALL_CONDITIONS]
        data["serving"]["port"] = 0
        (experiment / "config.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        for path in [*experiment.glob("prompts/*.yaml"), *experiment.glob("conditions/*.yaml")]:
            if path.stem not in SMALL_PROMPTS + SMALL_CONDITIONS:
                path.unlink()
        git(folder, "commit", "-qam", "A small experiment")
    return folder


def launch(root: Path) -> subprocess.Popen[bytes]:
    """`nightlab run` in a session of its own; what it says goes to a file beside the lab."""
    words = [sys.executable, "-m", "nightlab", "--lab", str(root), "run", "--plain"]
    words += [] if log_of(root) else ["--hours", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with root.with_suffix(".log").open("ab") as out:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=environment
        )


def log_of(root: Path) -> Path | None:
    """The event log of the lab's only night, once it is there."""
    return next(iter((root / "state" / "nights").glob("*/events.jsonl")), None)


def lines_of(root: Path) -> int:
    """Complete lines of the log so far, without those that only a killed night has."""
    path = log_of(root)
    lines = path.read_bytes().splitlines(keepends=True) if path else []
    return sum(line.endswith(b"\n") and not any(kind in line[:80] for kind in RESTARTS) for line in lines)


def wait_for(root: Path, moment: Moment, night: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Return at the moment, or when the night is over before it; a night that nobody runs is started again."""
    until, path, seen, size = time.monotonic() + PATIENCE, None, 0, -1
    while seen < moment.event:
        path = path or log_of(root)
        if path and (now := path.stat().st_size) != size:
            seen, size = lines_of(root), now
        if night.poll() is not None and not works(root):
            if over(root):
                return night
            night = launch(root)
        if time.monotonic() > until:
            raise TimeoutError(f"{root}: {moment} did not come within {PATIENCE:.0f} s")
        time.sleep(POLL)
    time.sleep(moment.after)
    return night


def works(root: Path) -> bool:
    """Whether a worker or a supervisor lives."""
    return any(living_holder(root / ".nightlab" / name) for name in ("lock", "supervisor"))


def over(root: Path) -> bool:
    """Whether the night has ended and its last commit is made."""
    lab = Lab.open(root)
    return bool(lab.latest_night() and not unfinished(lab) and not unclosed(lab))


def kill(root: Path, who: str, night: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the supervisor, to the worker, or to the one and then the other."""
    if who in ("supervisor", "both"):
        night.kill()
    holder = living_holder(root / ".nightlab" / "lock")
    if who in ("worker", "both") and holder:
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder.pid, signal.SIGKILL)


def finish(root: Path, night: subprocess.Popen[bytes]) -> None:
    """Wait until nobody works on the lab; start the night again until it is over and closed."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        night.wait(timeout=PATIENCE)
        while works(root) and time.monotonic() < until:
            time.sleep(0.02)
        if over(root):
            return
        night = launch(root)
    raise TimeoutError(f"{root}: the night did not end within {PATIENCE:.0f} s")


def run_case(
    source: Path, root: Path, moments: Sequence[Moment] = (), who: Sequence[str] = WHO, middle: int = 0
) -> list[int]:
    """One night in a copy of the lab, killed at moments; the lines at which it fell.

    Before the `middle` line a night without its supervisor is taken over; later it might end before that, and the next
    run would begin another night.
    """
    shutil.copytree(source, root, symlinks=True)
    fell: list[int] = []
    night = launch(root)
    for moment, killed in zip(moments, itertools.cycle(who), strict=False):
        night = wait_for(root, moment, night)
        kill(root, killed, night)
        if killed == "supervisor" and moment.event < middle:
            night.wait()
            night = launch(root)
        fell.append(lines_of(root))
    finish(root, night)
    return fell


def staged(source: Path) -> contextlib.AbstractContextManager[None]:
    """The demo's first trouble: the port that the plan asks for is held; the small plan asks for none."""
    config = next(source.glob("experiments/exp_001*/config.yaml")).read_text()
    found = re.search(r"\bport: (\d+)", config)
    port = int(found[1]) if found else 0
    return held(port) if port else contextlib.nullcontext()


def moments(root: Path, sample: int | None, chance: random.Random) -> list[Moment]:
    """Every event boundary of the log and as many random instants between; or a choice of them."""
    path = log_of(root)
    assert path is not None
    times = [datetime.fromisoformat(row["t"]).timestamp() for row in rows_of(path)]
    gaps = [after - before for before, after in itertools.pairwise(times)] + [0.2]
    exact = [Moment(number) for number in range(1, len(times) + 1)]
    between = [Moment(number, chance.uniform(0, gap)) for number, gap in enumerate(gaps, 1) if gap > 0.002]
    every = exact + between
    return every if sample is None else sorted(chance.sample(every, min(sample, len(every))), key=lambda m: m.event)


def killtest(folder: Path, args: argparse.Namespace) -> list[Case]:
    """All cases, `jobs` at a time."""
    source = template(folder / "template", args.small)
    with staged(source):
        return all_cases(source, folder, args)


def all_cases(source: Path, folder: Path, args: argparse.Namespace) -> list[Case]:
    """The night that is not killed, then those that are."""
    whole = folder / "whole"
    run_case(source, whole)
    expected, middle = record(whole), lines_of(whole) // 2
    if wrong := [*twice(whole), *running(whole)]:
        raise SystemExit("the night that was not killed is not sound:\n" + "\n".join(wrong))
    who = list(WHO) if args.who == "all" else [args.who]

    def case(number: int, chosen: list[Moment]) -> Case:
        root, began = folder / f"case{number:03d}", time.monotonic()
        killed = [who[(number + place) % len(who)] for place in range(len(chosen))]
        fell, found = [], []
        try:
            fell = run_case(source, root, chosen, killed, middle)
            found = differences(expected, root)
        except Exception as error:  # noqa: BLE001 - one case must not end the others; it counts as a difference
            found = [f"{type(error).__name__}: {error}"]
        done = Case(chosen, killed, fell, time.monotonic() - began, found)
        if not args.json:
            print(f"{number:4d} {done.seconds:6.1f} s  {told(done)}", flush=True)
        if not found and not args.keep:
            shutil.rmtree(root, ignore_errors=True)
        return done

    every = moments(whole, args.sample, random.Random(args.seed))
    nights = -(-len(every) // args.each)
    with ThreadPoolExecutor(args.jobs) as pool:
        return list(pool.map(case, range(nights), [every[start::nights] for start in range(nights)]))


def told(case: Case) -> str:
    """A case in one line."""
    kills = zip(case.moments, case.who, [*case.fell, *[None] * len(case.moments)], strict=False)
    verdict = "equal" if not case.differences else f"{len(case.differences)} differences"
    return f"{verdict}: " + ", ".join(f"{who} at {moment} (fell at {fell})" for moment, who, fell in kills)


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one model, three prompts, three conditions")
    parser.add_argument("--sample", type=int, help="so many moments, chosen by the seed; without it every one")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--who", choices=[*WHO, "all"], default="worker", help="who is killed; all: each in turn")
    parser.add_argument("--each", type=int, default=1, help="kills of one night")
    parser.add_argument("--jobs", type=int, default=2, help="nights at a time")
    parser.add_argument("--folder", type=Path, help="where the labs are made (default: a temporary folder)")
    parser.add_argument("--keep", action="store_true", help="keep the labs of the cases that are equal too")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the test; 1 where anything differs."""
    args = parsed(words)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="nightlab-killtest-"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    cases = killtest(folder.resolve(), args)
    bad = [case for case in cases if case.differences]
    if args.json:
        print(json.dumps({"seconds": time.monotonic() - began, "cases": [asdict(case) for case in cases]}))
    for case in [] if args.json else bad:
        print(f"\n=== {told(case)}\n" + "\n".join(case.differences))
    kills = sum(len(case.moments) for case in cases)
    told_of = f"{kills} kills, {len(bad)} of {len(cases)} nights differ, {time.monotonic() - began:.0f} s"
    print(told_of if not bad else f"{told_of}; kept in {folder}", file=sys.stderr)
    if not bad and not args.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
