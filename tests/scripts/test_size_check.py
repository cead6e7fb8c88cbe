"""The size check fires on a file, a function and a spread that are too large, and is quiet on small ones."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "size_check.py"


def run(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True, check=False)


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def function(name: str, lines: int) -> str:
    return f"def {name}():\n" + "    x = 1\n" * (lines - 1) + "\n\n"


def test_small_files_pass(tmp_path: Path) -> None:
    write(tmp_path, "src/nightlab/a.py", function("f", 10) + function("g", 80) + function("h", 3) * 20)
    write(tmp_path, "tools/b.py", "x = 1\n" * 300)
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "2 files" in done.stdout
    assert "src/nightlab/a.py:13 g (80)" in done.stdout


def test_a_file_of_301_lines_is_named(tmp_path: Path) -> None:
    write(tmp_path, "tools/big.py", "x = 1\n" * 301)
    done = run(tmp_path)
    assert done.returncode == 1
    assert "tools/big.py: 301 lines, at most 300" in done.stdout


def test_a_function_of_81_lines_is_named(tmp_path: Path) -> None:
    write(
        tmp_path,
        "src/nightlab/a.py",
        "class C:\n    async " + function("long", 81).replace("\n", "\n    ").strip() + "\n",
    )
    done = run(tmp_path)
    assert done.returncode == 1
    assert "src/nightlab/a.py:2 long: 81 lines, at most 80" in done.stdout


def test_the_median_and_the_ninth_tenth_count(tmp_path: Path) -> None:
    write(tmp_path, "src/nightlab/a.py", "".join(function(f"f{i}", 11) for i in range(8)) + function("g", 31) * 2)
    done = run(tmp_path)
    assert done.returncode == 1
    assert "the median function has 11 lines" in done.stdout
    assert "nine functions in ten have up to 31 lines" in done.stdout
