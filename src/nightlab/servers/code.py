"""Which code a server runs, so that one that runs older code than the disk holds is found out.

Versions of its packages; and for code that can change while it runs (editable installs, plugins, nightlab itself) the
git commit, whether it was dirty, and the content of its files. The content decides: a commit that changes none of these
files makes nothing stale. Limit: of a container that cannot be asked from here nothing is known, and that is recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from nightlab.servers import code_probe

PATIENCE = 60.0  # seconds that an environment may take to answer
_SUFFIXES = (".py", ".so")
_OURS = ("servers/embedded", "adapters")  # of nightlab's own package, what an embedded server runs


class Root(BaseModel):
    """A folder of code: its git state where it has one, and the hash of its files."""

    model_config = ConfigDict(extra="forbid")

    path: str
    commit: str | None = None
    dirty: bool | None = None
    newest: float
    sha256: str


class CodeState(BaseModel):
    """The code of a server at a moment; `problem` says why an environment could not be asked."""

    model_config = ConfigDict(extra="forbid")

    at: float
    versions: dict[str, str] = {}
    installed: dict[str, float] = {}
    roots: dict[str, Root] = {}
    problem: str | None = None


class Stale(BaseModel):
    """Why a server is older than the disk, and since when (seconds of the epoch) its answers are doubtful."""

    reasons: list[str]
    since: float


def own_code() -> CodeState:
    """The code of an embedded server started now."""
    package = Path(__file__).parents[1]
    found = code_probe.look(["nightlab", "torch", "transformers", "peft", "safetensors", "tokenizers"])
    folders = {f"nightlab/{part}": str(package / part) for part in _OURS}
    return _state({**found, "roots": folders})


def code_of(python: Sequence[str], packages: Sequence[str]) -> CodeState:
    """The code of an environment, by its interpreter's command."""
    source = Path(code_probe.__file__).read_text("utf-8")
    argv = [*python, "-c", source, *packages]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(argv, capture_output=True, timeout=PATIENCE, check=True, text=True, env=environment)
        return _state(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()[-300:]
        return CodeState(at=time.time(), problem=f"{python[0]} cannot be asked here: {said}")


def stale(then: CodeState, current: CodeState) -> Stale | None:
    """What changed on the disk since a server's code was recorded; None where nothing that it runs did."""
    if then.problem or current.problem:
        return None
    reasons, since = [], []
    for name, version in then.versions.items():
        other = current.versions.get(name, "gone")
        if other != version and name not in then.roots:
            reasons.append(f"{name} {version} runs, {other} is installed")
            since.append(current.installed.get(name, 0.0))
    for name, root in then.roots.items():
        seen = current.roots.get(name)
        if seen is None or seen.sha256 != root.sha256:
            reasons.append(f"{name} changed at {root.path}" + _commits(root, seen))
            since.append(_first_change(Path(root.path), then.at))
    if not reasons:
        return None
    return Stale(reasons=reasons, since=max(then.at, min(since)))


def _commits(then: Root, current: Root | None) -> str:
    if current is None or then.commit is None or current.commit is None:
        return ""
    return f" ({then.commit[:8]}{'+' * bool(then.dirty)} → {current.commit[:8]}{'+' * bool(current.dirty)})"


def _state(found: dict[str, object]) -> CodeState:
    roots = found["roots"]
    assert isinstance(roots, dict)
    seen = {name: _root(Path(path)) for name, path in sorted(roots.items())}
    content = {"versions": found["versions"], "installed": found["installed"], "roots": seen}
    return CodeState.model_validate({"at": time.time(), **content})


def _root(folder: Path) -> Root:
    digest, newest = hashlib.sha256(), 0.0
    for path in _files(folder):
        stat = path.stat()
        newest = max(newest, stat.st_mtime)
        content = path.read_bytes() if path.suffix == ".py" else f"{stat.st_size}:{stat.st_mtime_ns}".encode()
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode())
        digest.update(content)
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--", ".") if commit else None
    dirty = None if changes is None else bool(changes)
    return Root(path=str(folder), commit=commit, dirty=dirty, newest=newest, sha256=digest.hexdigest())


def _files(folder: Path) -> list[Path]:
    """The code of a folder, without its own environments, caches and hidden folders."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in ("__pycache__", "node_modules", "venv")]
        found += [Path(where, name) for name in names if name.endswith(_SUFFIXES)]
    return sorted(found)


def _first_change(folder: Path, since: float) -> float:
    """When the first file changed after a moment; that moment where no file says so (one was removed)."""
    times = [path.stat().st_mtime for path in _files(folder)] if folder.is_dir() else []
    return min((at for at in times if at > since), default=since)


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
