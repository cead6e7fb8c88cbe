"""A home with a git identity, and a small lab in it with one night that happened."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from nightlab import founding
from nightlab.cli import cli
from nightlab.lab import Lab

Call = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own whose git knows who commits, and a terminal of 80 columns without colour."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("XDG_CONFIG_HOME", "COLUMNS", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for key, value in {"user.name": "Ada", "user.email": "ada@example.org"}.items():
        subprocess.run(["git", "config", "--global", key, value], check=True)
    return folder


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A new lab."""
    return founding.init(founding.survey(tmp_path / "lab"))


@pytest.fixture
def call(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call `nightlab ...` inside the lab."""
    monkeypatch.chdir(lab.root)

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(cli, list(arguments), prog_name="nightlab")
        if result.exception is not None and not isinstance(result.exception, SystemExit | click.ClickException):
            raise result.exception
        return result

    return run
