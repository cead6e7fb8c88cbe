"""`nightlab doctor`: each thing a night needs, whether it is there, and the command that fixes it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from nightlab.cli.session import Session, json_option, print_json
from nightlab.lab import KINDS, Lab, look_up_all

EXTRAS = {
    "local": ("torch", "transformers", "peft", "tokenizers", "safetensors"),
    "gpu": ("vllm",),
    "postgres": ("psycopg",),
    "cluster": ("asyncssh",),
}
LEAST_FREE_GB = 2.0
SHARED = ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "9p")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    word: Literal["ok", "warn", "fix"]
    what: str
    command: str = ""


@click.command()
@json_option
@click.pass_obj
def doctor(session: Session, as_json: bool) -> None:
    """Check what a night needs; exit 4 where something has to be fixed first."""
    checks = list(_checks(session.lab()))
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            click.echo(f"{check.word:<5} {check.what}" + (f"\n      {check.command}" if check.command else ""))
    if any(check.word == "fix" for check in checks):
        raise SystemExit(4)


def _checks(lab: Lab) -> Iterator[Check]:
    yield from _git(lab)
    yield from _brain(lab)
    yield from _judges(lab)
    yield from _packages(lab)
    yield from _vllm(lab)
    yield from _place(lab)
    yield _disk(lab.root)
    yield _file_system(lab.root)
    yield _containment(lab)
    yield from _practice()
    yield from _layers(lab)
    yield from _proposals(lab)


def _git(lab: Lab) -> Iterator[Check]:
    from nightlab import founding
    from nightlab.errors import NightlabError

    if shutil.which("git") is None:
        yield Check("fix", "git is not installed, and a lab is a git repository", "install git")
        return
    try:
        founding.git(lab.root, "rev-parse", "--show-toplevel")
        yield Check("ok", founding.git(lab.root, "version"))
    except NightlabError:
        yield Check("fix", "the lab is no git repository", f"git -C {lab.root} init")
    try:
        founding.check_identity(lab.root)
        yield Check("ok", "git knows who you are")
    except NightlabError as error:
        yield Check("fix", error.what, error.hint or "")


def _brain(lab: Lab) -> Iterator[Check]:
    if lab.config.brain == "playbook":
        yield Check("ok", "brain: playbook, which needs no key")
    elif os.environ.get("ANTHROPIC_API_KEY"):
        yield Check("ok", "brain: claude, and ANTHROPIC_API_KEY is set")
    else:
        yield Check("fix", "brain: claude, and ANTHROPIC_API_KEY is not set", "export ANTHROPIC_API_KEY=...")


def _judges(lab: Lab) -> Iterator[Check]:
    """The judges that read which the lab's plans name: whether each could be asked from here and now."""
    from nightlab.errors import NightlabError
    from nightlab.experiments.judge_check import check_judges
    from nightlab.experiments.plan import Plan

    named: dict[tuple[str, str], list[str]] = {}
    for name in lab.experiment_names():
        try:
            plan = Plan.load(lab.experiment(name))
        except NightlabError:
            continue  # it has no judge, or `nightlab plan check` says what is wrong
        readers = {reader.by for reader in (plan.judge, plan.judge.second) if reader is not None} - {"markers"}
        found = {problem.what: problem.hint or "" for problem in check_judges(plan) if problem.level == "error"}
        if "openai" in readers and not found and (silent := _silent(lab.config.judge_url)):
            found[silent] = "start it, or set judge_url in [tool.nightlab]"
        for what, command in (found or {f"the judge is {by}, and it can be asked": "" for by in readers}).items():
            named.setdefault((what, command), []).append(name)
    for (what, command), names in named.items():
        yield Check("warn" if command else "ok", f"{', '.join(names[:3])}: {what}", command)


def _silent(url: str) -> str:
    """What is wrong with the place of a judge; empty where something takes connections there."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=2.0).close()
    except (OSError, ValueError) as error:
        return f"the judge is openai, and nothing answers at {url}: {error}"
    return ""


def _packages(lab: Lab) -> Iterator[Check]:
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        needed = extra == "local" and lab.config.engine == "embedded"
        if not missing:
            version = importlib.metadata.version(packages[0])
            yield Check("ok", f"packages of nightlab[{extra}]: {packages[0]} {version}")
        elif needed:
            text = f"engine: embedded needs {', '.join(missing)}"
            yield Check("fix", text, f'pip install "nightlab[{extra}]"')
        else:
            yield Check("ok", f"packages of nightlab[{extra}] are not installed; this lab does not need them")


def _vllm(lab: Lab) -> Iterator[Check]:
    """vLLM's own environment, where this lab wants it or has one."""
    from nightlab.errors import NotSetUp
    from nightlab.servers.code import code_of
    from nightlab.servers.engines import engine

    wanted = lab.config.engine == "vllm"
    try:
        python = engine("vllm").python(lab.config, lab.root)
    except NotSetUp as missing:
        if wanted:
            yield Check("fix", f"engine: {missing.what}", missing.hint or "")
        return
    found = code_of(python, engine("vllm").packages)
    version = found.versions.get("vllm")
    if version is not None:
        yield Check("ok", f"vLLM {version}, torch {found.versions.get('torch')}, at {' '.join(python)}")
    elif wanted:
        why = found.problem or f"{' '.join(python)} has no vLLM"
        yield Check("warn", f"engine: vLLM cannot be asked here: {why}", "set vllm-python to its interpreter")


