"""What must hold before a night begins; everything is looked at before anything is written."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from nightlab.agents import AgentSpec
from nightlab.errors import ConfigError, LabError, NotSetUp, StorageError
from nightlab.lab import Lab
from nightlab.night.disks import check_disk
from nightlab.night.lock import held, living_holder, orphan
from nightlab.night.options import Options, deadline
from nightlab.record.repository import Repository
from nightlab.servers.engines import engine
from nightlab.settings import without_password

LEAST_FREE_MB = 50
LOCAL = ("torch", "transformers", "safetensors")  # what the embedded model server imports


def preflight(lab: Lab, options: Options) -> None:
    """Raise NotSetUp, UsageError, StorageError or LockHeld where a night could not run; nothing is written.

    A night whose worker outlived its supervisor is no obstacle: it is taken over.
    """
    _brain(lab)
    AgentSpec.load(lab, "orchestrator")
    _engine(lab)
    deadline(options, lab)
    if not lab.state_file.is_file():
        raise LabError("no research state", where=lab.state_file, hint="`nightlab init .` adds what is missing")
    lab.experiment_names()
    _writable(lab.root)
    _checkpoints(lab)
    Repository(lab.root).check()
    for lock in (lab.supervisor, lab.lock):
        if (holder := living_holder(lock)) and not (lock == lab.lock and orphan(lab)):
            raise held(lock, holder)


def _checkpoints(lab: Lab) -> None:
    if "://" not in lab.config.checkpoints:
        check_disk(lab.checkpoints)
        return
    from nightlab.night.keeping import by_url, check_server

    if not by_url(lab.config.checkpoints):
        what = f"checkpoints cannot be kept at {without_password(lab.config.checkpoints)!r}"
        raise ConfigError(what, hint="name a path on a local disk, or postgresql://user@host/database")
    check_server(lab.config.checkpoints)


def _brain(lab: Lab) -> None:
    if lab.config.brain != "claude":
        return
    other = '`nightlab demo` shows one at work, and `brain = "playbook"` under [tool.nightlab] needs none'
    if not os.environ.get("ANTHROPIC_API_KEY"):
        hint = f"export ANTHROPIC_API_KEY=...; {other}"
        raise NotSetUp("the brain is claude, and ANTHROPIC_API_KEY is not set", hint=hint)
    from nightlab.night.models import check_models

    check_models(lab)


def _engine(lab: Lab) -> None:
    engine(lab.config.engine).python(lab.config, lab.root)
    lacking = [name for name in LOCAL if importlib.util.find_spec(name) is None]
    if lab.config.engine == "embedded" and lacking:
        hint = 'pip install "nightlab[local]"'
        raise NotSetUp(f"the embedded model server needs {', '.join(lacking)}", hint=hint)


def _writable(root: Path) -> None:
    """Whether the lab can be written and has room; asked of the system, not tried."""
    for folder in (root, root / "state", root / "experiments"):
        if folder.is_dir() and not os.access(folder, os.W_OK):
            raise StorageError("the lab is read-only", where=folder, hint="choose a folder you can write to")
    flags = os.statvfs(root).f_flag
    if flags & os.ST_RDONLY:
        raise StorageError("the file system is read-only", where=root, hint="choose a folder you can write to")
    free = shutil.disk_usage(root).free / 1e6
    if free < LEAST_FREE_MB:
        raise StorageError(
            f"only {free:.0f} MB are free", where=root, hint=f"a night needs at least {LEAST_FREE_MB} MB"
        )
