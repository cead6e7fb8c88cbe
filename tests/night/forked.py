"""Scripts that run a night in a process of their own, without each paying for the imports: forks of one that has them.

A fork is a whole process: it can be killed at any instant, holds its own locks, and leaves an exit status.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOTHER = """
import json, os, runpy, sys, traceback
import nightlab.brains.scripted, nightlab.morning.brief, nightlab.night
import nightlab.night.keeping, nightlab.night.night, nightlab.record.repository, nightlab.testing.nights
import nightlab.experiments.samples, nightlab.judging.rows, nightlab.toolbox

for line in sys.stdin:
    argv, out = json.loads(line)
    child = os.fork()
    if child == 0:
        fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        for to, number in ((null, 0), (fd, 1), (fd, 2)):
            os.dup2(to, number)
        sys.argv, code = argv, 0
        try:
            runpy.run_path(argv[0], run_name="__main__")
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@cache
def _mother() -> subprocess.Popen[str]:
    """The process that forks; it ends with this one, whose end closes its standard input."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen(
        [sys.executable, "-c", MOTHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def run(script: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a script with these words; its output (errors included) and its exit code, negative for a signal."""
    mother = _mother()
    assert mother.stdin
    assert mother.stdout
    with tempfile.NamedTemporaryFile() as out:
        argv = [str(script), *map(str, words)]
        mother.stdin.write(json.dumps([argv, out.name]) + "\n")
        mother.stdin.flush()
        code = int(mother.stdout.readline())
        said = Path(out.name).read_text()
    return subprocess.CompletedProcess(argv, code, said, said)
