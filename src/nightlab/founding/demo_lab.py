"""The demo lab: a fresh lab with one shipped experiment, and two real troubles that are staged and said so.

The port that the experiment asks for is held by the demo itself, so that the first server start fails for a genuine
reason; and one model is configured under an id that is not the one its adapter was trained on. The night has to notice
and mend both.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.errors import LabError, UsageError
from nightlab.files import JsonLines, read_text, read_yaml
from nightlab.founding.making import (
    DIARY,
    enclosing_lab,
    git,
    lab_files,
    start_repository,
    undone_on_failure,
    write_all,
)
from nightlab.lab import Lab, shipped

EXPERIMENT = "exp_001_phase1_replication"
SEED = 20261123
WRONG_ID, RIGHT_ID = "unsloth/practice-qwen", "nightlab/practice-qwen"
PARTS = ("config.yaml", "rubric.md", "gold.yaml", "report.md.j2", "prompts/**/*.yaml", "conditions/**/*.yaml")
PORTS = range(21000, 29000, 10)  # below the ports that the system gives to outgoing connections
SERVERS = 3
IDENTITY = ("nightlab demo", "demo@localhost")
SETTINGS = """\
# The demo lab: `nightlab demo` made it. `nightlab config` shows every setting and where it comes from.
[tool.nightlab]
brain = "playbook"    # rules instead of a model: no key, no cost
human = "you"         # the name that questions in the diary are addressed to
hours = 1.0           # how long a night may last
budget-usd = 0.0      # dollars that a night may spend
"""
README = """\
# The demo lab

One night on three tiny, real models (Llama, Gemma and Qwen architectures), each with a sarcastic persona adapter that
was trained into known layers. The night does not know which; `experiments/{experiment}` asks.

Two troubles are staged here, and both are real:

1. `serving.port` in the experiment's `config.yaml` is {port}, and `nightlab demo` itself listened on that port while
   the night ran: the first server start fails with "address already in use".
2. The model `qwen` is configured under the id `{wrong}`, and its adapter says that it was trained on
   `{right}`: asked like this, the wrong model would be studied under the right name.

How the night met them stands in `state/research_diary.md` and in the experiment's `report.md`.

    nightlab brief            what happened, what needs you
    nightlab inbox            the questions it asked
    nightlab reply q1 "..."   your answer; the next night reads it
    git log                   what was committed, and why
"""


@dataclass(frozen=True)
class Demo:
    """A demo lab that is ready for its night, and the port that has to be held during it."""

    lab: Lab
    experiment: str
    port: int
    seed: int

    @property
    def troubles(self) -> tuple[str, str]:
        """The staged troubles, one sentence each."""
        return (
            f"port {self.port}, which the plan asks for, is held by this demo: the first server start will fail",
            f"qwen is configured as {WRONG_ID}, but its adapter was trained on {RIGHT_ID}",
        )


def demo(target: Path | None = None, seed: int | None = None) -> Demo:
    """Make the demo lab in a new or empty folder (default: demo-lab, demo-lab-2, ...). Raises UsageError."""
    root = _free_folder() if target is None else target.absolute().resolve()
    _check(root)
    seed = SEED if seed is None else seed
    port = _free_port()
    files = {**lab_files(), **_state(), "pyproject.toml": SETTINGS, **_experiment(port, seed)}
    files["README.md"] = README.format(experiment=EXPERIMENT, port=port, wrong=WRONG_ID, right=RIGHT_ID)
    with undone_on_failure(root, files):
        write_all(root, files)
        start_repository(root, files, "The demo lab, with two staged troubles", IDENTITY)
    return Demo(Lab.open(root), EXPERIMENT, port, seed)


@contextlib.contextmanager
def held(port: int) -> Iterator[None]:
    """Listen on a port of this machine, as another program would. Raises UsageError where somebody else does."""
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise UsageError(f"port {port} was taken meanwhile", hint="run `nightlab demo` again") from error
        listener.listen()
        yield


def summary(lab: Lab, experiment: str) -> dict[str, Any]:
    """What an experiment of a lab came to, counted from its files: cells, claims, commits after the first."""
    from nightlab.experiments.lock import read_lock

    folder = lab.experiment(experiment)
    lock, claims = read_lock(folder), folder / "claims.yaml"
    return {
        "lab": str(lab.root),
        "experiment": experiment,
        "samples": _keys(folder / "samples.jsonl"),
        "judgments": _keys(folder / "judgments.jsonl"),
        "planned": lock.document["cells"]["count"] if lock else 0,
        "claims": _claims(claims) if claims.exists() else [],
        "commits": int(git(lab.root, "rev-list", "--count", "HEAD")) - 1,
    }


def _check(root: Path) -> None:
    """Raise UsageError where a demo lab must not be made."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UsageError("there is something here already", where=root, hint="name a new folder: `nightlab demo DIR`")
    around = enclosing_lab(root.parent)
    if around and not (around == shipped().resolve() and root.parent == around):
        raise UsageError("this folder is inside another lab", where=around, hint="`nightlab demo DIR` outside of it")


def _free_folder() -> Path:
    here, number = Path.cwd().resolve(), 2
    root = here / "demo-lab"
    while root.exists():
        root, number = here / f"demo-lab-{number}", number + 1
    return root


def _free_port() -> int:
    """A port that is free together with those of the other servers."""
    for port in PORTS:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for offset in range(SERVERS):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
            return port
    raise UsageError("no free port found", where=f"127.0.0.1:{PORTS.start}-{PORTS.stop}")


def _state() -> dict[str, str]:
    """The shipped question and queue, and a diary."""
    files = {"state/research_diary.md": DIARY}
    for path in sorted(shipped("state").glob("*.md")):
        if path.name != "brief.md":
            files[f"state/{path.name}"] = read_text(path, LabError)
    return files


def _experiment(port: int, seed: int) -> dict[str, str]:
    """The files of the shipped experiment that people write, with the troubles staged in its plan."""
    source = shipped("experiments") / EXPERIMENT
    paths = [path for part in PARTS for path in sorted(source.glob(part))]
    files = {f"experiments/{EXPERIMENT}/{p.relative_to(source)}": read_text(p, LabError) for p in paths}
    name = f"experiments/{EXPERIMENT}/config.yaml"
    if name not in files:
        raise LabError("the shipped experiment is missing", where=source, hint="install nightlab again")
    for pattern, text in (
        (r"(\bport:\s*)\d+", rf"\g<1>{port}"),
        (r"(\bseed:\s*)\d+", rf"\g<1>{seed}"),
        (rf"(\bid:\s*[\"']?){re.escape(RIGHT_ID)}\b", rf"\g<1>{WRONG_ID}"),
    ):
        files[name], count = re.subn(pattern, text, files[name])
        if count != 1:
            raise LabError(f"the shipped plan has {count} places for {pattern!r}, not one", where=source)
    return files


def _keys(path: Path) -> int:
    return len({row["key"] for row in JsonLines(path).read()})


def _claims(path: Path) -> list[dict[str, Any]]:
    rows = read_yaml(path, LabError)["claims"]
    return [{**{name: row[name] for name in ("id", "hypothesis", "verdict")}, "value": row["sentence"]} for row in rows]
