"""plan.lock.json: a plan as it was frozen, with its hash and the identities behind its cells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.errors import FrozenError
from nightlab.experiments.identity import Treatments
from nightlab.files import now, read_text, sha256_json, write_atomic

LOCK = "plan.lock.json"


@dataclass(frozen=True)
class Lock:
    """A frozen plan: its hash, when it was frozen, and the document that the hash is of."""

    sha256: str
    frozen: str
    document: dict[str, Any]

    @property
    def treatments(self) -> Treatments:
        """The identities behind the frozen cells."""
        return Treatments.from_document(self.document["treatments"])


def read_lock(folder: Path) -> Lock | None:
    """The lock of an experiment folder, or None where its plan is not frozen. Raises FrozenError for a damaged one."""
    path = folder / LOCK
    if not path.exists():
        return None
    try:
        data = json.loads(read_text(path, FrozenError))
        lock = Lock(data["sha256"], data["frozen"], data["document"])
    except (ValueError, KeyError, TypeError):
        raise FrozenError("the lock cannot be read", where=path, hint="restore it from git") from None
    if sha256_json(lock.document) != lock.sha256:
        raise FrozenError(
            "the lock was edited: its hash is not that of its content", where=path, hint="restore it from git"
        )
    return lock


def write_lock(folder: Path, document: dict[str, Any]) -> Lock:
    """Write the lock of a folder durably. Raises StorageError."""
    lock = Lock(sha256_json(document), now(), document)
    content = {"sha256": lock.sha256, "frozen": lock.frozen, "document": document}
    write_atomic(folder / LOCK, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return lock
