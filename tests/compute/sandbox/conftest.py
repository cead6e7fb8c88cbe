"""A small lab, and commands that try to leave it, on every level that this machine gives.

Every hostile command here is bounded by itself: were a guard to fail, it would end soon and harm nothing outside.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from nightlab.compute.sandbox.ladder import Level, probe
from nightlab.compute.sandbox.run import Limits, Outcome, run
from nightlab.compute.sandbox.scope import Scope, expand

Run = Callable[..., Awaitable[Outcome]]
WRITES = ("experiments/**", "notes.md")
SECRET = "sk-ant-api03-" + "x1y2" * 8


def make(root: Path) -> Path:
    """A lab's root with a frozen experiment, an open one, git, and a file of secrets."""
    for name in ("experiments/exp_001_frozen/free", "experiments/exp_002_open", "state/nights/n1", "agents"):
        (root / name).mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    frozen = root / "experiments" / "exp_001_frozen"
    for name in ("samples.jsonl", "failures.jsonl", "judgments.jsonl", "plan.lock.json", "config.yaml"):
        (frozen / name).write_text(f"true {name}\n")
    (root / "experiments" / "exp_002_open" / "config.yaml").write_text("question: open\n")
    (root / "state" / "nights" / "n1" / "events.jsonl").write_text("true events\n")
    (root / "notes.md").write_text("notes\n")
    (root / ".env").write_text("TOKEN=hidden-in-a-file\n")
    return root


@pytest.fixture(params=["bwrap", "landlock"])
def level(request: pytest.FixtureRequest) -> Level:
    wanted: Level = request.param
    if not probe().available(wanted):
        why = f"no {wanted}: {probe().missing[wanted]}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has to try every level; {why}")
        pytest.skip(why)
    return wanted


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "lab")


@pytest.fixture
def sandboxed(root: Path, level: Level) -> Run:
    """Run shell text in the lab with an agent's scope."""

    async def call(command: str, limits: Limits | None = None, **more: Any) -> Outcome:
        scope = Scope.of(root, expand(root, WRITES))
        return await run(command, scope, limits or Limits(seconds=20), level=level, **more)

    return call
