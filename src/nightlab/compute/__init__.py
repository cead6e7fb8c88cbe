"""Where a command runs: a job is a command with a frozen spec file, found again by its key from any process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightlab.errors import UsageError

if TYPE_CHECKING:
    from nightlab.compute.place import Place
    from nightlab.lab import Lab


KNOWN = ("local", "slurm")


def open_place(lab: Lab, name: str | None = None) -> Place:
    """The place with this name (default: the lab's setting), with its jobs in the lab.

    `FILE.py:NAME` or `MODULE:NAME` is a place of one's own: a function that takes the lab. Raises UsageError.
    """
    name = name or lab.config.place
    if name == "local":
        from nightlab.compute.local import Local

        return Local(lab.jobs)
    if name == "slurm":
        from nightlab.compute.slurm_site import of_lab

        return of_lab(lab)
    if ":" in name:
        from nightlab.compute.foreign import foreign_place

        return foreign_place(lab, name)
    raise UsageError(f"no place {name!r} to run jobs", hint=f"known: {', '.join(KNOWN)}, or FILE.py:NAME of your own")
