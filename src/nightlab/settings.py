"""The settings of a lab: each with a type, a default, one sentence, and the origin of its value.

Read from `[tool.nightlab]` in the lab's pyproject.toml, overridden by `NIGHTLAB_*` in the environment, overridden by
flags. An unknown key is an error that names the nearest valid one. Secrets never stand here: they come from the
environment alone.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.errors import ConfigError, nearest
from nightlab.files import read_text

Value = str | int | float


@dataclass(frozen=True)
class Key:
    """A setting that exists."""

    default: Value
    about: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


NOTHING = "none"

KEYS: dict[str, Key] = {
    "brain": Key("playbook", "what answers the orchestrator's turns", ("playbook", "claude")),
    "fallback_model": Key(NOTHING, "a second model, asked when the agent's own refuses a reworded turn"),
    "prices": Key(NOTHING, "a price table (YAML) in place of the shipped one; else prices.yaml at the lab's root"),
    "judge_url": Key(NOTHING, "the OpenAI-compatible endpoint of `judge: {by: openai}`; its key is OPENAI_API_KEY"),
    "human": Key("you", "the name that questions in the diary are addressed to"),
    "place": Key("local", "where model servers and jobs run: local, slurm, or FILE.py:NAME of your own"),
    "slurm_partition": Key(NOTHING, "the partition of Slurm jobs; else the cluster's default"),
    "slurm_account": Key(NOTHING, "the account that Slurm jobs are charged to"),
    "slurm_qos": Key(NOTHING, "the quality of service of Slurm jobs"),
    "slurm_gres": Key(NOTHING, "what a Slurm job gets, such as gpu:1 or gpu:a100:2"),
    "slurm_time": Key(NOTHING, "the time limit of a Slurm job, as sbatch takes it; else the partition's default"),
    "slurm_flags": Key(NOTHING, "further flags of sbatch, such as --mem=64G --constraint=a100"),
    "slurm_warning_seconds": Key(
        120, "seconds before its time limit in which a Slurm job that can go on later saves where it stands", least=0
    ),
    "slurm_python": Key(NOTHING, "the Python that starts a job on its node; else the lab's own"),
    "slurm_reach": Key("direct,ssh,srun", "the ways to a server on a compute node, in their order"),
    "ssh_config": Key(NOTHING, "the ssh_config for tunnels; else your own"),
    "engine": Key("embedded", "which model server is started, where a plan names none", ("embedded", "vllm")),
    "vllm_python": Key(NOTHING, "the interpreter of vLLM's environment: a path or a command; else .venv-vllm"),
    "server_prefix": Key(NOTHING, "words put before a model server's command: a container, numactl, a launcher"),
    "concurrency": Key(64, "requests in flight for each model server", least=1),
    "max_identical_failures": Key(5, "the same failure this often in a row stops a server's share of a sweep", least=1),
    "request_timeout": Key(120.0, "seconds that one request may take, in all", least=0.1),
    "server_timeout": Key(180.0, "seconds that a model server may take to be ready", least=1),
    "lease_seconds": Key(300.0, "a model server ends itself when its lease is not renewed for this long", least=1),
    "hours": Key(8.0, "how long a night may last", least=0),
    "budget_usd": Key(20.0, "dollars that a night may spend", least=0),
    "share_orchestrator": Key(1.0, "of these dollars, the most for the agent that leads", least=0, most=1),
    "share_agents": Key(0.6, "of these dollars, the most for all agents that it delegates to", least=0, most=1),
    "share_judges": Key(0.6, "of these dollars, the most for judging", least=0, most=1),
    "gpu_hours": Key(8.0, "GPU hours that a night may use", least=0),
    "usd_per_gpu_hour": Key(0.0, "what a GPU hour costs", least=0),
    "stuck_seconds": Key(300.0, "a night whose process gives no sign of life for this long is restarted", least=1),
    "late_seconds": Key(600.0, "a night may take this long beyond its deadline to wrap up by itself", least=1),
    "restarts": Key(5, "how often in a row a night's process is started again", least=0),
    "restart_seconds": Key(1.0, "before the first such start anew; doubled each time, up to a minute", least=0),
    "turns": Key(500, "turns that a night may take", least=1),
    "bootstrap": Key(2000, "resamples behind every confidence interval", least=100),
    "notebook": Key(
        "asked", "when notebooks of analyses are executed: when asked, or at a night's end", ("asked", "wrap-up")
    ),
    "commit_limit_mb": Key(5.0, "larger files are committed by size and hash only", least=0.001),
    "checkpoints": Key(
        ".nightlab/checkpoints.sqlite", "where a night keeps its place: a file on a local disk, or postgresql://..."
    ),
    "containment": Key(
        "any",
        "the least sandbox for agents' commands; without it they are refused",
        ("any", "landlock", "bwrap", "none"),
    ),
    "author_name": Key("nightlab", "the author of a night's commits"),
    "author_email": Key("nightlab@localhost", "the author's address of a night's commits"),
}


@dataclass(frozen=True)
class Setting:
    """An effective value and where it comes from: default, a file, a variable, or a flag."""

    value: Value
    origin: str

    @property
    def shown(self) -> Value:
        """The value as anybody may read it: a password in a URL is left out."""
        return without_password(self.value) if isinstance(self.value, str) else self.value


class Config:
    """All settings of a lab; a value by attribute, its origin by `origin(key)`."""

    brain: str
    fallback_model: str
    prices: str
    human: str
    place: str
    slurm_partition: str
    slurm_account: str
    slurm_qos: str
    slurm_gres: str
    slurm_time: str
    slurm_flags: str
    slurm_warning_seconds: int
    slurm_python: str
    slurm_reach: str
    ssh_config: str
    engine: str
    vllm_python: str
    server_prefix: str
    concurrency: int
    max_identical_failures: int
    request_timeout: float
    server_timeout: float
    lease_seconds: float
    hours: float
    budget_usd: float
    share_orchestrator: float
    share_agents: float
    share_judges: float
    gpu_hours: float
    usd_per_gpu_hour: float
    stuck_seconds: float
    late_seconds: float
    restarts: int
    restart_seconds: float
    turns: int
    bootstrap: int
    notebook: str
    commit_limit_mb: float
    checkpoints: str
    containment: str
    author_name: str
    author_email: str

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        self._settings = dict(settings)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_settings"][name].value
        except KeyError:
            raise AttributeError(name) from None

    def origin(self, key: str) -> str:
        """Where the value of a setting comes from."""
        return self._settings[key].origin

    def items(self) -> Iterator[tuple[str, Setting]]:
        """Every setting with its value and origin, by name."""
        return iter(sorted(self._settings.items()))

    def snapshot(self) -> dict[str, Value]:
        """The plain values as anybody may read them, for a night's record."""
        return {key: setting.shown for key, setting in self.items()}


