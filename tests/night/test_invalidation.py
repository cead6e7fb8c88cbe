"""Invalidation from the mark to the record: what rested on wrong rows is struck; only their cells are asked again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from nightlab.cli import cli
from nightlab.errors import UsageError
from nightlab.events import EventLog
from nightlab.evidence.cited import claims_of, verdicts_of
from nightlab.evidence.design import read_design
from nightlab.evidence.reproduce import rebuild
from nightlab.evidence.withdrawn import read_withdrawn
from nightlab.experiments.samples import Samples
from nightlab.files import JsonLines
from nightlab.judging.invalid import Selection, mark
from nightlab.lab import Lab
from nightlab.night.invalidation import invalidate
from nightlab.night.reporting import analyze_experiment, report_experiment
from nightlab.record.diary import Diary
from nightlab.record.state import ResearchState
from nightlab.servers.manifest import Manifest, save
from tests.evidence.conftest import SERVERS, Made, toy

from .conftest import git, make_lab

NAME = "exp_001_toy"
LLAMA = Selection(samples={"server": "srv-llama"})
WHY = "the canary failed when it was asked again"
PERSON = "I do not believe `exp_001/c1`: it is one adapter.\n"


def _manifest(server: Mapping[str, object]) -> Manifest:
    fixed = {"key": "k", "night": "n", "model_path": "p", "engine": "embedded", "job": "j", "port": 1, "flags": []}
    own = {name: server[name] for name in ("id", "model", "model_id", "served_name", "place", "state", "canary")}
    return Manifest.model_validate({**own, **fixed, "conditions": {}, "started": "2026-11-23T02:00:00.000Z"})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with a finished, reported and recorded experiment, and a person's remark about its first claim."""
    lab = make_lab(
        tmp_path_factory.mktemp("finished") / "lab", queue=f"- [x] {NAME}: the first\n", table="bootstrap = 400\n"
    )
    toy(lab.experiments / NAME)
    for server in SERVERS:
        save(lab, _manifest(server))
    analyze_experiment(lab, NAME)
    report_experiment(lab, NAME)
    state, claims = ResearchState(lab.state_file), claims_of(lab, NAME)
    state.set_findings(claims)
    state.set_verdicts(verdicts_of(lab, NAME))
    found = "\n".join(f"- `{name}` {text}" for name, text in claims)
    Diary(lab.diary).add_entry("20261123-010203", "A night", {"Findings": found}, date="2026-11-23")
    for path in (lab.state_file, lab.diary):
        path.write_text(path.read_text() + "\n## Notes\n\n" + PERSON)
    git(lab.root, "add", "-A")
    git(lab.root, "commit", "-qm", "a night")
    return lab.root


@pytest.fixture
def lab(finished: Path, tmp_path: Path) -> Lab:
    """A copy of the finished lab."""
    return Lab.open(Path(shutil.copytree(finished, tmp_path / "lab", symlinks=True)))


def _claims(lab: Lab) -> dict[str, str]:
    rows = yaml.safe_load((lab.experiments / NAME / "claims.yaml").read_text())["claims"]
    return {row["id"]: row["verdict"] for row in rows}


def test_what_rested_on_marked_rows_is_struck_wherever_a_night_wrote_it_and_only_their_cells_are_asked_again(
    lab: Lab,
) -> None:
    folder = lab.experiments / NAME
    assert _claims(lab)["c1"] == "supported"
    before = (folder / "samples.jsonl").read_bytes()
    events = EventLog(lab.night("20261124-010203"))
    [found] = invalidate(lab, LLAMA, WHY, "canary", events=events)
    assert (found.samples, found.judgments, dict(found.again)) == (63, 63, {"llama": 63})
    assert {change.hypothesis for change in found.flipped} >= {"H1", "H4"}
    assert "c1" not in _claims(lab)
    assert (folder / "samples.jsonl").read_bytes() == before
    first = read_withdrawn(folder)[0]
    update = f"**Update** ({first.date}): {WHY}; H1 was supported and"
    assert (first.id, first.verdict, first.now) == ("c1", "supported", "undecided")
    for path in (lab.state_file, lab.diary):
        lines = [line for line in path.read_text().splitlines() if "`exp_001/c1`" in line]
        assert lines[0].startswith("- `exp_001/c1` ~~In ")
        assert f"~~ {update}" in lines[0]
        assert lines[-1] + "\n" == PERSON
    report = (folder / "report.md").read_text()
    assert f"~~**c1**: {first.sentence}~~ **Update**" in report
    assert f"invalidated: {WHY}: 63" in report
    missing = Samples(folder).missing(read_design(folder).cells)
    assert [cell.model for cell in missing] == ["llama"] * 63
    assert [(item.experiment, item.status) for item in ResearchState(lab.state_file).queue()] == [(NAME, "partial")]
    [event] = [row for row in events.read() if row["kind"] == "invalidation"]
    assert (event["samples"], event["by"], "H1" in event["flipped"]) == (63, "canary", True)


