"""A new catalogue entry on trial: it must name its own log, and be silent on logs of servers that were well.

A pattern comes from an agent, so it is tried in a process of its own with a time limit: one that takes for ever on some
text ends there. `python -m nightlab.servers.failures.trial ENTRY.yaml LOG` says what does not hold, one line each.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from nightlab.errors import SpecError
from nightlab.files import read_text
from nightlab.servers.failures import diagnose, read_log
from nightlab.servers.failures.signatures import read_entry, shipped_catalogue

PATIENCE = 20.0  # seconds that a trial may take, the start of the process included


def healthy_logs() -> dict[str, str]:
    """The shipped logs of servers that started, served and ended as they should."""
    folder = resources.files("nightlab.servers.failures") / "healthy"
    return {one.name: one.read_text(encoding="utf-8") for one in folder.iterdir() if one.name.endswith(".log")}


def problems(entry: str, log: str, where: str = "the entry") -> Iterator[str]:
    """What an entry does wrong on its own log and on the healthy ones. Raises SpecError for one that is none."""
    own = read_entry(entry, where)
    known = {**own, **{name: one for name, one in shipped_catalogue().items() if name not in own}}
    found = diagnose(log, known=known)
    if found.cls not in own:
        yield f"its own log is diagnosed as {found.cls or 'nothing known'}, not as {', '.join(own)}"
    for name, text in healthy_logs().items():
        if (seen := diagnose(text, known=own)).cls is not None:
            yield f"it finds {seen.cls} in {name}, the log of a server that was well: {seen.line[:120]!r}"


def try_out(entry: Path, log: Path) -> None:
    """Try an entry in a process of its own. Raises SpecError with the first thing that does not hold."""
    argv = [sys.executable, "-P", "-m", "nightlab.servers.failures.trial", str(entry), str(log)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        hint = "a pattern with nested repetitions can take for ever on some text: make it simpler"
        raise SpecError(f"the entry was not tried out in {PATIENCE:g} seconds", where=entry, hint=hint) from None
    if done.returncode:
        raise SpecError((done.stdout or done.stderr).strip().split("\n")[0][:400], where=entry)


def main(arguments: list[str]) -> int:
    """Print what does not hold; 1 where something does not."""
    entry, log = map(Path, arguments)
    try:
        wrong = list(problems(read_text(entry, SpecError), read_log(log), entry.name))
    except SpecError as error:
        wrong = [error.what]
    sys.stdout.write("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
