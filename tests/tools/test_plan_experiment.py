"""plan_experiment: check before anything starts, correct by the remedy, freeze once, and nothing half-written."""

from __future__ import annotations

import pytest

from nightlab.experiments.plan import Plan
from nightlab.night.blindness import check_blindness
from tests.night.conftest import git
from tests.tools.conftest import EXPERIMENT, Night, files

WRONG = {"models.qwen.id": "unsloth/practice-qwen"}


async def test_a_sound_plan_checks(night: Night) -> None:
    data = (await night.call("plan_experiment", experiment="1", action="check")).data
    assert (data["experiment"], data["problems"]) == (EXPERIMENT, [])
    assert data["progress"]["missing"] == {"llama": 63, "gemma": 63, "qwen": 63}


async def test_a_wrong_id_is_found_corrected_and_said(night: Night) -> None:
    await night.call("plan_experiment", experiment=EXPERIMENT, action="correct", changes=WRONG, why="a test")
    found = (await night.call("plan_experiment", experiment=EXPERIMENT, action="check")).data
    [problem] = found["problems"]
    assert problem["code"] == "model_id_mismatch"
    refused = await night.call("plan_experiment", experiment=EXPERIMENT, action="freeze")
    assert refused.error is not None
    assert not (night.lab.experiments / EXPERIMENT / "plan.lock.json").exists()
    changes = problem["remedy"]["set"]
    mended = await night.call("plan_experiment", experiment=EXPERIMENT, action="correct", changes=changes, why="id")
    assert mended.data["problems"] == []
    corrections = [row for row in night.events.read() if row["kind"] == "correction"]
    assert [row["changes"] for row in corrections] == [WRONG, {"models.qwen.id": "nightlab/practice-qwen"}]


async def test_a_rubric_that_tells_is_found_while_it_can_change(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    folder = night.lab.experiments / EXPERIMENT
    config, rubric = (folder / "config.yaml").read_text(), (folder / "rubric.md").read_text()
    (folder / "config.yaml").write_text(config.replace("by: markers", "by: claude"))
    (folder / "rubric.md").write_text(f"{rubric}\nSome are by layers_0_20.\n")
    [problem] = (await night.call("plan_experiment", experiment="1", action="check")).data["problems"]
    assert (problem["code"], problem["where"]) == ("rubric_tells", str(folder / "rubric.md"))
    refused = await night.call("plan_experiment", experiment="1", action="freeze")
    assert refused.error is not None
    assert "the judge's instructions hold 'layers_0_20'" in refused.error.what
    assert not (folder / "plan.lock.json").exists()
    (folder / "rubric.md").write_text(f"{rubric}\nSome sound like a llama.\n")
    [warning] = check_blindness(Plan.load(folder))
    assert (warning.code, warning.level) == ("rubric_tells", "warning")
    assert "perhaps by chance: 'llama', 'persona-sarcasm'" in warning.what


async def test_a_freeze_is_committed_once_and_holds(night: Night) -> None:
    first = (await night.call("plan_experiment", experiment=EXPERIMENT, action="freeze")).data
    again = (await night.call("plan_experiment", experiment=EXPERIMENT, action="freeze")).data
    assert (first["sha256"], first["cells"]) == (again["sha256"], 189)
    assert first["commit"] == again["commit"] == git(night.lab.root, "rev-parse", "HEAD")
    assert [row["kind"] for row in night.events.read()].count("plan_frozen") == 1
    for action, extra in (("correct", {"changes": WRONG}), ("write", {"files": {"rubric.md": "x"}})):
        refused = await night.call("plan_experiment", experiment=EXPERIMENT, action=action, **extra)
        assert refused.error is not None
        assert refused.error.code in ("frozen_error", "frozen")


async def test_a_new_plan_is_written_whole(night: Night) -> None:
    folder = night.lab.experiments / EXPERIMENT
    texts = {"config.yaml": (folder / "config.yaml").read_text(), "rubric.md": (folder / "rubric.md").read_text()}
    for kind in ("prompts", "conditions"):
        texts |= {f"{kind}/{p.name}": p.read_text() for p in (folder / kind).iterdir()}
    done = await night.call("plan_experiment", experiment="exp_002_again", action="write", files=texts)
    assert done.data["problems"] == []
    assert (night.lab.experiments / "exp_002_again" / "rubric.md").is_file()


@pytest.mark.parametrize(
    ("name", "texts", "code"),
    [
        ("exp_002_bad", {"config.yaml": "question: [\n"}, "plan_error"),
        ("exp_002_bad", {"config.yaml": "qestion: x\nfactors: {models: []}\n"}, "plan_error"),
        ("exp_002_bad", {"../../evil.py": "x"}, "not_allowed"),
        ("exp_002_bad", {"samples.jsonl": "{}"}, "not_allowed"),
        ("exp_002_bad", {"prompts/../../x.yaml": "x"}, "not_allowed"),
        ("../evil", {"config.yaml": "question: x"}, "not_allowed"),
        ("exp_001_other", {"config.yaml": "question: x"}, "plan_error"),
    ],
)
async def test_a_bad_plan_leaves_nothing(night: Night, name: str, texts: dict[str, str], code: str) -> None:
    before = files(night.lab)
    refused = await night.call("plan_experiment", experiment=name, action="write", files=texts)
    assert refused.error is not None
    assert refused.error.code == code
    assert files(night.lab) == before


async def test_an_experiment_that_is_not_there(night: Night) -> None:
    refused = await night.call("plan_experiment", experiment="exp_001_phase1_replicaton", action="check")
    assert refused.error is not None
    assert EXPERIMENT in refused.error.next
    nothing = await night.call("plan_experiment", experiment=EXPERIMENT, action="correct", changes={})
    assert nothing.error is not None
    assert nothing.error.code == "bad_argument"
