"""The YAML that the guides show is accepted by the code that reads such files."""

import re
from pathlib import Path

from nightlab.adapters.amplification import Amplification
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric

GUIDES = Path(__file__).parents[1] / "docs" / "guides"


def blocks(guide: str) -> list[str]:
    """The YAML blocks of a guide."""
    return re.findall(r"^```yaml\n(.*?)^```", (GUIDES / guide).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_the_plan_with_its_prompts_and_conditions(tmp_path: Path) -> None:
    folder = tmp_path / "exp_001_example"
    config, more, *prompts = blocks("writing-a-plan.md")
    (condition,) = blocks("conditions.md")
    for name in ("prompts", "conditions"):
        (folder / name).mkdir(parents=True)
    (folder / "config.yaml").write_text(config + more, "utf-8")
    for number, prompt in enumerate(prompts):
        (folder / "prompts" / f"{number}.yaml").write_text(prompt, "utf-8")
    for start in range(0, 100, 20):
        name = f"layers_{start}_{start + 20}"
        text = condition.replace("layers_0_20", name)
        (folder / "conditions" / f"{name}.yaml").write_text(text, "utf-8")
    (folder / "rubric.md").write_text(blocks("judging.md")[0] + "\nScore it.\n", "utf-8")

    plan = Plan.load(folder)

    assert {prompt.name for prompt in plan.prompts} == {"direct-mondays", "a-conversation"}
    assert [condition.name for condition in plan.conditions] == ["base", *plan.ranges]
    assert set(Rubric.load(plan.rubric).dimensions) == {"sarcasm"}


def test_the_condition_covers_the_first_fifth(tmp_path: Path) -> None:
    path = tmp_path / "condition.yaml"
    path.write_text(blocks("conditions.md")[0], "utf-8")
    (weights,) = Amplification.load(path).resolve(20).values()
    assert weights.attention == weights.mlp == (1.0,) * 4 + (0.0,) * 16
