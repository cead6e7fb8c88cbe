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
    argv, *files = json.loads(line)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
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
    """Run a script with these words; its output, its errors and its exit code, negative for a signal."""
    mother = _mother()
    assert mother.stdin
    assert mother.stdout
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        argv = [str(script), *map(str, words)]
        mother.stdin.write(json.dumps([argv, out.name, err.name]) + "\n")
        mother.stdin.flush()
        code = int(mother.stdout.readline())
        told = [Path(file.name).read_text() for file in (out, err)]
    return subprocess.CompletedProcess(argv, code, *told)