def test_a_claim_that_still_holds_gets_its_new_numbers_beside_the_old_ones(lab: Lab) -> None:
    [found] = invalidate(lab, Selection(samples={"model": "llama", "prompt": "creative-0"}), WHY, "canary")
    kept = [change for change in found.changes if not change.flipped and change.claim == "c1"]
    assert len(kept) == 1
    assert kept[0].instead != kept[0].sentence
    lines = [line for line in lab.state_file.read_text().splitlines() if line.startswith("- `exp_001/c1`")]
    assert "it still holds without these rows" in lines[0]
    assert lines[1] == f"- `exp_001/c1` {kept[0].instead}"
    assert not any(claim.id == "c1" for claim in read_withdrawn(lab.experiments / NAME))


@pytest.mark.slow
def test_new_answers_bring_a_claim_back_beside_the_struck_one(lab: Lab) -> None:
    folder = lab.experiments / NAME
    made = Made(folder, [], list(JsonLines(folder / "samples.jsonl").read()), [])
    judgments = list(JsonLines(folder / "judgments.jsonl").read())
    invalidate(lab, LLAMA, WHY, "canary")
    again = [row | {"server": "srv-gemma"} for row in made.samples if row["model"] == "llama"]
    keys = {row["key"] for row in again}
    JsonLines(folder / "samples.jsonl").append_many(again)
    JsonLines(folder / "judgments.jsonl").append_many([row for row in judgments if row["key"] in keys])
    analyze_experiment(lab, NAME)
    report_experiment(lab, NAME)
    assert _claims(lab)["c1"] == "supported"
    report = (folder / "report.md").read_text()
    assert "~~**c1**: " in report
    assert "**c1** (H1, supported" in report
    ResearchState(lab.state_file).set_findings(claims_of(lab, NAME))
    lines = [line for line in lab.state_file.read_text().splitlines() if line.startswith("- `exp_001/c1`")]
    assert ["~~" in line for line in lines] == [True, False]
    assert rebuild(folder) == []


def test_an_invalidation_that_was_cut_off_is_finished_by_the_same_call(lab: Lab) -> None:
    mark(lab.experiments / NAME, LLAMA, WHY, "canary")
    [found] = invalidate(lab, LLAMA, WHY, "canary")
    assert any(change.hypothesis == "H1" for change in found.flipped)
    assert "~~" in lab.diary.read_text()
    text = lab.diary.read_bytes(), lab.state_file.read_bytes()
    assert invalidate(lab, LLAMA, WHY, "canary") == []
    assert (lab.diary.read_bytes(), lab.state_file.read_bytes()) == text


@pytest.mark.slow
def test_the_command_shows_what_would_follow_then_does_and_commits_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab.root)
    words = ["invalidate", "--server", "srv-llama", "--why", WHY]
    shown = json.loads(CliRunner().invoke(cli, [*words, "--dry-run", "--json"]).output)
    assert git(lab.root, "status", "--porcelain") == ""
    assert "H1" in shown["experiments"][0]["flipped"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert "H1 supported -> undecided: c1" in result.output
    assert "asked again by the next sweep: 63 of llama" in result.output
    assert git(lab.root, "status", "--porcelain") == ""
    assert WHY in git(lab.root, "log", "-1", "--format=%B")
    again = CliRunner().invoke(cli, words)
    assert (again.exit_code, again.output) == (0, "all 63 samples with server srv-llama were marked before\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--server", "a", "--samples", "server=b"], "two different servers"),
        (["--server", "a", "--judgments", "b-1"], "samples or judgments"),
        (["--samples", "colour=red"], "no field 'colour'"),
        (["--samples", "since=yesterday"], "is no time"),
        ([], "say which rows"),
        (["--server", "srv-lama"], "no samples here have server 'srv-lama'\n  did you mean srv-llama?"),
        (["--samples", "model=llama condition=xx"], "condition here: base, "),
        (["--samples", "model=gemma server=srv-llama"], "never together"),
        (["--judgments", "judge=marker"], "did you mean markers?"),
        (["--judgments", "b-1"], "no judgments here have batch 'b-1'"),
        (["--judgments", "judge=markers", "--experiment", "exp_002"], "exp_002"),
    ],
)
def test_a_command_that_names_no_rows_is_refused_and_writes_nothing(
    lab: Lab, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab.root)
    for more in ([], ["--dry-run"]):
        result = CliRunner().invoke(cli, ["invalidate", *words, "--why", "x", *more])
        assert (result.exit_code, said in result.output) == (2, True), result.output
    assert git(lab.root, "status", "--porcelain") == ""


def test_a_batch_of_judgments_is_taken_out_and_its_answers_stay(lab: Lab) -> None:
    [found] = invalidate(lab, Selection(judgments={"judge": "markers"}), "labels were visible", "audit")
    assert (found.samples, found.judgments) == (0, 189)
    assert _claims(lab) == {}
    assert len(Samples(lab.experiments / NAME).keys()) == 189
    with pytest.raises(UsageError):
        invalidate(lab, Selection(judgments={"judge": "markers"}), " ", "audit", experiment="exp_009")
