"""The code that a server runs against the disk: versions, editable installs, plugins, and since when it is old."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nightlab.servers.code import CodeState, code_of, own_code, stale


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A site folder with an editable distribution whose code is a git checkout, and a plugin of vLLM."""
    source = tmp_path / "checkout"
    (source / "amplify").mkdir(parents=True)
    (source / "amplify" / "core.py").write_text("FACTOR = 1\n")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "one")):
        who = ("-c", "user.name=A", "-c", "user.email=a@b.c")
        subprocess.run(["git", "-C", str(source), *who, *words], check=True)
    site = tmp_path / "site"
    editable = site / "amplify-1.0.dist-info"
    editable.mkdir(parents=True)
    (editable / "METADATA").write_text("Metadata-Version: 2.1\nName: amplify\nVersion: 1.0\n")
    (editable / "direct_url.json").write_text(f'{{"url": "file://{source}", "dir_info": {{"editable": true}}}}')
    installed = site / "vllm_extra-2.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-extra\nVersion: 2.0\n")
    (installed / "entry_points.txt").write_text("[vllm.general_plugins]\nextra = extra_plugin:register\n")
    (site / "extra_plugin").mkdir()
    (site / "extra_plugin" / "__init__.py").write_text("def register(): ...\n")
    return site


def look(site: Path, monkeypatch: pytest.MonkeyPatch) -> CodeState:
    monkeypatch.setenv("PYTHONPATH", str(site))
    return code_of([sys.executable], ["pytest"])


def test_editable_code_and_plugins_are_found_and_a_change_is_dated(
    plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = look(plugin, monkeypatch)
    assert then.problem is None
    assert then.versions["amplify"] == "1.0"
    assert "pytest" in then.versions
    amplify = then.roots["amplify"]
    assert amplify.commit is not None
    assert amplify.dirty is False
    assert "vllm-extra:extra_plugin" in then.roots
    assert stale(then, look(plugin, monkeypatch)) is None

    core = plugin.parent / "checkout" / "amplify" / "core.py"
    os.utime(core)
    assert stale(then, look(plugin, monkeypatch)) is None, "touched, and the same"
    core.write_text("FACTOR = 2\n")
    later = time.time() + 60
    os.utime(core, (later, later))
    current = look(plugin, monkeypatch)
    assert current.roots["amplify"].dirty is True
    found = stale(then, current)
    assert found is not None
    assert len(found.reasons) == 1
    assert "amplify changed" in found.reasons[0]
    assert "+" in found.reasons[0], "the working tree is dirty"
    assert found.since == pytest.approx(later, abs=1)


def test_another_version_is_stale_and_a_removed_package_too(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then = look(plugin, monkeypatch)
    (plugin / "extra_plugin" / "__init__.py").unlink()
    meta = plugin / "vllm_extra-2.0.dist-info" / "METADATA"
    meta.write_text(meta.read_text().replace("2.0", "2.1"))
    found = stale(then, look(plugin, monkeypatch))
    assert found is not None
    assert found.reasons[0] == "vllm-extra 2.0 runs, 2.1 is installed"
    assert "extra_plugin changed" in found.reasons[1]
    aged = then.model_copy(update={"versions": {**then.versions, "pytest": "1.0"}})
    older = stale(aged, look(plugin, monkeypatch))
    assert older is not None
    assert any(reason.startswith("pytest 1.0 runs") for reason in older.reasons)
    assert older.since >= then.at


def test_an_environment_that_cannot_be_asked_is_recorded_not_guessed() -> None:
    found = code_of(["/no/such/python"], ["vllm"])
    assert found.problem is not None
    assert "/no/such/python" in found.problem
    assert stale(found, found) is None


def test_the_embedded_server_s_own_code_is_known() -> None:
    found = own_code()
    assert set(found.roots) == {"nightlab/servers/embedded", "nightlab/adapters"}
    assert "torch" in found.versions
    assert stale(found, own_code()) is None
