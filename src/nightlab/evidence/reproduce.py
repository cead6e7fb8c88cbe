"""reproduce.py of an experiment: a thin script that makes tables, figures, claims and report again from the rows."""

from __future__ import annotations

from pathlib import Path

from nightlab import __version__
from nightlab.evidence.record import made
from nightlab.files import sha256_file, write_atomic

SCRIPT = "reproduce.py"

_TEXT = '''# /// script
# requires-python = ">=3.11"
# dependencies = ["nightlab=={version}"]
# ///
"""Make the tables, figures, claims and report of this experiment again from its rows: no model, no GPU, no key.

    python reproduce.py        or, in an environment of its own:        uv run reproduce.py

The result is the same byte for byte when nothing changed; the names of the files that differ are printed.
With --resample the models are asked again, as a new experiment of the same lab; that needs what the plan needs.
"""

import subprocess
import sys
from pathlib import Path

import nightlab
from nightlab.evidence import rebuild

WRITTEN_BY = "{version}"

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    if "--resample" in sys.argv[1:]:
        command = [sys.executable, "-m", "nightlab", "reproduce", here.name, "--resample"]
        sys.exit(subprocess.run(command, cwd=here).returncode)
    if nightlab.__version__ != WRITTEN_BY:
        print(f"note: written by nightlab {{WRITTEN_BY}}, this is {{nightlab.__version__}}")
    changed = rebuild(here)
    print("\\n".join(f"changed: {{path.name}}" for path in changed) or "everything is as it was")
'''


def write_reproduce(folder: Path) -> Path:
    """Write the script, with the version of nightlab pinned in its header."""
    path = folder / SCRIPT
    write_atomic(path, _TEXT.format(version=__version__))
    return path


def rebuild(folder: Path) -> list[Path]:
    """Make everything again from the rows and the snapshot; the files whose bytes changed."""
    from nightlab.evidence.analyze import analyze_again
    from nightlab.evidence.report import compile_report
    from nightlab.evidence.run_report import compile_run_report
    from nightlab.evidence.runs import is_run

    before = hashes(folder)
    if is_run(folder):
        compile_run_report(folder)
    else:
        compile_report(folder, analyze_again(folder))
    after = hashes(folder)
    return [path for path, sha in after.items() if before.get(path) != sha]


def rebuild_into(folder: Path, into: Path, *, pictures: bool) -> list[str]:
    """Make everything again beside a folder, which stays as it is; the names of the files that were made."""
    from nightlab.evidence.analyze import analyze_again
    from nightlab.evidence.report import compile_report
    from nightlab.evidence.run_report import compile_run_report
    from nightlab.evidence.runs import is_run

    if is_run(folder):
        compile_run_report(folder, into=into, pictures=pictures)
    else:
        compile_report(folder, analyze_again(folder, into, pictures=pictures), into)
    return [str(path.relative_to(into)) for path in made(into)]


def hashes(folder: Path) -> dict[Path, str]:
    """The hash of every generated file that is there."""
    return {path: sha256_file(path) for path in made(folder)}
