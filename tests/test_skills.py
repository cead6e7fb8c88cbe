"""Skills follow the Agent Skills format; ours agree with its own validator about what is right and wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import skills_ref

from nightlab import skills
from nightlab.errors import SpecError, UsageError
from nightlab.lab import Lab, shipped
from nightlab.skills import Skill


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    return Lab.open(tmp_path)


def write(lab: Lab, front: str, folder: str = "looking", body: str = "Look first.\n") -> Path:
    path = lab.root / "skills" / folder / "SKILL.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\n{front}---\n{body}")
    return path


def test_a_skill_is_read(lab: Lab) -> None:
    path = write(
        lab,
        "name: looking\ndescription: How to look.\nlicense: MIT\ncompatibility: any\n"
        'allowed-tools: Read Grep\nmetadata:\n  version: "1"\n',
    )
    skill = Skill.load(lab, "looking")
    assert (skill.name, skill.description, skill.body) == ("looking", "How to look.", "Look first.")
    assert (skill.license, skill.compatibility, skill.allowed_tools) == ("MIT", "any", "Read Grep")
    assert skill.metadata == {"version": "1"}
    assert skills_ref.validate(path.parent) == []


@pytest.mark.parametrize(
    ("front", "what"),
    [
        ("name: looking\ndescription: d\nwhen_to_use: x\n", "unknown key 'when_to_use'"),
        ("name: looking\ndescription: d\nlicence: x\n", "unknown key 'licence'"),
        ("description: d\n", "lacks name"),
        ("name: looking\n", "lacks description"),
        (f"name: looking\ndescription: {'d' * 1025}\n", "1025 characters"),
        ("name: seeing\ndescription: d\n", "not the folder's"),
        ("name: Looking\ndescription: d\n", "cannot be a skill's name"),
        ("name: look--ing\ndescription: d\n", "cannot be a skill's name"),
        ("name: -looking\ndescription: d\n", "cannot be a skill's name"),
        (f"name: {'l' * 65}\ndescription: d\n", "65 characters"),
        (f"name: looking\ndescription: d\ncompatibility: {'c' * 501}\n", "501 characters"),
    ],
)
def test_a_wrong_skill_is_refused_here_and_by_the_format_s_validator(lab: Lab, front: str, what: str) -> None:
    path = write(lab, front)
    with pytest.raises(SpecError) as caught:
        Skill.load(lab, "looking")
    assert what in caught.value.what
    assert skills_ref.validate(path.parent) != []


def test_what_only_we_refuse(lab: Lab) -> None:
    write(lab, "name: looking\ndescription: d\n", body="\n")
    with pytest.raises(SpecError, match="no text"):
        Skill.load(lab, "looking")
    write(lab, "name: looking\ndescription: d\nmetadata: {version: 1}\n")
    with pytest.raises(SpecError, match="no mapping of texts"):
        Skill.load(lab, "looking")
    with pytest.raises(UsageError, match="lookin/"):
        Skill.load(lab, "lookin")


def test_the_index_has_one_line_for_each(lab: Lab) -> None:
    write(lab, "name: looking\ndescription: How to look.\n")
    text = skills.index(lab, ["looking", "judging"])
    first, second, third = text.splitlines()
    assert first == "Skills; read one with read_skill when its task comes up:"
    assert second == "- looking: How to look."
    assert third.startswith("- judging: ")
    assert skills.index(lab, []) == ""


def test_describe_tells_what_is_wrong(lab: Lab) -> None:
    write(lab, "name: seeing\ndescription: d\n")
    rows = {row["name"]: row for row in skills.describe(lab)}
    assert "not the folder's" in rows["looking"]["problem"]
    assert rows["judging"]["problem"] is None
    assert rows["judging"]["origin"] == "shipped"


@pytest.mark.parametrize("folder", sorted(p.name for p in shipped("skills").iterdir()))
def test_the_shipped_skills_are_valid_and_short(lab: Lab, folder: str) -> None:
    assert skills_ref.validate(shipped("skills") / folder) == []
    skill = Skill.load(lab, folder)
    assert len(skill.body.splitlines()) < 200
    assert "Use when" in skill.description
