"""A lab: its paths, and the two layers of its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightlab.errors import LabError, UsageError
from nightlab.lab import Lab, look_up, look_up_all, shipped


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "pyproject.toml").write_text("[tool.nightlab]\n")
    for name in ("exp_001_first", "exp_012_later", "notes"):
        (tmp_path / "experiments" / name).mkdir(parents=True)
    return Lab.open(tmp_path)


def test_a_lab_is_found_from_below(lab: Lab) -> None:
    assert Lab.find(lab.experiments / "exp_001_first").root == lab.root
    assert lab.relative(lab.diary) == "state/research_diary.md"
    assert lab.relative(Path("/elsewhere/x")) == "/elsewhere/x"


def test_no_lab_is_said(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no lab here"):
        Lab.find(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\nname='x'\n")
    with pytest.raises(LabError, match="not a lab"):
        Lab.open(tmp_path)


@pytest.mark.parametrize("name", ["exp_001_first", "exp_001", "001", "1"])
def test_an_experiment_goes_by_name_or_number(lab: Lab, name: str) -> None:
    assert lab.experiment(name).name == "exp_001_first"


def test_an_unknown_experiment_names_the_nearest(lab: Lab) -> None:
    with pytest.raises(UsageError, match="no experiment") as caught:
        lab.experiment("exp_012_latr")
    assert "did you mean exp_012_later" in str(caught.value)
    with pytest.raises(UsageError) as caught:
        lab.experiment("7")
    assert "known: exp_001_first, exp_012_later" in str(caught.value)


def test_two_experiments_of_one_number_are_refused(lab: Lab) -> None:
    (lab.experiments / "exp_012_other").mkdir()
    with pytest.raises(LabError, match="exp_012_later and exp_012_other have one number"):
        lab.experiment("1")


def test_nights_are_ordered_by_name(lab: Lab) -> None:
    assert lab.latest_night() is None
    for name in ("20260102-000000", "20260101-000000"):
        lab.night(name).mkdir(parents=True)
    assert lab.latest_night() == "20260102-000000"


def test_the_labs_own_file_hides_the_shipped_one(lab: Lab) -> None:
    assert look_up(lab, "agents", "orchestrator.md").origin == "shipped"
    lab.agents.mkdir()
    (lab.agents / "orchestrator.md").write_text("mine")
    found = look_up(lab, "agents", "orchestrator.md")
    assert (found.origin, found.path) == ("lab", lab.agents / "orchestrator.md")
    every = look_up_all(lab, "agents", "*.md")
    assert every["orchestrator.md"].origin == "lab"
    assert every["judge.md"].origin == "shipped"


def test_a_lookup_stays_in_its_folder(lab: Lab) -> None:
    (lab.agents).mkdir()
    with pytest.raises(UsageError, match="no agents/"):
        look_up(lab, "agents", "../pyproject.toml")
    with pytest.raises(UsageError) as caught:
        look_up(lab, "agents", "orchestrater.md")
    assert "did you mean agents/orchestrator.md" in str(caught.value)
    with pytest.raises(UsageError, match="no kind"):
        look_up(lab, "secrets", "x")


def test_a_lab_that_ships_itself_has_one_layer() -> None:
    own = Lab.open(shipped())
    assert look_up(own, "agents", "orchestrator.md").origin == "lab"
