"""The wheel carries the package with its data and the shipped lab, and nothing that a night wrote."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WRITTEN_BY_NIGHTS = ("state/nights/", "state/servers/", "state/brief.md", ".jsonl", "__pycache__", ".nightlab")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without an isolated environment."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def tracked(*patterns: str) -> set[str]:
    """The files of these patterns that git knows."""
    done = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines())


def test_the_package_is_whole(names: set[str]) -> None:
    files = {file.removeprefix("src/") for file in tracked("src/nightlab")}
    assert files, "git knows no file of the package"
    assert files <= names


@pytest.mark.parametrize("kind", ["agents", "tools", "skills", "experiments", "state", "scaffolding_notes.md"])
def test_the_shipped_lab_is_whole(kind: str, names: set[str]) -> None:
    files = {file for file in tracked(kind) if not any(part in file for part in WRITTEN_BY_NIGHTS)}
    assert files, f"git knows no file of {kind}"
    assert {f"nightlab/_lab/{file}" for file in files} <= names


def test_nothing_that_a_night_wrote_travels(names: set[str]) -> None:
    assert [name for name in names if any(part in name for part in WRITTEN_BY_NIGHTS)] == []
    assert {name.split("/")[0] for name in names} == {
        "nightlab",
        next(n for n in names if "dist-info" in n).split("/")[0],
    }


def test_an_installed_wheel_finds_its_lab(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "from nightlab import lab; print(lab.__file__); print(*sorted(p.name for p in lab.shipped('agents').iterdir()))"
    )
    env = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, check=True, capture_output=True, text=True
    )
    where, agents = done.stdout.splitlines()
    assert where == str(site / "nightlab" / "lab.py")
    assert "orchestrator.md" in agents.split()
