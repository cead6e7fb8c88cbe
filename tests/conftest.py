"""What tests of several rooms share, and the order in which they run."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from tests import slurm


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> slurm.Cluster:
    """A real Slurm, which the commands of this test speak to."""
    one = slurm.cluster()
    monkeypatch.setenv("SLURM_CONF", str(one.conf))
    monkeypatch.setenv("PATH", slurm.PATH)
    return one


def seconds(item: pytest.Item) -> float:
    """About how long a test takes on an idle core: what its marker `slow(seconds)` says, 3 where it says nothing."""
    mark = item.get_closest_marker("slow")
    return 0.0 if mark is None else float(mark.args[0]) if mark.args else 3.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, each as a whole: the workers end together, and short tests fill the gaps."""
    files: dict[Path, float] = defaultdict(float)
    for item in items:
        files[item.path] += seconds(item)
    items.sort(key=lambda item: -files[item.path])
