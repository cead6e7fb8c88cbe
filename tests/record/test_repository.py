"""Commits into real git repositories: exactly the named paths, once per key, clear words where it is impossible."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nightlab.errors import LabError, LockHeld, UsageError
from nightlab.record.repository import Repository, SecretFound

KEY = "sk-" + "ant-" + "api03-" + "x" * 30


def git(folder: Path, *command: str, check: bool = True) -> str:
    done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, so that this machine's git configuration plays no part."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in [n for n in os.environ if n.startswith("GIT_") and n != "GIT_CONFIG_NOSYSTEM"]:
        monkeypatch.delenv(name)
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n"
    )


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    root = tmp_path / "lab"
    (root / "state").mkdir(parents=True)
    git(root, "init", "-q")
    return root


def test_a_commit_takes_exactly_the_named_paths(lab: Path) -> None:
    (lab / "state" / "a.md").write_text("a")
    (lab / "b.md").write_text("b")
    (lab / "staged.md").write_text("by a person")
    git(lab, "add", "staged.md")
    sha = Repository(lab).commit(
        ["state"], "First\n\nBody", {"Nightlab-Night": "n1", "Nightlab-Experiment": "exp_001_x"}
    )
    assert sha == git(lab, "rev-parse", "HEAD")
    assert git(lab, "show", "--format=", "--name-only", "HEAD") == "state/a.md"
    assert git(lab, "status", "--porcelain") == "A  staged.md\n?? b.md"
    assert git(lab, "log", "-1", "--format=%an %ae %cn %ce") == "nightlab nightlab@localhost Ada ada@example.org"
    [entry] = Repository(lab).log()
    assert entry.sha == sha
    assert entry.subject == "First"
    assert entry.trailers == {"Nightlab-Night": "n1", "Nightlab-Experiment": "exp_001_x"}


def test_nothing_to_commit_is_none(lab: Path) -> None:
    repository = Repository(lab)
    assert repository.head() is None
    assert repository.log() == []
    assert repository.commit(["state", "not/there.md"], "Nothing") is None
    (lab / "state" / "a.md").write_text("a")
    assert not repository.is_clean()
    assert repository.commit(["state/a.md"], "One") == repository.head()
    assert repository.commit(["state/a.md"], "One again") is None
    assert repository.is_clean()


def test_a_key_is_committed_once(lab: Path) -> None:
    repository = Repository(lab)
    (lab / "state" / "a.md").write_text("1")
    first = repository.commit(["state"], "One", key="n1:toolu_1")
    (lab / "state" / "a.md").write_text("2")
    assert repository.has("n1:toolu_1")
    assert not repository.has("n1:toolu_2")
    assert repository.commit(["state"], "One", key="n1:toolu_1") == first
    assert not repository.is_clean()
    second = repository.commit(["state"], "Two", key="n1:toolu_10")
    assert second != first
    assert repository.commit(["state"], "x", key="n1:toolu_1") == first
    assert git(lab, "rev-list", "--count", "HEAD") == "2"


def test_a_message_cannot_forge_a_key(lab: Path) -> None:
    repository = Repository(lab)
    (lab / "state" / "a.md").write_text("1")
    first = repository.commit(["state"], "One\n\nNightlab-Key: n1:b\x00\x1b[31m", key="n1:a")
    (lab / "state" / "a.md").write_text("2")
    assert repository.commit(["state"], "Two", key="n1:b") not in (None, first)
    with pytest.raises(UsageError):
        repository.commit(["state"], "x", key="a\nNightlab-Key: b")
    with pytest.raises(UsageError):
        repository.commit(["state"], "x", {"bad name": "b"})
    with pytest.raises(UsageError):
        repository.commit(["state"], "\x00 ")


def test_deleted_and_odd_names_are_committed(lab: Path) -> None:
    odd = ["-n.md", "a b.md", "star*.md", ":(top)x.md", "ü.md", 'quo"te.md', "new\nline.md"]
    for name in [*odd, "starfish.md"]:
        (lab / "state" / name).write_text(name)
    repository = Repository(lab)
    repository.commit([f"state/{name}" for name in odd], "Odd")
    assert git(lab, "ls-files", "-z", "state").split("\0")[:-1] == sorted(f"state/{n}" for n in odd)
    (lab / "state" / "a b.md").unlink()
    assert repository.commit(["state/a b.md"], "Deleted") is not None
    assert "state/a b.md" not in git(lab, "ls-files", "-z").split("\0")


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", ".git/config", "state/../../x", "linked/x"])
def test_paths_outside_the_lab_are_refused(lab: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (lab / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="not a path of this lab"):
        Repository(lab).commit([path], "x")


@pytest.mark.parametrize("paths", [["."], [], ["state", ""]])
def test_the_whole_lab_is_never_committed_at_once(lab: Path, paths: list[str]) -> None:
    with pytest.raises(UsageError, match="name the paths"):
        Repository(lab).commit(paths, "x")


@pytest.mark.parametrize(
    ("name", "text", "line", "kind"),
    [
        ("a.md", f"one\ntwo {KEY}\n", 2, "an Anthropic API key"),
        ("a.md", "-----BEGIN " + "OPENSSH PRIVATE KEY-----\n", 1, "a private key"),
        ("a.md", "x\n\nhf_" + "a" * 34, 3, "a Hugging Face token"),
        ("a.md", "AKIA" + "ABCDEFGHIJKLMNOP", 1, "an AWS access key"),
        ("a.md", "token: correct-horse-battery", 1, "the value of $LAB_TOKEN"),
        (".env", "x=1", 1, "a file of secrets"),
    ],
)
def test_a_secret_is_refused_with_its_line_and_not_its_value(
    lab: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, line: int, kind: str
) -> None:
    monkeypatch.setenv("LAB_TOKEN", "correct-horse-battery")
    (lab / "state" / "fine.md").write_text(
        "LAB_TOKEN, sk-ant-short, hf_x, a-task-with-a-very-long-name-that-goes-on-and-on-and-on-for-ever"
    )
    (lab / "state" / name).write_text(text)
    with pytest.raises(SecretFound) as caught:
        Repository(lab).commit(["state"], "x")
    assert [str(leak) for leak in caught.value.leaks] == [f"state/{name}:{line} looks like {kind}"]
    assert text.strip() not in str(caught.value)
    assert git(lab, "status", "--porcelain") == "?? state/"


def test_many_secrets_are_counted(lab: Path) -> None:
    (lab / "state" / "a.md").write_text(f"{KEY}\n" * 7)
    with pytest.raises(SecretFound, match="2 more"):
        Repository(lab).commit(["state"], "x")


def test_a_large_file_stays_out_and_is_described(lab: Path) -> None:
    (lab / "state" / "big.jsonl").write_bytes(b"x" * 200_001)
    (lab / "state" / "small.md").write_text("s")
    said: list[str] = []
    repository = Repository(lab, limit_mb=0.2, say=said.append)
    [large] = repository.oversized(["state"])
    assert (large.path, large.size, len(large.sha256)) == ("state/big.jsonl", 200_001, 64)
    assert repository.commit(["state"], "x") is not None
    assert git(lab, "ls-files") == "state/small.md"
    assert said == [f"state/big.jsonl is above 0.2 MB and was not committed; its hash is {large.sha256}"]
    body = git(lab, "log", "-1", "--format=%b")
    assert f"Not in git: state/big.jsonl, 200001 bytes, sha256 {large.sha256}" in body


def test_ignored_paths_and_inner_repositories_are_said(lab: Path) -> None:
    (lab / ".gitignore").write_text("*.tmp\n")
    (lab / "state" / "a.tmp").write_text("t")
    inner = lab / "state" / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "f").write_text("f")
    git(inner, "add", "f")
    git(inner, "commit", "-q", "-m", "x")
    said: list[str] = []
    assert Repository(lab, say=said.append).commit(["state/a.tmp", "state"], "x") is None
    assert said == [
        "state/a.tmp is ignored by git and was not committed",
        "state/inner/ is a git repository of its own and was not committed",
    ]


def test_hooks_and_signing_do_not_run(lab: Path) -> None:
    for hook in ("pre-commit", "commit-msg", "post-commit", "prepare-commit-msg"):
        path = lab / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {lab}/ran-{hook}\nexit 1\n")
        path.chmod(0o755)
    git(lab, "config", "commit.gpgSign", "true")
    git(lab, "config", "gpg.program", "/bin/false")
    (lab / "state" / "a.md").write_text("a")
    assert Repository(lab).commit(["state"], "x") is not None
    assert list(lab.glob("ran-*")) == []


def test_a_lab_inside_a_larger_repository(tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    lab = outer / "work" / "lab"
    (lab / "state").mkdir(parents=True)
    git(outer, "init", "-q")
    (outer / "other.md").write_text("o")
    (lab / "state" / "a.md").write_text("a")
    repository = Repository(lab)
    assert repository.commit(["state"], "x") is not None
    assert git(outer, "ls-files") == "work/lab/state/a.md"
    assert repository.is_clean()
    with pytest.raises(UsageError):
        repository.commit(["../../other.md"], "x")
    (outer / ".gitignore").write_text("work/\n")
    git(outer, "rm", "-q", "--cached", "-r", "work")
    with pytest.raises(LabError, match="ignores it"):
        repository.check()


def test_a_git_hook_s_environment_does_not_lead_to_another_repository(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (lab / "state" / "a.md").write_text("a")
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    sha = Repository(lab).commit(["state"], "x")
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert git(lab, "rev-parse", "HEAD") == sha


def test_no_repository_and_no_identity_name_the_command(lab: Path, tmp_path: Path) -> None:
    bare_folder = tmp_path / "plain"
    bare_folder.mkdir()
    with pytest.raises(LabError, match="not in a git repository") as caught:
        Repository(bare_folder).check()
    assert caught.value.hint == f"git init {bare_folder}"
    with pytest.raises(LabError):
        Repository(tmp_path / "missing").check()
    Repository(lab).check()
    assert Repository(lab).has_identity()
    (Path.home() / ".gitconfig").write_text("")
    assert not Repository(lab).has_identity()
    with pytest.raises(UsageError, match="does not know who commits") as missing:
        Repository(lab).check()
    assert "git config --global user.name" in (missing.value.hint or "")


def test_a_bare_repository_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "bare")
    with pytest.raises(LabError, match="no work tree"):
        Repository(tmp_path / "bare").check()


def test_states_in_which_a_commit_would_be_wrong(lab: Path) -> None:
    path = lab / "state" / "a.md"
    repository = Repository(lab)
    path.write_text("1")
    repository.commit(["state"], "1")
    git(lab, "switch", "-q", "-c", "side")
    path.write_text("side")
    repository.commit(["state"], "side")
    git(lab, "switch", "-q", "main")
    path.write_text("main")
    repository.commit(["state"], "main")
    git(lab, "merge", "side", check=False)
    with pytest.raises(LabError, match="a merge is not finished") as caught:
        repository.commit(["state"], "x")
    assert "merge --abort" in (caught.value.hint or "")
    git(lab, "merge", "--abort")
    path.write_text("stashed")
    git(lab, "stash", "-q")
    path.write_text("newer")
    repository.commit(["state"], "newer")
    git(lab, "stash", "pop", check=False)
    with pytest.raises(LabError, match="merge conflicts"):
        repository.commit(["state"], "x")
    git(lab, "checkout", "-q", "-f", "--detach", "main")
    with pytest.raises(LabError, match="detached"):
        repository.commit(["state"], "x")


def test_a_linked_work_tree_commits_on_its_own_branch(lab: Path, tmp_path: Path) -> None:
    (lab / "state" / "a.md").write_text("1")
    Repository(lab).commit(["state"], "1")
    tree = tmp_path / "tree"
    git(lab, "worktree", "add", "-q", "-b", "night", str(tree))
    (tree / "state" / "a.md").write_text("2")
    (lab / ".git" / "worktrees" / "tree" / "index.lock").write_text("")
    os.utime(lab / ".git" / "worktrees" / "tree" / "index.lock", (0, 0))
    sha = Repository(tree).commit(["state"], "2")
    assert git(lab, "rev-parse", "night") == sha
    assert Repository(lab).is_clean()


@pytest.mark.parametrize("name", ["index.lock", "HEAD.lock", "refs/heads/main.lock"])
def test_a_lock_that_a_crash_left_is_removed_and_said(lab: Path, name: str) -> None:
    lock = lab / ".git" / name
    lock.write_text("")
    os.utime(lock, (time.time() - 60,) * 2)
    (lab / "state" / "a.md").write_text("a")
    said: list[str] = []
    assert Repository(lab, say=said.append).commit(["state"], "x") is not None
    assert len(said) == 1
    assert said[0].startswith(f"removed {lock.name}, which a crash left")


def test_a_young_lock_is_waited_for(lab: Path) -> None:
    lock = lab / ".git" / "index.lock"
    lock.write_text("")
    (lab / "state" / "a.md").write_text("a")
    timer = threading.Timer(0.3, lock.unlink)
    timer.start()
    start = time.monotonic()
    said: list[str] = []
    assert Repository(lab, say=said.append).commit(["state"], "x") is not None
    timer.join()
    assert time.monotonic() - start >= 0.25
    assert said == []


def test_a_lock_that_stays_is_an_error_that_names_it(lab: Path) -> None:
    lock = lab / ".git" / "index.lock"
    lock.write_text("")
    (lab / "state" / "a.md").write_text("a")
    with pytest.raises(LockHeld, match="no process of this machine") as caught:
        Repository(lab, wait=0.2).commit(["state"], "x")
    assert f"rm {lock}" in (caught.value.hint or "")
    assert lock.exists()


def test_a_lock_held_by_a_living_git_is_left_alone(lab: Path) -> None:
    """A real git commit that waits for its editor holds the lock."""
    (lab / "state" / "b.md").write_text("b")
    git(lab, "add", "state/b.md")
    editor = f"{sys.executable} -c 'import time; time.sleep(30)'"
    process = subprocess.Popen(
        ["git", "-C", str(lab), "-c", f"core.editor={editor}", "commit"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    lock = lab / ".git" / "index.lock"
    try:
        deadline = time.monotonic() + 60
        while not (lab / ".git" / "COMMIT_EDITMSG").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        lock.touch()
        os.utime(lock, (0, 0))
        (lab / "state" / "a.md").write_text("a")
        with pytest.raises(LockHeld, match=f"process {process.pid} holds it"):
            Repository(lab, wait=0.3).commit(["state/a.md"], "x")
        assert lock.exists()
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def test_git_s_own_refusal_is_one_sentence(lab: Path) -> None:
    (lab / "state" / "a.md").write_text("a")
    (lab / ".git" / "config").write_text("[broken\n")
    with pytest.raises(LabError) as caught:
        Repository(lab).commit(["state"], "x")
    assert "\n" not in caught.value.what


def test_no_git_process_is_left(lab: Path) -> None:
    (lab / "state" / "a.md").write_text("a")
    repository = Repository(lab)
    repository.commit(["state"], "x")
    repository.log()
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    names = [Path(f"/proc/{child}/comm").read_text().strip() for child in children]
    assert "git" not in names


def test_a_lock_that_appears_in_between_is_met_with_another_try(lab: Path) -> None:
    """A clean filter, run by `git add`, leaves the lock that the following `git commit` meets."""
    lock = lab / ".git" / "HEAD.lock"
    script = lab.parent / "filter.sh"
    script.write_text(f"#!/bin/sh\n[ -e {lab}/../done ] || touch {lock} {lab}/../done\ncat\n")
    script.chmod(0o755)
    git(lab, "config", "filter.slow.clean", str(script))
    (lab / ".gitattributes").write_text("*.md filter=slow\n")
    (lab / "state" / "a.md").write_text("a")
    said: list[str] = []
    assert Repository(lab, stale_after=0.2, say=said.append).commit(["state"], "x") is not None
    assert [line.split(",")[0] for line in said] == ["removed HEAD.lock"]
    assert git(lab, "rev-list", "--count", "HEAD") == "1"


def test_a_machine_without_git_is_told_what_to_install(lab: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from nightlab.record.repository import Repository\n"
        "from nightlab.errors import LabError\n"
        "try:\n    Repository(Path(sys.argv[1])).check()\nexcept LabError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(lab)], env={"PATH": "/nowhere"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("git is not installed\n  install git")
