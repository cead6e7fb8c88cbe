"""The check of floors fires on every kind of wrong import and name, and is quiet on right ones."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(root: Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "scripts" / "floors.py"
    return subprocess.run([sys.executable, script, root], capture_output=True, text=True, check=False)


def house(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"src/nightlab/__init__.py": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


def test_imports_that_go_down_pass(tmp_path: Path) -> None:
    files = {
        "src/nightlab/errors.py": "",
        "src/nightlab/files.py": "from nightlab.errors import x\n",
        "src/nightlab/servers/__init__.py": "from .server import Server\n",
        "src/nightlab/servers/server.py": "import aiohttp\nfrom nightlab import errors, compute\n",
        "src/nightlab/compute/__init__.py": "",
        "src/nightlab/toolbox.py": "from nightlab.agents import x\n",
        "src/nightlab/agents.py": "",
        "src/nightlab/cli/serve.py": "def run() -> None:\n    from nightlab.servers import Server\n",
        "tools/start_server.py": "from nightlab.toolbox import tool\nfrom nightlab.servers import Server\n",
    }
    done = run(house(tmp_path, files))
    assert (done.returncode, done.stdout) == (0, "floors: 10 modules, every import goes down\n")


WRONG = {
    "upwards": (
        {"src/nightlab/servers/a.py": "from nightlab.judging import Rubric\n", "src/nightlab/judging/__init__.py": ""},
        "nightlab.servers.a:1 imports nightlab.judging.Rubric, which is not on a lower floor",
    ),
    "upwards, inside a function": (
        {"src/nightlab/servers/a.py": "def f():\n    import nightlab.night.graph\n"},
        "nightlab.servers.a:2 imports nightlab.night.graph, which is not on a lower floor",
    ),
    "upwards, relative": (
        {"src/nightlab/servers/a.py": "from ..evidence import stats\n"},
        "nightlab.servers.a:1 imports nightlab.evidence.stats, which is not on a lower floor",
    ),
    "sideways": (
        {"src/nightlab/brains/a.py": "from nightlab.compute import Job\n"},
        "nightlab.brains.a:1 imports nightlab.compute.Job, which is not on a lower floor",
    ),
    "a tool above its floor": (
        {"tools/a.py": "from nightlab.cli import main\n"},
        "tools.a:1 imports nightlab.cli.main, which is not on a lower floor",
    ),
    "an unknown room": ({"src/nightlab/attic/a.py": ""}, "the room 'attic' stands on no floor"),
    "a private name": (
        {"src/nightlab/servers/a.py": "from nightlab.files import _torn\n"},
        "nightlab.servers.a:1 imports nightlab.files._torn, a private name of another room",
    ),
    "a circle": (
        {
            "src/nightlab/servers/a.py": "from nightlab.servers import b\n",
            "src/nightlab/servers/b.py": "from nightlab.servers.a import x\n",
        },
        "a circle of imports: ",
    ),
    "a heavy import": (
        {"src/nightlab/cli/a.py": "import pandas as pd\n"},
        "nightlab.cli.a is light but loads pandas: nightlab.cli.a -> pandas",
    ),
    "a heavy import through others": (
        {
            "src/nightlab/cli/a.py": "from nightlab.servers.chat import Chat\n",
            "src/nightlab/servers/__init__.py": "import aiohttp\n",
            "src/nightlab/servers/chat.py": "",
        },
        "nightlab.cli.a -> nightlab.servers.chat -> nightlab.servers -> aiohttp",
    ),
    "a class that says nothing": (
        {"src/nightlab/servers/a.py": "class ServerManager: ...\n"},
        "nightlab.servers.a:1 class ServerManager: a name that says nothing",
    ),
    "a file that says nothing": ({"src/nightlab/servers/utils.py": ""}, "nightlab.servers.utils: a file name that"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_tree_is_named(case: str, tmp_path: Path) -> None:
    files, sentence = WRONG[case]
    done = run(house(tmp_path, files))
    assert done.returncode == 1
    assert sentence in done.stdout


def test_types_for_the_checker_and_lazy_imports_weigh_nothing(tmp_path: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\ndef f():\n    import pandas\n"
    done = run(house(tmp_path, {"src/nightlab/cli/a.py": text}))
    assert done.returncode == 0, done.stdout