def read_table(pyproject: Path) -> dict[str, Any] | None:
    """The `[tool.nightlab]` table of a pyproject.toml, or None where it has none. Raises ConfigError."""
    try:
        data = tomllib.loads(read_text(pyproject, ConfigError))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"malformed TOML: {error}", where=pyproject) from error
    table = data.get("tool", {}).get("nightlab")
    if table is not None and not isinstance(table, dict):
        raise ConfigError("tool.nightlab must be a table", where=pyproject)
    return table


def load(pyproject: Path, flags: Mapping[str, Value | None] | None = None) -> Config:
    """The effective settings of a lab; flags that are None are not given. Raises ConfigError."""
    settings = {key: Setting(spec.default, "default") for key, spec in KEYS.items()}
    for name, value in (read_table(pyproject) or {}).items():
        key = _known(name, pyproject)
        settings[key] = Setting(_checked(name, value, pyproject), pyproject.name)
    for name, text in os.environ.items():
        if name.startswith("NIGHTLAB_"):
            key = _known(name.removeprefix("NIGHTLAB_").lower(), f"environment: {name}")
            settings[key] = Setting(_checked(name, text, "environment"), name)
    for name, flag in (flags or {}).items():
        if flag is not None:
            key = _known(name, "flags")
            settings[key] = Setting(_checked(name, flag, "flags"), "--" + name.replace("_", "-"))
    return Config(settings)


def without_password(text: str) -> str:
    """A text in which the passwords of URLs are `***`."""
    text = re.sub(r"(://[^/\s:@]*:)[^/\s]*@", r"\1***@", text)
    return re.sub(r"(?i)\b(password=)[^&\s]+", r"\1***", text)


def _known(name: str, where: Path | str) -> str:
    key = name.replace("-", "_")
    if key not in KEYS:
        close = nearest(key, KEYS)
        hint = f"did you mean {close}?" if close else "`nightlab config` lists the settings"
        raise ConfigError(f"unknown setting {name!r}", where=where, hint=hint)
    return key


def _checked(name: str, value: object, where: Path | str) -> Value:
    key = name.removeprefix("NIGHTLAB_").lower().replace("-", "_")
    spec = KEYS[key]
    kind = type(spec.default)
    converted = _converted(value, kind)
    if converted is None:
        raise ConfigError(f"{name} must be {_named(kind)}, not {_said(value)}", where=where)
    if spec.choices and converted not in spec.choices:
        raise ConfigError(f"{name} must be one of {', '.join(spec.choices)}, not {_said(value)}", where=where)
    if spec.least is not None and not isinstance(converted, str) and not converted >= spec.least:
        raise ConfigError(f"{name} must be at least {spec.least:g}, not {_said(value)}", where=where)
    if spec.most is not None and not isinstance(converted, str) and converted > spec.most:
        raise ConfigError(f"{name} must be at most {spec.most:g}, not {_said(value)}", where=where)
    return converted


def _said(value: object) -> str:
    return repr(without_password(value) if isinstance(value, str) else value)


def _converted(value: object, kind: type) -> Value | None:
    """The value as the kind of its default, or None where it is of another kind."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if kind is str:
        return value if isinstance(value, str) and value.strip() else None
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number) or (kind is int and not number.is_integer()):
        return None
    return int(number) if kind is int else number


def _named(kind: type) -> str:
    return {str: "a text", int: "a whole number", float: "a number"}[kind]
