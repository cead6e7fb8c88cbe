"""Two nights compared: what a night left, as texts in which what differs between any two nights is normalised.

Set aside (see `normal`): the night's name, times, durations, ports, hashes, server ids, the folder, lines that say that
its process was lost, the order in which servers that work side by side were done, and that a server was proven once
more after a kill. The brief is compared down to what was found: it is bounded, and its losses displace claims. Of rows:
time, latency, server, attempt.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nightlab.lab import Lab

LEAVING = 10.0  # seconds that a process may take to leave when its night is over
VOLATILE = ("t", "latency", "server", "attempt", "served_model", "canary", "position", "packet")


def git(root: Path, *words: str) -> str:
    """The output of a git command."""
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout.strip()


def normal(text: str, night: str, lab: str = "LAB") -> str:
    """A text without what differs between any two nights."""
    text = text.replace(night, "NIGHT").replace(f"{lab} · ", "LAB · ")
    for pattern, word in (
        (r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:?\d\d)?", "TIME"),
        (r"\d{4}-\d\d-\d\d", "DATE"),
        (r"\b\d\d:\d\d(:\d\d)?\b", "CLOCK"),
        (r"\b\d+(\.\d+)? ?(ms|s|min|h|seconds|minutes)\b", "DURATION"),
        (r"127\.0\.0\.1:\d+|\bport \d+", "PORT"),
        (r"\b(llama|gemma|qwen)-[0-9a-f]{6,}(\.\d+)?\b", r"\1-SERVER"),
        (r"(### Problems and fixes\n\n)(- The night's process was lost.*\n)+\n", r"\1Nothing.\n\n"),
        (r"(?m)^- The night's process was lost.*\n", ""),
        (r"(?ms)(^Found[^\n]*\n).*(?=^```)", r"\1"),
        (r", same_at_both_ends\b", ""),
        (r"\b[0-9a-f]{7,64}\b", "HASH"),
    ):
        text = re.sub(pattern, word, text)
    return re.sub(r"(?m)(^(- (Proved|Asked) |\| \w+ \| nightlab/practice-).*\n)+", _sorted, text)


def _sorted(lines: re.Match[str]) -> str:
    return "".join(sorted(lines[0].splitlines(keepends=True)))


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of lines; none where it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def record(root: Path) -> dict[str, str]:
    """What a night left, as normalised texts by name."""
    lab = Lab.open(root)
    [night] = lab.night_names()
    [experiment] = [lab.experiments / name for name in lab.experiment_names()]
    left = {
        str(path.relative_to(root)): normal(path.read_text(), night)
        for path in [*sorted(experiment.glob("tables/*.csv")), *sorted(experiment.glob("*.[my][da]*"))]
    }
    for path in (lab.diary, lab.state_file, lab.notes, lab.brief):
        left[lab.relative(path)] = normal(path.read_text(), night, root.name)
    for name in ("samples.jsonl", "judgments.jsonl"):
        rows = [{k: v for k, v in row.items() if k not in VOLATILE} for row in rows_of(experiment / name)]
        left[name] = "\n".join(sorted(normal(json.dumps(row, sort_keys=True), night) for row in rows))
    left["commits"] = normal(git(root, "log", "--format=%s%n%(trailers)"), night)
    left["tree"] = "\n".join(sorted(normal(git(root, "ls-tree", "-r", "--name-only", "HEAD"), night).splitlines()))
    left["uncommitted"] = git(root, "status", "--porcelain")
    left["nights"] = str(len(lab.night_names()))
    return left


def twice(root: Path) -> Iterator[str]:
    """What was done more than once."""
    lab = Lab.open(root)
    [night] = lab.night_names()
    [experiment] = [lab.experiments / name for name in lab.experiment_names()]
    ledger = rows_of(lab.night(night) / "ledger.jsonl")
    trailers = git(root, "log", "--format=%(trailers:key=Nightlab-Key,valueonly)").split()
    names: dict[str, list[Any]] = {
        "sample": [row["key"] for row in rows_of(experiment / "samples.jsonl")],
        "judgment": [(r["key"], r["judge"], r["repeat"], r["rubric"]) for r in rows_of(experiment / "judgments.jsonl")],
        "commit": trailers,
        "question": re.findall(r"(?m)^#+ @\S+ (q\d+.*)", lab.diary.read_text()),
        "diary entry": re.findall(r"<!-- night: (\S+) -->", lab.diary.read_text()),
        "event key": [row["key"] for row in rows_of(lab.night(night) / "events.jsonl") if "key" in row],
        "dollar": [(row["op"], row["key"]) for row in ledger],
        "tool result": [row["id"] for row in rows_of(lab.night(night) / "calls.jsonl")],
        "note": re.findall(r"<!-- (\S+) -->", lab.notes.read_text()),
    }
    for what, found in names.items():
        for name, count in Counter(found).items():
            if count > 1:
                yield f"{count} times the {what} {name}"


def running(root: Path) -> Iterator[str]:
    """Processes that still name the lab's folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if f"{root}/" in words or f"{root} " in words:
                yield f"still running: {path.parent.name} {words[:200]}"


def differences(expected: dict[str, str], root: Path) -> list[str]:
    """What is not as in the night that was not killed, as readable texts."""
    found = record(root)
    until = time.monotonic() + LEAVING
    while any(running(root)) and time.monotonic() < until:
        time.sleep(0.1)
    texts = [*twice(root), *running(root)]
    for name in sorted({*expected, *found}):
        before, after = expected.get(name, ""), found.get(name, "")
        if before != after:
            diff = difflib.unified_diff(before.splitlines(), after.splitlines(), "whole", "killed", lineterm="", n=1)
            texts.append(f"{name} differs:\n" + "\n".join(list(diff)[:60]))
    return texts
