"""Making a lab: new, in an existing repository, and what is refused; the demo lab and its troubles."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nightlab import founding
from nightlab.errors import LabError, UsageError
from nightlab.founding.making import undone_on_failure, write_all
from nightlab.lab import Lab, shipped
from nightlab.record.state import ResearchState

GIT = {"user.name": "Ada", "user.email": "ada@example.org"}


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own whose git knows who commits."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("XDG_CONFIG_HOME", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    for key, value in GIT.items():
        git(folder, "config", "--global", key, value)
    return folder


def test_new_lab_is_under_git_with_one_commit(tmp_path: Path) -> None:
    lab = founding.init(founding.survey(tmp_path / "new" / "lab"))
    assert lab.root == tmp_path / "new" / "lab"
    assert git(lab.root, "log", "--format=%an %s").split() == ["Ada", "A", "new", "lab"]
    assert git(lab.root, "status", "--porcelain") == ""
    assert ".nightlab/" in (lab.root / ".gitignore").read_text().splitlines()
    assert Lab.find(lab.state).root == lab.root


def test_new_lab_has_the_markdown_and_not_the_tools(tmp_path: Path) -> None:
    lab = founding.init(founding.survey(tmp_path / "lab"))
    for kind in ("agents", "skills"):
        wanted = {p.relative_to(shipped(kind)) for p in shipped(kind).rglob("*.md")}
        assert {p.relative_to(lab.root / kind) for p in (lab.root / kind).rglob("*") if p.is_file()} == wanted
    assert lab.state_file.is_file()
    assert lab.diary.is_file()
    assert lab.notes.is_file()
    assert not lab.tools.exists()


def test_new_lab_has_an_empty_queue_that_can_be_read(tmp_path: Path) -> None:
    lab = founding.init(founding.survey(tmp_path / "lab"))
    assert list(ResearchState(lab.state_file).queue()) == []


def test_existing_repository_keeps_every_byte(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "RESEARCH_STATE.md").write_text("mine")
    (tmp_path / "README.md").write_text("mine too")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    (tmp_path / ".gitignore").write_text("*.pt")
    before = files(tmp_path)
    found = founding.survey(tmp_path)
    assert files(tmp_path) == before, "a survey writes nothing"
    lab = founding.init(found)
    after = files(tmp_path)
    grown = {name for name in before if after[name] != before[name]}
    assert grown == {"pyproject.toml", ".gitignore"}
    assert all(after[name].startswith(before[name]) for name in grown)
    assert lab.config.origin("hours") == "pyproject.toml"
    assert "state/RESEARCH_STATE.md" in found.kept
    assert not found.is_new


def test_complete_lab_lacks_nothing(tmp_path: Path) -> None:
    lab = founding.init(founding.survey(tmp_path / "lab"))
    head = git(lab.root, "rev-parse", "HEAD")
    found = founding.survey(lab.root)
    assert not found.missing
    founding.init(found)
    assert git(lab.root, "rev-parse", "HEAD") == head


def test_folder_with_files_and_no_git_is_refused_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(LabError, match="no git repository"):
        founding.survey(tmp_path)
    assert list(files(tmp_path)) == ["notes.txt"]
    lab = founding.init(founding.survey(tmp_path, git=True))
    assert "notes.txt" in git(lab.root, "status", "--porcelain"), "files of others are not committed"


def test_a_folder_of_a_larger_repository_stays_in_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    lab = founding.init(founding.survey(tmp_path / "labs" / "one"))
    assert git(lab.root, "rev-parse", "--show-toplevel").strip() == str(tmp_path)
    own = founding.init(founding.survey(tmp_path / "labs" / "two", git=True))
    assert git(own.root, "rev-parse", "--show-toplevel").strip() == str(own.root)


def test_without_an_identity_nothing_is_written(tmp_path: Path, home: Path) -> None:
    (home / ".gitconfig").unlink()
    with pytest.raises(UsageError, match="who you are") as caught:
        founding.survey(tmp_path / "lab")
    assert caught.value.hint is not None
    assert "user.name" in caught.value.hint
    assert "user.email" in caught.value.hint
    assert not (tmp_path / "lab").exists()


def test_no_lab_in_a_lab(tmp_path: Path) -> None:
    lab = founding.init(founding.survey(tmp_path / "lab"))
    with pytest.raises(UsageError, match="inside another lab"):
        founding.survey(lab.root / "experiments" / "lab")
    with pytest.raises(UsageError, match="inside another lab"):
        founding.demo(lab.root / "demo-lab")
    assert not (lab.root / "demo-lab").exists()


def test_a_file_is_no_lab(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a folder"):
        founding.survey(tmp_path / "file")


def test_pyproject_that_cannot_be_extended_is_left_alone(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    text = "tool = {ruff = {line-length = 100}}\n"
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(LabError, match="cannot be extended"):
        founding.survey(tmp_path)
    assert (tmp_path / "pyproject.toml").read_text() == text


def test_failed_writing_takes_away_what_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("old")
    (tmp_path / "file").write_text("not a folder")
    before = files(tmp_path)
    wanted = {"there.txt": "old and more", "new/deep/a.md": "x", "file/b.md": "y"}
    with pytest.raises(OSError, match=r"exists|directory"), undone_on_failure(tmp_path, wanted):
        write_all(tmp_path, wanted)
    assert files(tmp_path) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kilobytes", [12, 60])
def test_full_disk_leaves_no_lab(tmp_path: Path, kilobytes: int) -> None:
    """On a tiny file system, in a mount of its own where the machine allows one: the files or git do not fit."""
    mount = f"mount -t tmpfs -o size={kilobytes}k none {tmp_path}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    script = f"{mount} && cd {tmp_path} && {sys.executable} -m nightlab init lab; echo rc $?; ls"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert "the disk is full" in done.stderr + done.stdout
    assert done.stdout.splitlines()[-1] == "rc 1"


def test_demo_lab_needs_no_identity(tmp_path: Path, home: Path) -> None:
    (home / ".gitconfig").unlink()
    made = founding.demo(tmp_path / "demo", seed=7)
    assert git(made.lab.root, "log", "--format=%an").strip() == "nightlab demo"
    assert git(made.lab.root, "status", "--porcelain") == ""
    assert made.lab.config.brain == "playbook"


def test_demo_lab_stages_both_troubles_and_says_so(tmp_path: Path) -> None:
    made = founding.demo(tmp_path / "demo", seed=7)
    plan = yaml.safe_load((made.lab.experiment("exp_001") / "config.yaml").read_text())
    assert plan["serving"]["port"] == made.port
    assert plan["sampling"]["seed"] == 7
    ids = {model["name"]: model["id"] for model in plan["factors"]["models"]}
    assert ids["qwen"] == "unsloth/practice-qwen"
    readme = (made.lab.root / "README.md").read_text()
    assert str(made.port) in readme
    assert "unsloth/practice-qwen" in readme
    with founding.held(made.port), socket.socket() as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", made.port))
        with pytest.raises(UsageError, match="taken"), founding.held(made.port):
            pass


def test_demo_takes_no_results_along(tmp_path: Path) -> None:
    made = founding.demo(tmp_path / "demo")
    names = [p.name for p in made.lab.experiment("exp_001").rglob("*")]
    assert not {"samples.jsonl", "report.md", "plan.lock.json", "figs", "tables"} & set(names)
    told = founding.summary(made.lab, made.experiment)
    assert (told["samples"], told["planned"], told["claims"], told["commits"]) == (0, 0, [], 0)


def test_demo_folders_are_counted_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [founding.demo().lab.root.name for _ in range(3)] == ["demo-lab", "demo-lab-2", "demo-lab-3"]
    with pytest.raises(UsageError, match="something here already"):
        founding.demo(tmp_path / "demo-lab")
