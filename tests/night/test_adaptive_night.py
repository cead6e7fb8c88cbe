"""A night over an adaptive plan on a practice model: asked, judged, looked at, asked again only where undecided."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from nightlab.events import EventLog
from nightlab.evidence import rebuild
from nightlab.experiments.looks import read_looks
from nightlab.lab import shipped
from nightlab.night import Options, run_night
from tests.night.conftest import git, make_lab

NAME = "exp_001_adaptive"
KEPT = ("layers_0_20.yaml", "layers_40_60.yaml", "sarcasm_full.yaml")


@pytest.mark.slow
@pytest.mark.real
def test_a_night_adds_replicates_only_where_a_hypothesis_is_undecided(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab", f"- [ ] {NAME}: looks\n", "bootstrap = 400\n")
    folder = lab.experiments / NAME
    shutil.copytree(shipped("experiments") / "exp_001_phase1_replication", folder)
    for path in (folder / "conditions").iterdir():
        if path.name not in KEPT:
            path.unlink()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["factors"]["models"] = config["factors"]["models"][:1]
    config["ranges"] = ["layers_0_20", "layers_40_60"]
    config["sampling"]["max_tokens"] = 48
    near = {"kind": "greater", "dimension": "sarcasm", "left": {"condition": "layers_40_60"}, "by": 1.4}
    config["hypotheses"] = [
        config["hypotheses"][3],
        {"id": "N", "statement": "Near.", "prediction": near | {"right": {"condition": "base"}}},
    ]
    config["multiplicity"] = {"sequence": ["H4", "N"]}
    config["stop"] = {"max_replicates": 3}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    git(lab.root, "add", "-A")
    git(lab.root, "commit", "-qm", "a plan")
    result = run_night(lab, Options(hours=1))
    events = list(EventLog(lab.night(result.night)).read())
    assert result.state == "finished", [e for e in events if e["kind"] == "error"]
    looks = read_looks(folder)
    assert 2 <= len(looks) <= 3
    assert [look.number for look in looks] == list(range(1, len(looks) + 1))
    assert looks[0].verdicts == {"H4": "supported", "N": "undecided"}
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    asked = Counter(row["condition"] for row in rows)
    judged = [json.loads(line) for line in (folder / "judgments.jsonl").read_text().splitlines()]
    assert len(judged) == len(rows)
    assert asked["layers_0_20"] == asked["sarcasm_full"] == 9  # no hypothesis is undecided about them
    assert asked["layers_40_60"] == asked["base"] == 9 * len(looks)
    assert [e["number"] for e in events if e["kind"] == "look"] == [look.number for look in looks]
    assert sum(e["kind"] == "server_starting" for e in events) == 1  # kept between the looks
    assert sum(e["kind"] == "server_stopped" for e in events) == 1
    report = (folder / "report.md").read_text()
    cells, full = 18 + 18 * len(looks), 4 * 9 * 3
    assert f"{cells} of the {full} cells of the full grid were called for" in report
    assert f"{cells} of {cells} planned cells answered" in report
    assert rebuild(folder) == []