def _place(lab: Lab) -> Iterator[Check]:
    """Whether jobs can be started where the lab wants them."""
    from nightlab.compute import open_place
    from nightlab.errors import NightlabError

    if lab.config.place == "slurm":
        yield from _gpus_of_runs(lab, "the queue's GPUs")
        from nightlab.compute.slurm_site import inspect

        for right, what, command in inspect(lab):
            yield Check("ok" if right else "fix", what, command)
        return
    try:
        place = open_place(lab)
        yield Check("ok", f"place: {place.name}")
        if count := place.gpus({}):
            yield from _gpus_of_runs(lab, f"the {count} GPU{'s' if count > 1 else ''} here")
    except NightlabError as error:
        yield Check("fix", error.what, error.hint or "")


def _gpus_of_runs(lab: Lab, which: str) -> Iterator[Check]:
    """Whether the commands of `kind: run` see GPUs: those in the sandbox do not."""
    if lab.config.containment == "none":
        yield Check("ok", f"runs (kind: run) see {which} where their plan says `gpus: 1` or more")
    else:
        text = f"runs (kind: run) do not see {which}: their commands are in the sandbox"
        yield Check("ok", text, 'containment = "none" in a lab that trusts its plans, and `gpus: 1` in the plan')


def _disk(root: Path) -> Check:
    free = shutil.disk_usage(root).free / 1e9
    if os.statvfs(root).f_flag & os.ST_RDONLY:
        return Check("fix", "the file system of the lab is read-only", "choose a folder you can write to")
    if free < LEAST_FREE_GB:
        return Check("warn", f"only {free:.1f} GB are free", "free some space before a long night")
    return Check("ok", f"{free:.0f} GB are free")


def _file_system(root: Path) -> Check:
    """Locks and SQLite are not safe on file systems that several hosts share."""
    kind = file_system(root, Path("/proc/self/mounts").read_text("utf-8")) if Path("/proc").is_dir() else "unknown"
    if kind in SHARED:
        text = f".nightlab is on {kind}: its lock and its checkpoints may not be safe from other hosts"
        return Check("warn", text, "run nights of one lab on one host only")
    return Check("ok", f".nightlab is on {kind}")


def file_system(folder: Path, mounts: str) -> str:
    """The type of the file system that a folder is on, from the text of /proc/self/mounts."""
    best, kind = -1, "unknown"
    for line in mounts.splitlines():
        point, name = line.split()[1:3]
        place = Path(point.replace("\\040", " "))
        if folder.resolve().is_relative_to(place) and len(place.parts) >= best:
            best, kind = len(place.parts), name
    return kind


def _containment(lab: Lab) -> Check:
    """What agents' commands can reach: the level that this machine gives and this lab asks for."""
    from nightlab.compute.sandbox.ladder import INSTALL, describe_level

    found = describe_level(lab.config.containment)
    if found["refused"]:
        return Check("warn", f"agents' commands are refused: {found['refused']}", INSTALL)
    text = f"containment of agents' commands: {found['level']}. {found['covers']} {found['misses']}"
    if found["level"] == "bwrap":
        return Check("ok", text)
    return Check("warn", f"{text} ({found['why'] or 'as this lab asks'})", INSTALL)


def _practice() -> Iterator[Check]:
    from nightlab.practice import NAMES, adapter_dir, model_dir

    folders = [folder for name in NAMES for folder in (model_dir(name), adapter_dir(name))]
    missing = [folder.name for folder in folders if not list(folder.glob("*.safetensors"))]
    if missing:
        yield Check("fix", f"the practice set lacks {', '.join(missing)}", "install nightlab again")
    else:
        yield Check("ok", f"practice set: {', '.join(NAMES)}, each with its adapter")


def _proposals(lab: Lab) -> Iterator[Check]:
    from nightlab.proposals import open_ones

    names = [f"{one.kind} {one.name}" for one in open_ones(lab)]
    if names:
        yield Check("ok", f"proposed by agents, not active: {', '.join(names[:5])}", "nightlab accept")


def _layers(lab: Lab) -> Iterator[Check]:
    """What the lab has instead of shipped files: upgrades do not reach those."""
    from nightlab.files import sha256_file
    from nightlab.lab import shipped

    for kind in KINDS[:3]:
        own = [name for name, found in look_up_all(lab, kind, "**/*").items() if found.origin == "lab"]
        theirs = [name for name in own if (shipped(kind) / name).is_file()]
        changed = [n for n in theirs if sha256_file(lab.root / kind / n) != sha256_file(shipped(kind) / n)]
        added = len(own) - len(theirs)
        if changed or added:
            named = f": {', '.join(changed[:5])}" if changed else ""
            yield Check("ok", f"{kind}/: {len(changed)} differ from the shipped ones{named}; {added} of the lab's own")
