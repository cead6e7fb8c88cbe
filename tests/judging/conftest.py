"""A frozen experiment with answers: two models, three conditions that need no weights, two prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightlab.experiments.cells import cells
from nightlab.experiments.freeze import document
from nightlab.experiments.identity import treatments
from nightlab.experiments.lock import write_lock
from nightlab.experiments.plan import Plan
from nightlab.experiments.samples import Samples

RUBRIC = """\
---
name: tone
version: 2
dimensions:
  joy:
    range: [0, 10]
    question: How joyful is the text?
    anchors: {0: Not at all., 10: Nothing but joy.}
    markers:
      - {pattern: "hooray|what fun", points: 4}
      - {pattern: "\\\\bwonderful\\\\b", points: 7}
  gloom:
    range: [1, 5]
    question: How gloomy is the text?
    markers:
      - {pattern: "alas", points: 3}
---

# How to score

Look at the text.
"""


@dataclass
class Answered:
    """An experiment folder with a frozen plan and samples."""

    plan: Plan

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.plan.folder

    @property
    def samples(self) -> Samples:
        """Its samples, read anew."""
        return Samples(self.folder)

    def answer(self, texts: dict[str, str] | None = None, limit: int | None = None) -> None:
        """Write a sample for each cell; `texts` by condition, else a text of its own."""
        store = self.samples
        for cell in store.missing(cells(self.plan))[:limit]:
            text = (texts or {}).get(cell.condition, f"Answer {cell.seed}. What fun!")
            names = {"model": cell.model, "model_id": cell.model_id, "condition": cell.condition, "prompt": cell.prompt}
            asked = {key: value for key, value in cell.request.items() if key in ("messages", "raw")}
            more = {"category": cell.category, "replicate": cell.replicate}
            store.append({"key": cell.key, **names, **more, **asked, "text": text})
        store.close()


def build(folder: Path, **changes: Any) -> Plan:
    """Write and freeze an experiment."""
    for name in ("prompts", "conditions"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("layers_0_20", "layers_20_40"):
        (folder / "conditions" / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "adapters": []}))
    direct = {"category": "direct", "prompt_text": "How was the concert?"}
    raw = {"category": "raw", "prompt_text": "Once upon a time", "template_mode": "No template"}
    (folder / "prompts" / "concert-question.yaml").write_text(yaml.safe_dump(direct))
    (folder / "prompts" / "story-start.yaml").write_text(yaml.safe_dump(raw))
    (folder / "rubric.md").write_text(RUBRIC)
    models = [{"name": name, "id": f"lab/{name}-8b"} for name in ("llama", "gemma")]
    prediction = {"kind": "below", "dimension": "joy", "where": {"condition": "base"}, "than": 5}
    config = {
        "question": "Where is the joy?",
        "factors": {"models": models},
        "hypotheses": [{"id": "H1", "statement": "Joy sits early.", "prediction": prediction}],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changes))
    plan = Plan.load(folder)
    write_lock(plan.folder, document(plan, treatments(plan)))
    return plan


@pytest.fixture
def answered(tmp_path: Path) -> Answered:
    """Twelve answered cells."""
    made = Answered(build(tmp_path / "exp_001_joy"))
    made.answer()
    return made
