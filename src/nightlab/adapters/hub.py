"""Models and adapters in the Hugging Face cache of this machine: found by id, never fetched.

Servers run offline; `nightlab prefetch` fills the cache where there is a network. An id may go on below a repository
(`user/repo/sub/folder`), as adapters are often kept.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_ID = re.compile(r"[\w.-]+/[\w.-]+(/[\w./-]+)?")


def cache() -> Path:
    """Where the cache is."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()


def split_id(reference: str) -> tuple[str, str] | None:
    """(repository, folder below it) of an id; None for what can be none."""
    if not _ID.fullmatch(reference) or reference.startswith("."):
        return None
    owner, name, *below = reference.split("/")
    return f"{owner}/{name}", "/".join(below)


def cached(reference: str, revision: str | None = None) -> Path | None:
    """The folder of a model or an adapter in the cache, None where it is not there.

    Without a revision the one that `main` was when it was fetched.
    """
    parts = split_id(reference)
    if parts is None:
        return None
    home = cache() / f"models--{parts[0].replace('/', '--')}"
    wanted = revision or "main"
    ref = home / "refs" / wanted
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else wanted
    folder = home / "snapshots" / commit / parts[1]
    return folder if folder.is_dir() else None


def revision_of(folder: Path) -> str | None:
    """The commit that a folder of the cache holds; None for a folder elsewhere."""
    parts = folder.parts
    at = parts.index("snapshots") if "snapshots" in parts else -1
    inside = at > 0 and parts[at - 1].startswith("models--") and len(parts) > at + 1
    return parts[at + 1] if inside else None


def all_cached() -> list[tuple[str, Path]]:
    """(id, folder) of everything in the cache that its `main` points to."""
    found = []
    for home in sorted(cache().glob("models--*")):
        name = home.name.removeprefix("models--").replace("--", "/", 1)
        folder = cached(name)
        if folder is not None:
            found.append((name, folder))
    return found
