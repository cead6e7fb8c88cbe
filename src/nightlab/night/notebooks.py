"""The notebooks of a night's analyses, executed at its end where the lab wants them (`notebook = "wrap-up"`).

A kernel takes seconds to start, so no night waits for one unasked: `nightlab report EXP --notebook` makes it later.
"""

from __future__ import annotations

from nightlab.errors import NotSetUp, UsageError
from nightlab.events import EventLog
from nightlab.evidence.notebook import NOTEBOOK, write_notebook
from nightlab.evidence.runs import is_run
from nightlab.lab import Lab
from nightlab.record.entry import touched


def execute_notebooks(lab: Lab, events: EventLog) -> None:
    """Execute the notebook of every experiment that the night reported; what is not possible is a degradation."""
    if lab.config.notebook != "wrap-up":
        return
    for name in touched(events.read()):
        folder = lab.experiment(name)
        report, made = folder / "report.md", folder / NOTEBOOK
        if is_run(folder) or not report.is_file():
            continue
        if made.is_file() and made.stat().st_mtime_ns >= report.stat().st_mtime_ns:
            continue  # a wrap-up that was cut off is done again
        try:
            path = write_notebook(folder)
        except (NotSetUp, UsageError) as error:
            what = f"no executed notebook of {name}"
            events.emit("degradation", what=what, why=str(error), where="wrap-up", experiment=name)
            continue
        events.once(f"{name}/notebook", "report", experiment=name, path=lab.relative(path))
