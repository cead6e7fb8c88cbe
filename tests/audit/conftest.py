"""Folders to audit: a small lab that a night could have left, and results of people who use other tools."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MODELS, CONDITIONS, PROMPTS = (
    ("llama", "gemma"),
    ("base", "layers_0_20", "layers_20_40"),
    ("tea", "rain", "maths", "cats"),
)
LEVEL = {"llama": (0.5, 6.2, 3.1), "gemma": (0.8, 1.9, 7.4)}
REPORT = """\
# Where the layers carry sarcasm

We asked 4 prompts under 3 conditions: Llama 12 of 12, Gemma n=12. Prompt "cats" was the funniest.

## Llama (n=12)

| condition | sarcasm | wit |
|---|---|---|
| base | 0.5 | 0.9 |
| 0-20 | **6.2** | 5.3 |
| 20-40 | 3.1 | 2.8 |

## Gemma

Its mean sarcasm in `layers_20_40` is 7.4; see [figure](figs/fig1.png) and `scores.csv`.
"""
PLOT = """\
import pandas as pd
import matplotlib.pyplot as plt

scores = pd.read_csv("scores.csv")
means = scores.groupby(["model", "condition"]).sarcasm.mean()
fig, ax = plt.subplots(figsize=(6.4, 4.8))
ax.bar(range(len(means)), means)
fig.savefig("figs/fig1.png")
"""
DIARY = """\
# Diary

## 2026-03-02 - first run

We found no trouble.

## 2026-03-03 - second run

Nothing new.
"""


@dataclass
class Results:
    """A folder of results as people write them, sound as it is made."""

    root: Path
    answers: list[dict[str, Any]]
    scores: list[dict[str, Any]]

    def write(self) -> Path:
        """Write answers, scores and summary anew, older than the figure."""
        lines = "".join(json.dumps(row) + "\n" for row in self.answers)
        (self.root / "responses.jsonl").write_text(lines, "utf-8")
        self.table("scores.csv", self.scores)
        self.table("summary.csv", list(self.summary()))
        for path in self.root.glob("*.*"):
            os.utime(path, (1_000_000, 1_000_000))
        return self.root

    def summary(self) -> list[dict[str, Any]]:
        """The mean and n of each model and condition."""
        found = []
        for model in MODELS:
            for condition in CONDITIONS:
                own = [r["sarcasm"] for r in self.scores if (r["model"], r["condition"]) == (model, condition)]
                mean = round(sum(own) / len(own), 3)
                found.append({"model": model, "condition": condition, "mean_sarcasm": mean, "n": len(own)})
        return found

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write a csv."""
        with (self.root / name).open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def change(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file."""
        path = self.root / name
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Results in which everything fits."""
    root = tmp_path / "results"
    (root / "figs").mkdir(parents=True)
    made = Results(root, [], [])
    for model in MODELS:
        for condition, level in zip(CONDITIONS, LEVEL[model], strict=True):
            for index, prompt in enumerate(PROMPTS):
                name = f"{model}-{condition}-{prompt}"
                place = {"id": name, "model": model, "condition": condition, "prompt": prompt}
                made.answers.append({**place, "response": f"An answer to {prompt}, number {index}."})
                shift = (-0.2, 0.2, -0.1, 0.1)[index]
                wit = {0.5: 0.9, 6.2: 5.3, 3.1: 2.8}.get(level, level)
                made.scores.append({**place, "sarcasm": round(level + shift, 1), "wit": round(wit + shift, 1)})
    for name, text in (("report.md", REPORT), ("plot.py", PLOT), ("diary.md", DIARY)):
        (root / name).write_text(text, "utf-8")
    (root / "figs" / "fig1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    made.write()
    return made


def git(root: Path, *words: str, date: str = "") -> None:
    """Run git as somebody, at some time."""
    who = {f"GIT_{role}_{field}": "x@localhost" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}
    when = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date} if date else {}
    subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True, env={**os.environ, **who, **when})
