"""Checkpoints in a real Postgres server: a worker killed, a restart in mid-night, the server gone for good."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightlab.brains import Scripted
from nightlab.errors import NotSetUp
from nightlab.events import EventLog
from nightlab.lab import Lab
from nightlab.night import Options, preflight, run_night
from nightlab.night.keeping import kept
from nightlab.night.night import run_one
from nightlab.record.diary import Diary
from tests.night import forked
from tests.night.conftest import git, make_lab

pytestmark = [pytest.mark.real, pytest.mark.slow]
MINIPG = str(Path(__file__).parents[1] / "minipg.sh")

NIGHT = """
import os, subprocess, sys
from pathlib import Path
from nightlab.brains import Scripted
from nightlab.lab import Lab
from nightlab.night import Options, run_night

lab, mode, at, restart, seen = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:], 0

def on_event(row):
    global seen
    seen += 1
    if seen == at and mode == "kill":
        os.kill(os.getpid(), 9)
    if seen == at and mode == "restart":
        subprocess.run(restart, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

question = dict(question="Which way?", why="w", options=["a", "b"], went_on_with="a", cost_of_wrong="c")
note = {"call": "note_scaffolding", "input": {"note": "a note"}}
end = {"call": "end_night", "input": {"reason": "done"}}
brain = Scripted(["look", [{"call": "ask", "input": question}, note], [note], [end]])
result = run_night(Lab.open(Path(lab)), Options(hours=1), brain=brain, on_event=on_event)
print(result.state, result.reason)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Path, int]]:
    """The URL, folder and port of a server of our own; in a folder that its user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="nightlab-pg-", dir="/tmp"))
    folder.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    up = [MINIPG, "up", str(folder), str(port)]
    url = subprocess.run(up, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    yield url, folder, port
    subprocess.run([MINIPG, "down", str(folder), str(port)], timeout=60, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def lab_on(url: str, root: Path) -> Lab:
    return make_lab(root, table=f'checkpoints = "{url}"')


def run(lab: Lab, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = folder / "night.py"
    script.write_text(NIGHT)
    return forked.run(script, lab.root, *words)


def sound(lab: Lab) -> None:
    """Everything was done once."""
    [night] = lab.night_names()
    assert [q.text for q in Diary(lab.diary).questions()] == ["Which way?"]
    assert lab.notes.read_text().count("a note") == 2
    assert lab.diary.read_text().count(f"<!-- night: {night} -->") == 1
    assert git(lab.root, "status", "--porcelain") == ""
    assert not lab.checkpoints.exists()


def test_a_worker_killed_goes_on_from_postgres(server: tuple[str, Path, int], tmp_path: Path) -> None:
    for at in (3, 8, 12):
        lab = lab_on(server[0], tmp_path / f"lab{at}")
        killed = run(lab, tmp_path, "kill", str(at))
        assert killed.returncode == -signal.SIGKILL, killed.stdout
        again = run(lab, tmp_path, "go", "0")
        assert again.stdout == "finished done\n", again.stderr
        sound(lab)


def test_labs_on_one_server_keep_their_places_apart(server: tuple[str, Path, int], tmp_path: Path) -> None:
    """Nights of two labs that begin in the same second have the same name: the second must not find the first's end."""
    brain = [[{"call": "end_night", "input": {"reason": "done"}}]]
    for name in ("one", "two"):
        lab = lab_on(server[0], tmp_path / name)
        result = run_one(lab, "20261125-010203", Options(hours=1), brain=Scripted(brain)).result
        assert (result.state, result.reason) == ("finished", "done")


def test_a_restart_of_the_server_in_mid_night_costs_nothing(server: tuple[str, Path, int], tmp_path: Path) -> None:
    url, folder, port = server
    lab = lab_on(url, tmp_path / "lab")
    done = run(lab, tmp_path, "restart", "7", MINIPG, "restart", str(folder), str(port))
    assert done.stdout == "finished done\n", done.stderr
    sound(lab)


def test_a_server_that_is_not_there_is_refused_without_its_password(tmp_path: Path) -> None:
    lab = lab_on("postgresql://app:geheim99@127.0.0.1:9/app", tmp_path / "lab")
    with pytest.raises(NotSetUp, match="no checkpoints in Postgres") as caught:
        preflight(lab, Options())
    assert "geheim99" not in str(caught.value)
    assert "app:***@127.0.0.1" in str(caught.value)


async def test_a_server_that_stays_away_is_done_without(tmp_path: Path) -> None:
    lab = lab_on("postgresql://app:geheim99@127.0.0.1:9/app", tmp_path / "lab")
    events = EventLog(lab.night("n"))

    async def work(saver: object) -> str:
        return type(saver).__name__

    assert await kept(lab, "n", events, work, pauses=(0.01,)) == "InMemorySaver"
    [told] = [row for row in events.read() if row["kind"] == "degradation"]
    assert "keeps its place in its files alone" in told["what"]
    assert "geheim99" not in str(told)


def test_the_password_is_in_no_event(server: tuple[str, Path, int], tmp_path: Path) -> None:
    lab = lab_on(server[0].replace("app@", "app:geheim99@"), tmp_path / "lab")
    result = run_night(lab, Options(hours=1), brain=Scripted([[{"call": "end_night", "input": {"reason": "done"}}]]))
    assert result.state == "finished"
    assert "geheim99" not in (lab.night(result.night) / "events.jsonl").read_text()
