"""`nightlab judge` with a judge that reads: what it may cost, what it did cost, and what stops it before anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from nightlab.cli import cli
from nightlab.testing import FakeMessagesAPI, judging

from ..judging.conftest import Answered
from ..judging.reading import good, two_dozen


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answered:
    """A lab with one answered experiment that Claude judges."""
    root = tmp_path / "lab"
    root.mkdir()
    (root / "pyproject.toml").write_text("[tool.nightlab]\n")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    return two_dozen(root / "experiments" / "exp_001_joy")


def call(study: Answered, *words: str) -> tuple[int, str]:
    """Run the command in the lab."""
    done = CliRunner().invoke(cli, ["--lab", str(study.folder.parents[1]), *words], prog_name="nightlab")
    return done.exit_code, done.output


def test_the_cost_is_told_before_and_after(study: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeMessagesAPI(good(study)) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        code, told = call(study, "judge", "exp_001", "--dry-run")
        assert code == 0, told
        assert "24 of 24 judgments by claude-haiku-5-5 are missing, 7 known items among them; at most $0.0" in told
        assert api.asked() == []
        assert not (study.folder / "judgments.jsonl").exists()
        code, told = call(study, "judge", "exp_001", "--yes")
        assert code == 0, told
        assert "24 judged by claude-haiku-5-5, 0 of them not available in part, 0 missing of 24; $0.00" in told
        code, told = call(study, "judge", "exp_001", "--dry-run")
        assert "0 of 24 judgments" in told


def test_too_little_money_stops_before_anything_is_asked(study: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeMessagesAPI(good(study)) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        code, _ = call(study, "judge", "exp_001", "--usd", "0.001")
        assert code != 0
        assert api.asked() == []


def test_without_a_key_nothing_is_written(study: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    code, told = call(study, "judge", "exp_001")
    assert code == 4, told
    assert "ANTHROPIC_API_KEY is not set" in told
    assert not (study.folder / "judgments.jsonl").exists()


def test_what_the_first_judge_leaves_missing_counts_though_the_second_is_done(
    study: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = {"by": "claude", "model": "claude-sonnet-5-5", "share": 1.0}
    two = two_dozen(study.folder.parent / "exp_002_two", second=second)
    right, wrong = good(two), judging(lambda packet: {"joy": 5, "gloom": 3})
    with FakeMessagesAPI(lambda body: (right if "sonnet" in body["model"] else wrong)(body)) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        code, told = call(two, "judge", "exp_002", "--yes")
    assert "24 judged by claude-sonnet-5-5, 0 of them not available in part, 0 missing of 24" in told
    assert "24 missing of 24" in told
    assert code == 1
