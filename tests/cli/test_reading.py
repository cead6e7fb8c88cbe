"""The reading commands: brief, status, tail, inbox, config, where, doctor; as text and as JSON."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from nightlab.budget import Budget, Limits
from nightlab.cli.doctor import file_system
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.record.diary import Diary
from nightlab.record.mentions import Mention
from tests.judging.conftest import build

NIGHT = "20261122-230000"
Call = Callable[..., Result]


@pytest.fixture
def night(lab: Lab) -> EventLog:
    """A night that ended, with a question."""
    log = EventLog(lab.night(NIGHT))
    log.emit("night_started", night=NIGHT, brain="playbook", limits={"usd": 20.0})
    log.emit("tool_started", call="c1", tool="ask")
    log.emit("tool_finished", call="c1", tool="ask", ok=True)
    log.emit("night_ended", state="finished", why="the queue is done")
    question = Mention("", "you", "Go on with Qwen?", "it costs a night", ("yes", "no"), "no", "little")
    Diary(lab.diary).ask(NIGHT, question)
    return log


def test_bare_command_is_the_brief_in_a_lab_and_the_help_outside(
    call: Call, night: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call().output == call("brief").output
    assert "Needs you" in call().output
    monkeypatch.chdir(tmp_path)
    assert call().output.startswith("Usage: nightlab")
    assert call().exit_code == 0


def test_lab_option_works_from_anywhere(
    call: Call, night: EventLog, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert NIGHT in call("--lab", str(lab.root), "brief").output
    assert call("--lab", str(tmp_path), "brief").exit_code == 2
    assert call("--lab", str(tmp_path)).exit_code == 2


@pytest.mark.parametrize("columns", ["48", "60", "200"])
def test_brief_keeps_to_the_columns(call: Call, night: EventLog, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = call("brief").output.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= min(60, int(columns))


def test_brief_as_json(call: Call, night: EventLog) -> None:
    told = json.loads(call("brief", "--json").output)
    assert (told["night"], told["state"]) == (NIGHT, "finished")
    assert told["questions"][0]["went_on_with"] == "no"


def test_unknown_night_names_the_nearest(call: Call, night: EventLog) -> None:
    result = call("brief", "--night", "20261122-230001")
    assert result.exit_code == 2
    assert f"did you mean {NIGHT}?" in result.output


def test_status(call: Call, night: EventLog, lab: Lab) -> None:
    told = json.loads(call("status", "--json").output)
    assert (told["state"], told["questions"], told["servers"]) == ("finished", 1, 0)
    assert "finished" in call("status").output


def test_status_without_a_night(call: Call) -> None:
    assert "No night yet" in call("status").output
    assert json.loads(call("status", "--json").output)["night"] is None


def test_tail_prints_one_line_per_event(call: Call, night: EventLog) -> None:
    lines = call("tail").output.splitlines()
    assert len(lines) == 4
    assert "night ended" in lines[-1]
    assert "the queue is done" in lines[-1]
    assert len(call("tail", "-n", "1").output.splitlines()) == 1
    assert call("tail", "-n", "0").output == ""
    kinds = [json.loads(line)["kind"] for line in call("tail", "--json").output.splitlines()]
    assert kinds == ["night_started", "tool_started", "tool_finished", "night_ended"]


def test_tail_bounds_and_cleans_what_models_wrote(call: Call, lab: Lab) -> None:
    EventLog(lab.night(NIGHT)).emit("turn", said="\x1b[31mred\x1b[0m\n" + "x" * 5000, calls=[])
    [line] = call("tail").output.splitlines()
    assert "\x1b" not in line
    assert len(line) < 400


def test_tail_without_a_night_is_wrong_usage(call: Call) -> None:
    assert call("tail").exit_code == 2


def test_tail_follows_until_the_night_is_over(lab: Lab) -> None:
    """A night of another process: its lock is held by this one while the events come."""
    from nightlab.night.lock import LabLock

    lock = LabLock(lab.lock)
    lock.acquire(NIGHT)
    log = EventLog(lab.night(NIGHT))
    log.emit("night_started", limits={})
    command = [sys.executable, "-u", "-m", "nightlab", "tail", "-f"]
    with subprocess.Popen(command, cwd=lab.root, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        assert "night started" in tail.stdout.readline()
        log.emit("wrap_up", why="the queue is done")
        assert "wrap up" in tail.stdout.readline()
        log.emit("night_ended", state="finished", why="the queue is done")
        assert "night ended" in tail.stdout.readline()
        assert tail.wait(60) == 0
    lock.release()


def test_tail_of_a_dead_night_does_not_wait(lab: Lab, call: Call) -> None:
    EventLog(lab.night(NIGHT)).emit("night_started", limits={})
    start = time.monotonic()
    assert call("tail", "-f").exit_code == 0
    assert time.monotonic() - start < 30


def test_inbox(call: Call, night: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "48")
    text = call("inbox").output
    assert text.startswith("q1  Go on with Qwen?")
    assert "went on with: no" in text
    assert max(map(len, text.splitlines())) <= 48
    assert json.loads(call("inbox", "--json").output)[0]["id"] == "q1"


def test_empty_inbox_says_so(call: Call) -> None:
    assert call("inbox").output == "Nothing is waiting for you.\n"
    assert json.loads(call("inbox", "--json").output) == []


def test_config_names_every_origin(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLAB_HOURS", "3")
    told = json.loads(call("config", "--json").output)
    assert told["hours"]["origin"] == "NIGHTLAB_HOURS"
    assert told["hours"]["value"] == 3.0
    assert told["brain"]["origin"] == "pyproject.toml"
    assert told["turns"]["origin"] == "default"
    assert "NIGHTLAB_HOURS" in call("config").output
    monkeypatch.setenv("COLUMNS", "48")
    lines = call("config").output.splitlines()
    assert "    from NIGHTLAB_HOURS" in lines
    assert max(map(len, lines)) <= 48


def test_where_tells_the_layer(call: Call, lab: Lab) -> None:
    lab.agents.mkdir(exist_ok=True)
    (lab.agents / "mine.md").write_text("x")
    assert "agents/mine.md  lab" in call("where", "agents/mine.md").output
    assert json.loads(call("where", "tools/wait.py", "--json").output)["tools/wait.py"]["origin"] == "shipped"
    assert "tools/wait.py  shipped" in call("where", "tools").output
    result = call("where", "tools/wiat.py")
    assert result.exit_code == 2
    assert "did you mean tools/wait.py?" in result.output
    assert call("where", "nonsense/x").exit_code == 2


def test_doctor_of_a_whole_lab(call: Call) -> None:
    checks = json.loads(call("doctor", "--json").output)
    assert {"git knows who you are", "brain: playbook, which needs no key"} <= {check["what"] for check in checks}
    assert {check["word"] for check in checks} <= {"ok", "warn", "fix"}
    assert all(check["command"] for check in checks if check["word"] != "ok")


def test_doctor_names_the_commands_that_fix(call: Call, lab: Lab, home: Path) -> None:
    (home / ".gitconfig").unlink()
    (lab.root / "pyproject.toml").write_text('[tool.nightlab]\nbrain = "claude"\n')
    result = call("doctor")
    assert result.exit_code == 4
    assert "git config --global user.name" in result.output
    assert "export ANTHROPIC_API_KEY" in result.output


def test_doctor_says_whether_the_judges_of_the_plans_can_be_asked(
    call: Call, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(lab.experiments / "exp_008_joy", judge={"by": "claude"})
    build(lab.experiments / "exp_009_joy", judge={"by": "openai", "model": "lab/judge"})
    said = call("doctor").output
    assert "warn  exp_008_joy: the judge is claude, and ANTHROPIC_API_KEY is not set" in said
    assert "warn  exp_009_joy: the judge is openai, and the lab has no judge_url" in said
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
        (lab.root / "pyproject.toml").write_text(f'[tool.nightlab]\nbrain = "claude"\njudge-url = "{place}"\n')
        said = call("doctor").output
    assert "ok    brain: claude, and ANTHROPIC_API_KEY is set" in said
    assert "ok    exp_008_joy: the judge is claude, and it can be asked" in said
    assert "ok    exp_009_joy: the judge is openai, and it can be asked" in said
    assert f"warn  exp_009_joy: the judge is openai, and nothing answers at {place}" in call("doctor").output


def test_doctor_lists_what_hides_a_shipped_file(call: Call, lab: Lab) -> None:
    lab.tools.mkdir()
    (lab.tools / "wait.py").write_text("mine")
    (lab.tools / "new.py").write_text("mine")
    assert "tools/: 1 differ from the shipped ones: wait.py; 1 of the lab's own" in call("doctor").output


def test_file_system_is_that_of_the_innermost_mount() -> None:
    mounts = "/dev/a / ext4 rw 0 0\nserver:/h /home nfs4 rw 0 0\n/dev/b /home/ada\\040x xfs rw 0 0\n"
    assert file_system(Path("/home/bob/lab"), mounts) == "nfs4"
    assert file_system(Path("/home/ada x/lab"), mounts) == "xfs"
    assert file_system(Path("/srv"), mounts) == "ext4"


def test_cost_of_the_ledger_is_shown(call: Call, night: EventLog, lab: Lab) -> None:
    budget = Budget(lab.night(NIGHT) / "ledger.jsonl", Limits())
    budget.reserve("turn", usd=1.5, who="orchestrator").commit(usd=1.25)
    budget.close()
    assert "$1.25" in call("status").output
    assert json.loads(call("brief", "--json").output)["usd"] == 1.25


def test_closed_pipe_is_no_traceback(lab: Lab, night: EventLog) -> None:
    for number in range(300):
        night.emit("turn", said=str(number) * 200)
    command = f"{sys.executable} -m nightlab tail -n 300 | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=lab.root, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
