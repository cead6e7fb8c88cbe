"""analysis.ipynb: the analysis of an experiment step by step, executed, with the figures of the report.

It is made from analysis.py, a script in cells (jupytext's percent form) that anybody may edit and that runs by itself;
a script that is there is kept. The notebook reads rows and snapshot, and asserts that its figures are the report's.
Needs the extra `notebook`, and a kernel of this Python; it starts in some seconds.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

from nightlab import __version__
from nightlab.errors import NotSetUp, UsageError
from nightlab.files import read_text, write_atomic

SCRIPT, NOTEBOOK = "analysis.py", "analysis.ipynb"
EXTRA = ("jupytext", "nbclient", "ipykernel")
TIMEOUT = 300  # seconds for one cell

_TEXT = """# /// script
# requires-python = ">=3.11"
# dependencies = ["nightlab[notebook]=={version}"]
# ///
# %% [markdown]
# # {name}: the analysis, step by step
#
# Made by nightlab from the rows beside it. The report is made by the same code; edit and run this one as you like.

# %%
import tempfile
from pathlib import Path

from nightlab.evidence.analyze import analyze_again

here = Path.cwd()
again = Path(tempfile.mkdtemp())
analysis = analyze_again(here, again)
print(f"{{analysis.table.answered()}} of {{len(analysis.table.cells)}} planned cells answered")

# %% [markdown]
# ## Every planned cell, and what became of it

# %%
cells = analysis.table.frame
cells.data.groupby(["model", "status"], sort=False).size().unstack(fill_value=0)

# %%
cells.data.head(8)

# %% [markdown]
# What you do with these rows by `keep`, `transform`, `join` and `group` declares its keys, and raises where rows get
# lost without a reason or a factor is pooled without saying so.

# %%
counted = cells.keep(cells.data["status"] == "scored", why="not scored")
print(dict(counted.explained) or "all cells are scored")
means = dict.fromkeys(analysis.table.dimensions, "mean")
counted.group("model", "condition", over=["prompt", "replicate"], **means).data

# %% [markdown]
# ## Means with their intervals

# %%
import pandas as pd

means = pd.read_csv(again / "tables" / "means.csv")
means[means["dimension"] == analysis.summary.main].drop(columns="dimension")

# %% [markdown]
# ## Verdicts and claims

# %%
for verdict in analysis.verdicts:
    print(f"{{verdict.id}} {{verdict.verdict}}: {{verdict.text}}")

# %%
for claim in analysis.claims:
    print(f"{{claim.id}}: {{claim.sentence}}")

# %% [markdown]
# ## Figures

# %%
from IPython.display import Image, display

for figure in analysis.figures:
    assert (again / figure.csv).read_bytes() == (here / figure.csv).read_bytes(), f"{{figure.name}} is stale"
    print(figure.title)
    display(Image((again / figure.png).read_bytes(), width=900))
"""


def write_notebook(folder: Path) -> Path:
    """Write and execute an experiment's notebook. Raises NotSetUp without the extra, UsageError where a cell fails."""
    require_extra()
    script = folder / SCRIPT
    if not script.exists():
        write_atomic(script, _TEXT.format(name=folder.name, version=__version__))
    path = folder / NOTEBOOK
    write_atomic(path, executed(read_text(script, UsageError), folder))
    return path


def require_extra() -> None:
    """Raise NotSetUp where the packages that execute notebooks are not installed."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        hint = "uv pip install 'nightlab[notebook]', then the same command again"
        raise NotSetUp(f"no notebook without {', '.join(missing)}", hint=hint)


def executed(script: str, folder: Path) -> str:
    """A script in cells as an executed notebook; nothing in it tells when or where it ran."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook: Any = jupytext.reads(script, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = hashlib.sha256(f"{number}:{cell.source}".encode()).hexdigest()[:8]
    kernel = {"name": "python3", "display_name": "Python", "language": "python"}
    notebook.metadata = {"kernelspec": kernel}
    with tempfile.TemporaryDirectory(prefix="nightlab-") as sockets:
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT,
            record_timing=False,
            kernel_manager_class=_ours(sockets),
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute()
        except CellExecutionError as problem:
            last = str(problem).strip().splitlines()[-1:] or ["a cell failed"]
            raise UsageError(f"a cell of the notebook failed: {last[0][:300]}", where=folder / SCRIPT) from problem
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return str(nbformat.writes(notebook)) + "\n"


def _ours(sockets: str) -> type:
    """A kernel of this very Python, whatever kernels the user has registered, that listens on no port."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    class OurKernel(AsyncKernelManager):  # type: ignore[misc]
        @default("transport")
        def _transport_default(self) -> str:
            return "ipc"

        @default("ip")
        def _ip_default(self) -> str:
            return f"{sockets}/kernel"

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(
                argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
            )

    return OurKernel
