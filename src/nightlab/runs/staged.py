"""Troubles staged around the command of a run: it dies, hangs, or prints no metric; every other run is the command.

Put before a run's command: `python -m nightlab.runs.staged --run=8,0 --stage=8,0=run_dies -- COMMAND`. `--run` says
which run this is (its parameters and its replicate), each `--stage` which trouble meets which run, each `--play` who
plays which model of the command. A rehearsal puts it there; it loads nothing but the standard library.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence

MODEL = "--model"
DIES, HANGS, SILENT = "run_dies", "run_hangs", "run_silent"


def main(arguments: list[str]) -> int:
    """Play a trouble, or become the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--stage", action="append", default=[], metavar="RUN=TROUBLE")
    parser.add_argument("--play", action="append", default=[], metavar="MODEL=MODEL")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    trouble = dict(one.rsplit("=", 1) for one in given.stage).get(given.run)
    if trouble == DIES:
        sys.exit("staged: the command ends with an error")
    while trouble == HANGS:
        time.sleep(60)
    if trouble == SILENT:
        sys.stdout.write("staged: done, without a metric\n")
        return 0
    words = played(given.command, dict(one.rsplit("=", 1) for one in given.play))
    os.execvp(words[0], words)


def played(words: Sequence[str], plays: Mapping[str, str]) -> list[str]:
    """A command with other models after its --model."""
    found = list(words)
    for number, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == MODEL and equals:
            found[number] = f"{flag}={plays.get(value, value)}"
        elif number and words[number - 1] == MODEL:
            found[number] = plays.get(word, word)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
