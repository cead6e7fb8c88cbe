"""The page of a report: one file, inert, in a real browser too; printed, and as an executed notebook."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nightlab.errors import NotSetUp, UsageError
from nightlab.evidence.analyze import analyze
from nightlab.evidence.notebook import SCRIPT, write_notebook
from nightlab.evidence.page import page, write_page
from nightlab.evidence.printing import browser, print_page, run_browser
from nightlab.evidence.report import compile_report

from .conftest import Make
from .test_report import EVIL

Servers = list[dict[str, Any]]


@pytest.fixture
def folder(make: Make, servers: Servers) -> Path:
    """A finished experiment whose models answered with markup."""
    made = make(prompts=3, text=EVIL, question=EVIL, multiplicity={"none": "three prompts decide nothing else"})
    compile_report(made.folder, analyze(made.folder, servers=servers, resamples=100))
    return made.folder


def test_the_page_is_one_inert_file(folder: Path) -> None:
    text = write_page(folder).read_text("utf-8")
    assert "default-src 'none'" in text
    assert re.findall(r"<(?:script|iframe|object|form|link|base)\b", text) == []
    assert re.findall(r"<[^>]*\son\w+\s*=", text) == []
    named = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert {name.split(":")[0].split(";")[0] for name in named if not name.startswith("#")} == {"data"}
    assert text.count("<img ") == 3
    assert text.count('src="data:image/png;base64,') == 3
    assert "&lt;script&gt;alert(1)" in text
    assert '<strong class="supported">supported</strong>' in text
    assert (
        "not corrected for one another, for the reason that the plan gives: three prompts decide nothing else" in text
    )
    assert write_page(folder).read_text("utf-8") == text


def test_a_link_out_of_the_experiment_is_none(tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    text = page("# t\n\n[a](../secret.txt) [b](file:///etc/passwd) ![c](http://x.example/y.png)", tmp_path / "exp")
    assert re.findall(r'href="([^"#][^"]*)"', text) == []
    assert 'src="data:,"' in text
    with pytest.raises(UsageError, match="no report"):
        write_page(tmp_path / "exp")


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason="no Chromium here; continuous integration has one")
def test_a_real_browser_shows_and_prints_it(folder: Path, tmp_path: Path) -> None:
    made = write_page(folder)
    shown = run_browser("--dump-dom", made.as_uri(), folder=str(tmp_path))
    assert re.search(r"<h1>exp_001_toy</h1>", shown)
    assert shown.count("<img ") == 3
    assert "<script" not in shown
    assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", shown)
    printed = print_page(made)
    assert printed.read_bytes().startswith(b"%PDF")
    assert printed.stat().st_size > 50_000, "three figures are in it"


def test_without_a_browser_it_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotSetUp, match="no Chromium") as caught:
        print_page(write_page(folder))
    assert "report.html" in str(caught.value.hint)
    assert not (folder / "report.pdf").exists()


@pytest.mark.slow
def test_the_notebook_is_executed_with_the_figures_of_the_report(folder: Path) -> None:
    made = write_notebook(folder)
    notebook = json.loads(made.read_text("utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    pictures = [one["data"]["image/png"] for one in outputs if "image/png" in one.get("data", {})]
    assert len(pictures) == 3
    assert not any(one["output_type"] == "error" for one in outputs)
    assert "63 of 63 planned cells answered" in "".join(str(one.get("text")) for one in outputs)
    csv = folder / "figs" / "fig1_layers.csv"
    csv.write_text(csv.read_text("utf-8").replace("llama", "gemma"), "utf-8")
    with pytest.raises(UsageError, match="stale"):
        write_notebook(folder)


def test_without_the_extra_it_says_so(folder: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "sys.modules['jupytext'] = None\n"
        "import importlib.util as u\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'jupytext' else real(name, *more)\n"
        "from nightlab.evidence.notebook import write_notebook\n"
        "from nightlab.errors import NotSetUp\n"
        "try:\n    write_notebook(pathlib.Path(sys.argv[1]))\nexcept NotSetUp as e:\n    print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert "no notebook without jupytext" in done.stdout
    assert "nightlab[notebook]" in done.stdout
    assert not (folder / SCRIPT).exists()
