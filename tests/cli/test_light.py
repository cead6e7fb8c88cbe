"""The command line starts at once: nothing heavy is imported; bench/demo.py measures the seconds."""

import subprocess
import sys

import pytest

from nightlab.cli import COMMANDS, cli

HEAVY = {"anthropic", "langgraph", "pandas", "torch", "matplotlib", "pydantic", "aiohttp", "yaml", "git", "rich"}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_is_silent_and_light() -> None:
    code = f"import nightlab.cli, sys; assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)"
    assert python(code) == ""


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_loading_a_command_is_light(command: str) -> None:
    code = f"from nightlab.cli import COMMANDS; import sys; COMMANDS[{command!r}].load()"
    assert python(f"{code}; print({HEAVY} & set(sys.modules))") == "set()\n"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_a_help_and_its_own_name(command: str) -> None:
    found = COMMANDS[command].load()
    assert found.name == command
    assert found.help
    assert COMMANDS[command].help.endswith(".")
    assert command in cli.lazy
