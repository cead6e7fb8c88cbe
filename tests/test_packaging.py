"""The wheel carries the package with its data and the shipped lab, and nothing that a night wrote."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("state/nights/", "state/servers/", "state/brief.md", ".jsonl", "__pycache__", "/.")

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


def on_disk(place: str) -> set[str]:
    """The files at a place of this checkout, without what nights and programs left there."""
    paths = [ROOT / place, *(ROOT / place).rglob("*")]
    files = {str(path.relative_to(ROOT)) for path in paths if path.is_file()}
    return {file for file in files if not any(part in file for part in LEFT_OUT)}


def test_the_package_is_whole(names: set[str]) -> None:
    files = {file.removeprefix("src/") for file in on_disk("src/nightlab")}
    assert len([file for file in files if file.endswith(".safetensors")]) >= 6, "the practice set is missing"
    assert files <= names


@pytest.mark.parametrize("kind", ["agents", "tools", "skills", "experiments", "state", "scaffolding_notes.md"])
def test_the_shipped_lab_is_whole(kind: str, names: set[str]) -> None:
    files = on_disk(kind)
    assert files, f"there is no file of {kind}"
    assert {f"nightlab/_lab/{file}" for file in files} <= names


def test_nothing_that_a_night_wrote_travels(names: set[str]) -> None:
    assert [name for name in names if any(part in name for part in LEFT_OUT)] == []
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"nightlab"}


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
