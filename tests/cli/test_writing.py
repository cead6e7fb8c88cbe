"""The commands that change something; and wrong input: one sentence, exit 2, nothing written."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from nightlab.compute import open_place
from nightlab.compute.place import OVER, Job, JobSpec
from nightlab.lab import Lab
from nightlab.record.diary import Diary
from nightlab.record.mentions import Mention
from nightlab.record.state import ResearchState
from nightlab.servers.manifest import Manifest, save

Call = Callable[..., Result]
EXPERIMENT = "exp_001_first"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and ".git" not in p.parts}


@pytest.fixture
def experiment(lab: Lab) -> Path:
    """A small valid experiment of the lab, in its queue and committed."""
    folder = lab.experiments / EXPERIMENT
    (folder / "prompts").mkdir(parents=True)
    (folder / "conditions").mkdir()
    (folder / "config.yaml").write_text(
        "question: is there an effect?\nkind: sample\n"
        "factors:\n  models:\n    - {name: llama, id: nightlab/practice-llama, path: 'practice:llama',"
        " adapters: {persona_sarcasm: 'practice:llama/sarcasm'}}\n"
        "  conditions: conditions\n  prompts: prompts\n  replicates: 1\n"
        "sampling: {temperature: 0.7, max_tokens: 12, seed: 1}\njudge: {rubric: rubric.md, by: markers, repeats: 1}\n"
    )
    (folder / "conditions" / "full.yaml").write_text(
        "name: full\ndescription: all of it\nadapters:\n  - organism_name: persona_sarcasm\n    variant: default\n"
        "    layer_amplifications:\n      - {layers: all, is_relative: false,"
        " module_amplifications: [{modules: all, weight: 1.0}]}\n"
    )
    for name in ("one", "two"):
        text = f"name: {name}\nprompt_text: Say {name}.\n"
        (folder / "prompts" / f"{name}.yaml").write_text(text)
    shipped = Path(__file__).parents[2] / "experiments" / "exp_001_phase1_replication"
    (folder / "rubric.md").write_text((shipped / "rubric.md").read_text())
    ResearchState(lab.state_file).add_queue(EXPERIMENT, "a first look")
    git(lab.root, "add", "-A")
    git(lab.root, "commit", "-qm", "An experiment")
    return folder


def test_init_lists_and_makes_a_lab(call: Call, tmp_path: Path) -> None:
    result = call("init", str(tmp_path / "new"))
    assert result.exit_code == 0
    assert "+ state/RESEARCH_STATE.md" in result.output
    assert "+ pyproject.toml" in result.output
    assert (tmp_path / "new" / ".git").is_dir()


def test_init_dry_run_writes_nothing(call: Call, tmp_path: Path) -> None:
    assert "+ pyproject.toml" in call("init", "--dry-run", str(tmp_path / "new")).output
    assert not (tmp_path / "new").exists()


def test_init_in_an_existing_repository_lists_what_it_adds(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    monkeypatch.chdir(folder)
    text = call("init", ".").output
    assert "~ (adds lines to) pyproject.toml" in text
    assert "git -C . add -- " in text
    assert (folder / "pyproject.toml").read_text().startswith("[project]\nname = 'x'\n")
    assert "nothing to add" in call("init").output


def test_reply_is_in_the_diary_and_in_git(call: Call, lab: Lab) -> None:
    Diary(lab.diary).ask("20261122-230000", Mention("", "you", "Go on with Qwen?"))
    result = call("reply", "q1", "yes,", "but at most $6")
    assert result.exit_code == 0
    [question] = Diary(lab.diary).questions()
    assert [(reply.by, reply.text) for reply in question.replies] == [("you", "yes, but at most $6")]
    assert git(lab.root, "log", "-1", "--format=%s").strip() == "Reply to q1"
    assert "at most $6" in git(lab.root, "show", "HEAD:state/research_diary.md")
    assert git(lab.root, "status", "--porcelain") == ""
    assert call("inbox").output == "Nothing is waiting for you.\n"


@pytest.mark.parametrize("arguments", [("q7", "yes"), ("q1", "  "), ("q1",), ()])
def test_reply_that_answers_nothing_is_refused(call: Call, lab: Lab, arguments: tuple[str, ...]) -> None:
    Diary(lab.diary).ask("20261122-230000", Mention("", "you", "Go on with Qwen?"))
    before = files(lab.root)
    assert call("reply", *arguments).exit_code == 2
    assert files(lab.root) == before


def test_unknown_command_names_the_nearest(call: Call) -> None:
    result = call("breif")
    assert result.exit_code == 2
    assert "Did you mean brief?" in result.output
    assert "nightlab --help" in call("xyzzy").output


def test_outside_a_lab_every_command_says_so(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("brief", "run", "status", "config", "doctor", "inbox"):
        result = call(command)
        assert result.exit_code == 2
        assert result.output.startswith("nightlab: no lab here or above")


def test_debug_shows_the_traceback(lab: Lab, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nightlab"]
    plain = subprocess.run([*command, "brief"], cwd=tmp_path, capture_output=True, text=True, check=False)
    debug = subprocess.run([*command, "--debug", "brief"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


def test_run_without_a_key_is_three_lines_and_exit_4(call: Call, lab: Lab) -> None:
    (lab.root / "pyproject.toml").write_text('[tool.nightlab]\nbrain = "claude"\n')
    before = files(lab.root)
    result = call("run")
    assert result.exit_code == 4
    assert len(result.output.strip().splitlines()) <= 3
    for word in ("ANTHROPIC_API_KEY", "playbook", "nightlab demo"):
        assert word in result.output
    assert files(lab.root) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--until", "25:99"), "no clock time"),
        (("run", "--until", "07:00", "--hours", "3"), "both set the deadline"),
        (("run", "--hours", "-1"), "not in the range"),
        (("run", "--hours", "soon"), "not a valid float"),
        (("run", "--turns", "0"), "not in the range"),
        (("run", "--bugdet", "3"), "--budget"),
        (("sweep", "exp_002"), "no experiment 'exp_002'"),
        (("report", "exp_001_frist"), "did you mean exp_001_first?"),
        (("serve", "practice:lama"), "no 'practice:lama'"),
        (("serve", "practice:llama", "--adapter", "sarcasm"), "NAME=PATH"),
        (("condition", "show", "nothing.yaml", "--model", "20"), "no such file"),
        (("condition", "show", "nothing.yaml", "--model", "nowhere"), "no such file"),
        (("practice", "build", "out", "--model", "lama"), "no practice model 'lama'"),
        (("practice", "build", "experiments"), "something here already"),
        (("servers", "stop"), "name one server"),
        (("servers", "stop", "llama-1"), "no server or job 'llama-1' is running"),
        (("demo",), "inside another lab"),
    ],
)
def test_wrong_usage_is_one_sentence(
    call: Call, lab: Lab, experiment: Path, arguments: tuple[str, ...], said: str
) -> None:
    before = files(lab.root)
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "Traceback" not in result.output
    assert files(lab.root) == before


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("config.yaml", b"question: [", "config.yaml:"),
        ("config.yaml", b"question: \xff", "not UTF-8"),
        ("config.yaml", None, "no such file"),
        ("prompts/two.yaml", b"name: one\nprompt_text: x\n", "one"),
        ("prompts/two.yaml", b"name: two\nprompt_text: ''\n", "two.yaml"),
        ("conditions/full.yaml", b"name: full\ndescription: x\nadapters: [{organism_name: a", "full.yaml:"),
    ],
)
def test_broken_experiment_is_one_sentence(
    call: Call, lab: Lab, experiment: Path, path: str, text: bytes | None, said: str
) -> None:
    if text is None:
        (experiment / path).unlink()
    else:
        (experiment / path).write_bytes(text)
    before = files(lab.root)
    for arguments in (("sweep", EXPERIMENT, "--dry-run"), ("sweep", EXPERIMENT)):
        result = call(*arguments)
        assert result.exit_code == 2, result.output
        assert said in result.output
        assert len(result.output.strip().splitlines()) <= 2
    assert files(lab.root) == before


def test_unknown_setting_names_the_nearest(call: Call, lab: Lab) -> None:
    (lab.root / "pyproject.toml").write_text("[tool.nightlab]\nhuors = 3\n")
    result = call("brief")
    assert result.exit_code == 2
    assert "did you mean hours?" in result.output


def test_a_lab_without_git_does_not_run(call: Call, lab: Lab) -> None:
    (lab.root / ".git").rename(lab.root.parent / "gone")
    before = files(lab.root)
    result = call("run")
    assert result.exit_code == 2
    assert "git" in result.output
    assert files(lab.root) == before


def test_two_experiments_of_one_number_do_not_run(call: Call, lab: Lab, experiment: Path) -> None:
    (lab.experiments / "exp_001_second").mkdir()
    result = call("run")
    assert result.exit_code == 2
    assert "have one number" in result.output


def test_read_only_disk_is_one_sentence(lab: Lab) -> None:
    mount = f"mount --bind {lab.root} {lab.root} && mount -o remount,ro,bind {lab.root}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    command = f"{mount} && cd {lab.root} && {sys.executable} -m nightlab run"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1, "nothing is wrong in how it was called"
    assert "read-only" in done.stderr
    assert "Traceback" not in done.stderr


def test_sweep_dry_run_counts_and_writes_nothing(call: Call, lab: Lab, experiment: Path) -> None:
    before = files(lab.root)
    result = call("sweep", "1", "--dry-run")
    assert "4 cells, 0 answered, 4 missing" in result.output
    assert " = 4 cells" in result.output
    assert "Judge: markers: 4 judgments for nothing (it counts markers)" in result.output
    assert "not frozen yet" in result.output
    path = experiment / "config.yaml"
    plan = path.read_text()
    path.write_text(yaml.safe_dump({**yaml.safe_load(plan), "judge": {"by": "claude"}}))
    result = call("sweep", "1", "--dry-run")
    assert "claude-haiku-5-5: 4 judgments" in result.output
    assert "It cannot begin yet: the judge is claude, and ANTHROPIC_API_KEY is not set" in result.output
    assert "ANTHROPIC_API_KEY is not set" in call("sweep", "1").output
    path.write_text(plan)
    assert files(lab.root) == before


def test_condition_show_collapses_equal_layers(call: Call, experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(experiment / "conditions" / "full.yaml")
    monkeypatch.setenv("COLUMNS", "48")
    text = call("condition", "show", path, "--model", "practice:llama").output
    assert "full on practice:llama" in text
    assert max(map(len, text.splitlines())) <= 48
    told = json.loads(call("condition", "show", path, "--model", "3", "--json").output)
    assert told["weights"]["persona_sarcasm/default"] == {"attention": [1.0] * 3, "mlp": [1.0] * 3}


def test_practice_lists_its_models(call: Call) -> None:
    rows = json.loads(call("practice", "list", "--json").output)
    assert [row["name"] for row in rows] == ["llama", "gemma", "qwen"]
    assert all(row["layers"] >= 10 for row in rows)
    assert "practice:gemma/sarcasm" in call("practice", "list").output


def test_servers_of_a_quiet_lab(call: Call) -> None:
    assert call("servers").output == "No server is running.\n"
    assert json.loads(call("servers", "--json").output) == []
    assert call("servers", "stop", "--all").exit_code == 0


def left_behind(lab: Lab) -> Job:
    """The job of a server that a killed sweep left running."""
    job = open_place(lab).start(JobSpec(key="old-1", argv=("sleep", "300"), cwd=str(lab.root), lease_seconds=300))
    seen = Manifest(
        id="old-1", key="k", night="sweep-20261123-000000", model="old", model_id="org/old", model_path="/m",
        engine="embedded", served_name="old", place="local", job="old-1", port=8000, flags=[], conditions={},
        state="ready", started="2026-11-23T00:00:00.000Z",
    )  # fmt: skip
    save(lab, seen)
    return job


@pytest.mark.real
@pytest.mark.slow
def test_sweep_judge_and_report_by_hand(call: Call, lab: Lab, experiment: Path) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    left = left_behind(lab)
    swept = call("sweep", EXPERIMENT)
    assert swept.exit_code == 0, swept.output
    assert left.state() in OVER, "what a killed sweep left running is ended, so that a model is not in memory twice"
    assert "4 answered, 0 failed, 0 missing of 4" in swept.output
    assert call("servers").output == "No server is running.\n"
    assert "the plan is frozen" in git(lab.root, "log", "-1", "--format=%s")
    judged = call("judge", EXPERIMENT)
    assert judged.exit_code == 0, judged.output
    assert "4 judged" in judged.output
    reported = call("report", EXPERIMENT)
    assert reported.exit_code == 0, reported.output
    assert (experiment / "report.md").is_file()
    assert "everything is as it was" in call("reproduce", EXPERIMENT).output
    assert "4 answered, 0 missing" in call("sweep", EXPERIMENT, "--dry-run").output
