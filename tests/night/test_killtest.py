"""A sample of the kill test: what it finds in full is found by `python bench/killtest.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

KILLTEST = Path(__file__).parents[2] / "bench" / "killtest.py"
pytestmark = [pytest.mark.real, pytest.mark.slow(70)]


@pytest.mark.timeout(900)
def test_a_sample_of_kills_changes_nothing(tmp_path: Path) -> None:
    words = [sys.executable, str(KILLTEST), "--small", "--sample", "40", "--each", "20", "--who", "all", "--json"]
    done = subprocess.run([*words, "--folder", str(tmp_path)], capture_output=True, text=True, timeout=880, check=False)
    told = json.loads(done.stdout)
    bad = [case for case in told["cases"] if case["differences"]]
    assert bad == [], "\n\n".join("\n".join([str(case["moments"]), *case["differences"]]) for case in bad)
    assert sum(len(case["moments"]) for case in told["cases"]) == 40
    assert done.returncode == 0, done.stderr
