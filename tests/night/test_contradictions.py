"""Two experiments that contradict each other: asked about once, queued once, shown side by side in the brief."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nightlab.errors import PlanError
from nightlab.events import EventLog
from nightlab.evidence.assertions import Against
from nightlab.evidence.cited import claims_of
from nightlab.evidence.claims import Claim
from nightlab.lab import Lab
from nightlab.morning.beliefs import believed
from nightlab.night.contradictions import raise_contradictions
from nightlab.record.diary import Diary
from nightlab.record.entry import entry_of
from nightlab.record.state import ResearchState


def _claim(**changed: Any) -> Claim:
    against = (Against("exp_001/c1", "It is early.", 45, "sarcasm: one against the other"),)
    values: dict[str, Any] = {"id": "c1", "experiment": "exp_002_b", "hypothesis": "H1", "verdict": "supported"}
    values |= {"template": "", "sentence": "It is late.", "holds": "", "scope": {}, "n": 40, "planned": 45}
    return Claim(**values | {"confirmatory": True, "against": against} | changed)


def test_a_contradiction_is_asked_about_and_queued_once_from_either_side(lab: Lab) -> None:
    events = EventLog(lab.night("20261125-010203"))
    [question] = raise_contradictions(lab, "20261125-010203", events, "exp_002_b", [_claim()])
    mention = next(m for m in Diary(lab.diary).questions() if m.id == question)
    assert mention.text == "exp_001/c1 and exp_002/c1 contradict each other. Which of them stands?"
    assert "It is late." in mention.why
    assert "It is early." in mention.why
    assert [item.text for item in ResearchState(lab.state_file).queue()] == [
        "replicate what exp_001/c1 and exp_002/c1 disagree about, with new prompts and seeds"
    ]
    other = _claim(experiment="exp_001_a", against=(Against("exp_002/c1", "It is late.", 40, "the same"),))
    assert raise_contradictions(lab, "20261126-010203", events, "exp_001_a", [other]) == []
    assert raise_contradictions(lab, "20261126-010203", events, "exp_002_b", [_claim()]) == []
    assert [row["about"] for row in events.read()] == ["exp_002_b"]


def test_both_claims_stand_side_by_side_in_brief_and_findings(lab: Lab) -> None:
    folder: Path = lab.experiments / "exp_002_b"
    folder.mkdir()
    (folder / "claims.yaml").write_text(yaml.safe_dump({"claims": [_claim().document()]}))
    assert believed(lab, ["exp_002_b"])[0].text == "It is late. BUT exp_001/c1: It is early."
    assert claims_of(lab, "exp_002") == [("exp_002/c1", "It is late. Contradicts `exp_001/c1`.")]


@pytest.mark.parametrize(
    "content",
    [
        "claims: [It is early.]",
        "- {id: c1, sentence: x}",
        "claims: [{id: c1}]",
        "claims: [{id: c1, sentence: x, against: [y]}]",
    ],
)
def test_claims_of_another_shape_are_refused_and_cost_no_entry(lab: Lab, content: str) -> None:
    folder = lab.experiments / "exp_002_b"
    folder.mkdir()
    (folder / "claims.yaml").write_text(content)
    for read in (lambda: claims_of(lab, "exp_002"), lambda: believed(lab, ["exp_002_b"])):
        with pytest.raises(PlanError, match="no list of claims") as caught:
            read()
        assert caught.value.where == str(folder / "claims.yaml")
    EventLog(lab.night("20261125-010203")).emit("look", experiment="exp_002_b")
    findings = entry_of(lab, "20261125-010203").sections["Findings"]
    assert "exp_002_b cannot be read: no list of claims" in findings


def test_claims_without_a_contradiction_ask_nothing(lab: Lab) -> None:
    events = EventLog(lab.night("20261125-010203"))
    assert raise_contradictions(lab, "20261125-010203", events, "exp_002_b", [_claim(against=())]) == []
    assert not lab.diary.exists()
