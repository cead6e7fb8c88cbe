"""Labs for nights: real git repositories, with the shipped agents and tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nightlab.lab import Lab

STATE = "# Research state\n\n## Question\n\nWhat is it?\n\n## Queue\n\n"


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_lab(root: Path, queue: str = "", table: str = "") -> Lab:
    (root / "state").mkdir(parents=True)
    (root / "experiments").mkdir()
    (root / "pyproject.toml").write_text(f"[tool.nightlab]\n{table}\n")
    (root / ".gitignore").write_text(".nightlab/\nstate/nights/*/watch_*.jsonl\nstate/nights/*/calls.jsonl\n")
    (root / "state" / "RESEARCH_STATE.md").write_text(STATE + queue)
    (root / "scaffolding_notes.md").write_text("# Scaffolding notes\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.name", "Ada")
    git(root, "config", "user.email", "ada@example.org")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return Lab.open(root)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab with an empty queue."""
    return make_lab(tmp_path / "lab")
