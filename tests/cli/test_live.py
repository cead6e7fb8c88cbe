"""What a running night shows: a moving picture on a terminal only, plain lines and a heartbeat elsewhere."""

import os
import pty
import subprocess
import sys
import time
from typing import Any

import pytest

from nightlab.cli.lines import event_line
from nightlab.cli.live import Picture, shown

EVENTS: list[dict[str, Any]] = [
    {"kind": "night_started", "night": "n1"},
    {"kind": "server_starting", "server": "llama-1", "model": "llama"},
    {"kind": "server_ready", "server": "llama-1", "model": "llama"},
    {"kind": "sweep_started", "experiment": "exp_001_x", "models": ["llama"], "planned": 63, "missing": 63},
    {
        "kind": "sweep_progress",
        "experiment": "exp_001_x",
        "models": ["llama"],
        "planned": 63,
        "answered": 21,
        "failed": 2,
    },
    {"kind": "turn", "said": "I wait.", "usd": 0.25},
    {"kind": "waiting", "call": "c1", "handles": ["sweep:exp_001_x:llama"]},
]
SCRIPT = """
import time
from nightlab.cli.live import shown
with shown() as watch:
    for event in {events}:
        watch(event)
    time.sleep(0.6)
print("over")
"""


def told(**event: Any) -> dict[str, Any]:
    return {"v": 1, "t": "2026-11-22T23:00:00.000Z", **event}


def test_picture_folds_what_goes_on_now() -> None:
    picture = Picture()
    for event in EVENTS:
        picture.see(event)
    assert picture.servers == {"llama": "ready"}
    assert picture.sweeps == {"llama": (21, 2, 63)}
    assert picture.usd == 0.25
    assert "waiting for sweep:exp_001_x:llama for" in picture.now()
    picture.see({"kind": "woke", "call": "c1"})
    assert "thinking" in picture.now()


def test_plain_lines_come_at_once_and_quiet_events_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    with shown() as watch:
        for event in EVENTS:
            watch(told(**event))
        watch(told(kind="tool_finished", call="c1", tool="wait", ok=True))
        watch(told(kind="tool_finished", call="c2", tool="wait", ok=False, what="it broke"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert "it broke" in lines[-1]
    assert "\x1b" not in "".join(lines)


def test_heartbeat_says_what_is_done_and_for_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(beat=0.05) as watch:
        watch(told(kind="tool_started", call="c1", tool="run_sweep"))
        time.sleep(0.3)
    captured = capsys.readouterr()
    assert "alive" in captured.out
    assert "run_sweep for" in captured.out


def test_progress_for_programs_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(err=True) as watch:
        watch(told(kind="turn", said="hello"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


def on_a_terminal(environment: dict[str, str]) -> str:
    """What the script writes when its output is a pseudo-terminal."""
    master, slave = pty.openpty()
    command = [sys.executable, "-c", SCRIPT.format(events=EVENTS)]
    with subprocess.Popen(command, stdout=slave, stderr=slave, env={**os.environ, **environment}) as process:
        os.close(slave)
        text = b""
        while chunk := _read(master):
            text += chunk
        process.wait(60)
    os.close(master)
    return text.decode()


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:
        return b""


def test_terminal_gets_a_moving_picture() -> None:
    text = on_a_terminal({"TERM": "xterm", "COLUMNS": "80"})
    assert "\x1b[" in text
    assert "21/63" in text
    assert "failed 2" in text
    assert "llama ready" in text
    assert text.rstrip().endswith("over")


def test_dumb_terminal_gets_plain_lines() -> None:
    text = on_a_terminal({"TERM": "dumb"})
    assert "\x1b" not in text
    assert "server ready  llama" in text


def test_no_color_is_honoured() -> None:
    text = on_a_terminal({"TERM": "xterm-256color", "NO_COLOR": "1", "COLUMNS": "80"})
    assert "21/63" in text
    assert not [code for code in ("\x1b[31m", "\x1b[32m", "\x1b[38;") if code in text]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (told(kind="turn", said="", calls=["ask"]), "turn"),
        (told(kind="night_ended", state="finished", why="done"), "night ended  done finished"),
        (told(kind="sweep_finished", planned=63, seconds=1.25, stopped=[]), "sweep finished  planned=63"),
        (told(kind="canary", passed=True, share=0.123456), "canary  passed=true share=0.1235"),
    ],
)
def test_event_line(event: dict[str, Any], line: str) -> None:
    assert event_line(event).partition(" ")[2].strip() == line


def test_event_without_a_time_is_still_a_line() -> None:
    assert event_line({"kind": "error", "what": "x"}) == "--:--:-- error  x"
