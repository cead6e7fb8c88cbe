"""Every check of an unfamiliar folder of results, and what none of them sees there."""

from __future__ import annotations

from pathlib import Path

from nightlab.audit.absent import absent
from nightlab.audit.anecdotes import anecdotes
from nightlab.audit.counts import counts
from nightlab.audit.data import read
from nightlab.audit.dates import dates
from nightlab.audit.doubles import doubles
from nightlab.audit.finding import Report, finding, ordered
from nightlab.audit.inputs import judge_inputs
from nightlab.audit.literals import literals
from nightlab.audit.lost import lost
from nightlab.audit.numbers import numbers
from nightlab.audit.pooled import pooled
from nightlab.audit.stale import stale
from nightlab.audit.words import words
from nightlab.audit.zeros import zeros

CHECKS = (counts, numbers, words, lost, pooled, judge_inputs, zeros, doubles, absent, dates, anecdotes, stale, literals)
BLIND = (
    "whether the rows are what a model wrote and a judge said",
    "numbers that are true of other rows than those their sentence speaks of, and happen to be equal",
    "whole numbers without a unit or a subject, ratios (3.7x) and percentages",
    "what is inside of pictures",
    "conclusions in words that no list of words knows",
)


def audit_results(root: Path) -> Report:
    """Audit a folder of anybody's results."""
    data = read(root)
    found = [one for check in CHECKS for one in check(data)]
    found += [finding("files", "note", path, why, root=root) for path, why in data.unread.items()]
    if not (data.rows or data.texts or data.code):
        found.append(
            finding("files", "warning", root, "there is nothing here that an audit reads: nothing was checked")
        )
    seen = {
        "files of rows": len(data.files),
        "rows": len(data.rows),
        "answers": len(data.samples),
        "scored rows": len(data.scored),
        "texts": len(data.texts),
        "scripts": len(data.code),
        "pictures": len(data.pictures),
    }
    return Report("results", root, ordered(found), seen, BLIND)
