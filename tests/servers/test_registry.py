"""The one list of models and adapters: practice set, cache, trained here, and ids that mean the same weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nightlab import practice
from nightlab.adapters import hub
from nightlab.errors import UsageError
from nightlab.lab import Lab
from nightlab.servers import registry


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fetched(cache: Path, name: str, source: Path, commit: str = "c0ffee") -> Path:
    """A repository as the cache keeps it, whose main is at a commit."""
    home = cache / f"models--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    shutil.copytree(source, home / "snapshots" / commit)
    return home / "snapshots" / commit


def test_ids_are_found_in_the_cache_with_their_revision(cache: Path) -> None:
    folder = fetched(cache, "lab/llama", practice.model_dir("llama"))
    assert hub.cached("lab/llama") == folder
    assert hub.cached("lab/llama", "c0ffee") == folder
    assert hub.cached("lab/llama", "beef") is None
    assert hub.revision_of(folder) == "c0ffee"
    below = folder / "sub" / "persona"
    below.mkdir(parents=True)
    assert hub.cached("lab/llama/sub/persona") == below
    assert [hub.cached(name) for name in ("nobody/else", "practice:llama", "/tmp", "..", "no-owner")] == [None] * 5


def test_two_ids_of_the_same_weights_are_two_and_said_so(lab: Lab, cache: Path) -> None:
    fetched(cache, "copy/llama", practice.model_dir("llama"))
    known = {one.id: one for one in registry.models(lab)}
    assert known["copy/llama"].aliases == ("nightlab/practice-llama",)
    assert known["nightlab/practice-llama"].aliases == ("copy/llama",)
    assert known["nightlab/practice-gemma"].aliases == ()
    assert (known["copy/llama"].origin, known["copy/llama"].revision, known["copy/llama"].layers) == (
        "cache",
        "c0ffee",
        20,
    )


def test_people_name_models_and_aliases(lab: Lab, cache: Path) -> None:
    entry = f"models:\n  - {{id: Qwen/q, path: {practice.model_dir('qwen')}, aliases: [unsloth/q], revision: abc}}\n"
    (lab.root / registry.FILE).write_text(entry)
    known = {one.id: one for one in registry.models(lab)}
    assert known["Qwen/q"].aliases == ("nightlab/practice-qwen", "unsloth/q")
    assert registry.same_model(lab.root, "unsloth/q", "Qwen/q")
    assert registry.same_model(lab.root, "x", "x")
    assert not registry.same_model(lab.root, "Qwen/q", "nightlab/practice-qwen"), "only what a person said"


@pytest.mark.parametrize("text", ["models: [{path: x}]", "modles: []", "models: 3"])
def test_a_wrong_file_is_a_usage_error_that_names_it(lab: Lab, text: str) -> None:
    (lab.root / registry.FILE).write_text(text)
    with pytest.raises(UsageError) as caught:
        registry.models(lab)
    assert str(caught.value.where).endswith(registry.FILE)


def test_adapters_name_their_base_and_what_they_fit(lab: Lab, cache: Path) -> None:
    shutil.copytree(practice.adapter_dir("gemma"), lab.trained / "mine")
    (lab.trained / "broken").mkdir()
    (lab.trained / "broken" / "adapter_config.json").write_text("{")
    found = {one.name: one for one in registry.adapters(lab, registry.models(lab))}
    assert set(found) == {"llama/sarcasm", "gemma/sarcasm", "qwen/sarcasm", "mine"}
    assert (found["mine"].origin, found["mine"].card.base) == ("trained here", "nightlab/practice-gemma")
    assert found["mine"].fits == ("nightlab/practice-gemma",)
