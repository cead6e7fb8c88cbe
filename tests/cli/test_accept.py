"""`nightlab accept`: listed, shown, accepted by a person, committed; nothing else makes a proposal active."""

from __future__ import annotations

import json
import subprocess

from nightlab import proposals
from nightlab.lab import Lab
from nightlab.skills import Skill
from tests.cli.conftest import Call

SKILL = "---\nname: seeing\ndescription: How to see.\n---\nLook \x1b[31mup.\n"
ABOUT = {"why": "it was dark", "agent": "scientist", "night": "20261123-010203"}


def test_without_proposals(call: Call) -> None:
    assert call("accept").stdout == "Nothing is proposed.\n"
    assert json.loads(call("accept", "--json").stdout) == []


def test_a_proposal_is_listed_shown_and_accepted(lab: Lab, call: Call) -> None:
    proposals.write(lab, "skill", "seeing", SKILL, ABOUT)
    listed = call("accept").stdout
    assert all(word in listed for word in ("skill seeing", "why: it was dark", "by scientist", "nightlab accept NAME"))
    shown = call("accept", "seeing", "--show").stdout
    assert "+description: How to see." in shown
    assert "\x1b" not in shown
    assert not (lab.skills / "seeing").exists()
    assert "proposed by agents, not active: skill seeing" in call("doctor").stdout
    done = call("accept", "seeing")
    assert (done.exit_code, "accepted: skills/seeing/SKILL.md" in done.stdout) == (0, True)
    assert Skill.load(lab, "seeing").description == "How to see."
    assert proposals.open_ones(lab) == []
    log = ["git", "-C", str(lab.root), "log", "-1", "--format=%s|%b", "--name-only"]
    said = subprocess.run(log, capture_output=True, text=True, check=True).stdout
    assert "Accept the skill seeing|it was dark" in said
    assert "Nightlab-Proposed-By: scientist" in said
    assert "skills/seeing/SKILL.md" in said


def test_a_committed_proposal_leaves_with_its_acceptance(lab: Lab, call: Call) -> None:
    made = proposals.write(lab, "skill", "seeing", SKILL, ABOUT)
    git = ["git", "-C", str(lab.root)]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "night"], check=True)
    value = json.loads(call("accept", "skill/seeing", "--json").stdout)
    assert (value["accepted"], value["target"]) == (True, "skills/seeing/SKILL.md")
    assert not made.folder.exists()
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_what_cannot_be_accepted(lab: Lab, call: Call) -> None:
    made = proposals.write(lab, "skill", "seeing", SKILL, ABOUT)
    unknown = call("accept", "seing")
    assert (unknown.exit_code, "did you mean seeing?" in unknown.stderr) == (2, True)
    made.path.write_text("broken")
    assert "problem: no front matter" in call("accept").stdout
    broken = call("accept", "seeing")
    assert broken.exit_code == 2
    assert not (lab.skills / "seeing").exists()
