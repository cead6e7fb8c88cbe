"""Small experiments on the practice models, for tests that need a lab with real servers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from nightlab.experiments.freeze import freeze
from nightlab.experiments.plan import Plan
from nightlab.founding.demo_lab import Demo, demo
from nightlab.lab import Lab, shipped

SHIPPED = shipped("experiments") / "exp_001_phase1_replication"
PROMPTS = ("direct-mondays", "instruction-exercise", "creative-forum-post")
CONDITIONS = ("layers_0_20", "sarcasm_full")


def small_plan(lab: Lab, model: str = "llama", *, conditions: tuple[str, ...] = CONDITIONS, **serving: Any) -> Plan:
    """exp_001_small: a few prompts and conditions of the shipped experiment on one model, frozen."""
    folder = lab.experiments / "exp_001_small"
    for kind, names in (("conditions", conditions), ("prompts", PROMPTS)):
        (folder / kind).mkdir(parents=True)
        for name in names:
            shutil.copyfile(SHIPPED / kind / f"{name}.yaml", folder / kind / f"{name}.yaml")
    shutil.copyfile(SHIPPED / "rubric.md", folder / "rubric.md")
    one = {"name": model, "id": f"nightlab/practice-{model}", "path": f"practice:{model}"}
    factors = {
        "models": [{**one, "adapters": {"persona_sarcasm": f"practice:{model}/sarcasm"}}],
        "conditions": "conditions",
        "prompts": "prompts",
        "replicates": 2,
    }
    config = {
        "question": "Is it there?",
        "factors": factors,
        "sampling": {"temperature": 0.7, "max_tokens": 16, "seed": 3},
        "serving": serving,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    plan = Plan.load(Path(folder))
    freeze(plan)
    return plan


def small_demo(root: Path, *models: str, seed: int = 7, **config: Any) -> Demo:
    """The demo lab with some of its models, base and two conditions, and four prompts; no port of its plan is held."""
    made = demo(root, seed=seed)
    folder = made.lab.experiment(made.experiment)
    plan = yaml.safe_load((folder / "config.yaml").read_text())
    factors = plan["factors"]
    factors["models"] = [model for model in factors["models"] if model["name"] in models]
    factors["conditions"] = [f"conditions/{name}.yaml" for name in CONDITIONS]
    factors["prompts"] = [f"prompts/{path.name}" for path in sorted((folder / "prompts").iterdir())[:4]]
    hypotheses = [one for one in plan["hypotheses"] if one["id"] == "H4"]
    plan |= {"hypotheses": hypotheses, "multiplicity": "holm", "ranges": [], "serving": {"port": 0}, **config}
    (folder / "config.yaml").write_text(yaml.safe_dump(plan))
    return made
