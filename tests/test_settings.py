"""Settings: where each value comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightlab.errors import ConfigError
from nightlab.settings import KEYS, load


def lab(tmp_path: Path, table: str) -> Path:
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[tool.nightlab]\n{table}\n")
    return path


def test_every_layer_wins_over_the_one_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lab(tmp_path, 'human = "ada"\nhours = 2\nbudget-usd = 3.5\n')
    monkeypatch.setenv("NIGHTLAB_HOURS", "4")
    config = load(path, {"budget_usd": 7, "turns": None})
    assert (config.human, config.origin("human")) == ("ada", "pyproject.toml")
    assert (config.hours, config.origin("hours")) == (4.0, "NIGHTLAB_HOURS")
    assert (config.budget_usd, config.origin("budget_usd")) == (7.0, "--budget-usd")
    assert (config.turns, config.origin("turns")) == (500, "default")
    assert {name for name, _ in config.items()} == set(KEYS)
    assert config.snapshot()["human"] == "ada"
    with pytest.raises(AttributeError):
        _ = config.nothing


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("hourz = 2", "did you mean hours"),
        ("zzzzqqq = 2", "nightlab config"),
        ('hours = "soon"', "must be a number"),
        ("hours = -1", "at least 0"),
        ("hours = nan", "must be a number"),
        ("turns = 1.5", "whole number"),
        ("human = 3", "must be a text"),
        ("human = true", "must be a text"),
        ('brain = "gpt"', "one of playbook, claude"),
        ("hours = [1]", "must be a number"),
        ("= 1", "malformed TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, table: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(lab(tmp_path, table))
    assert says in str(caught.value)
    assert "pyproject.toml" in str(caught.value)


def test_an_unknown_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLAB_BUDGT_USD", "1")
    with pytest.raises(ConfigError, match="unknown setting") as caught:
        load(lab(tmp_path, ""))
    assert "did you mean budget_usd" in str(caught.value)


def test_the_table_must_be_a_table(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool]\nnightlab = 3\n")
    with pytest.raises(ConfigError, match="must be a table"):
        load(path)
