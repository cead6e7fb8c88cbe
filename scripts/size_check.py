"""The size limits of the house: files of at most 300 lines; functions: median 10, nine in ten 30, none above 80 lines.

Counts every line of a file, and of a function those from `def` to its end, docstring included, decorators not.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("src", "tools")
FILE_LINES = 300
MEDIAN, NINE_IN_TEN, LONGEST = 10, 30, 80
WORST = 5  # shown of each kind


@dataclass(frozen=True, order=True)
class Sized:
    """A file or a function and its lines."""

    lines: int
    where: str


def files(root: Path) -> list[Path]:
    """Every Python file that the limits hold for."""
    return sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))


def functions(path: Path, root: Path) -> Iterator[Sized]:
    """Every function of a file, methods and inner ones too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Sized(lines, f"{path.relative_to(root)}:{node.lineno} {node.name}")


def problems(file_sizes: list[Sized], function_sizes: list[Sized]) -> list[str]:
    """One sentence for each limit that does not hold."""
    found = [f"{s.where}: {s.lines} lines, at most {FILE_LINES}" for s in file_sizes if s.lines > FILE_LINES]
    found += [f"{s.where}: {s.lines} lines, at most {LONGEST}" for s in function_sizes if s.lines > LONGEST]
    median, nine = spread(function_sizes)
    if median > MEDIAN:
        found.append(f"the median function has {median} lines, at most {MEDIAN}")
    if nine > NINE_IN_TEN:
        found.append(f"nine functions in ten have up to {nine} lines, at most {NINE_IN_TEN}")
    return found


def spread(sizes: list[Sized]) -> tuple[int, int]:
    """The median and the 90 % quantile of the lines."""
    lines = sorted(s.lines for s in sizes) or [0]
    return int(statistics.median(lines)), lines[min(len(lines) - 1, len(lines) * 9 // 10)]


def main(root: Path) -> int:
    """Print the largest files and functions and every limit that does not hold; 1 if there is one."""
    file_sizes = [Sized(len(p.read_text("utf-8").splitlines()), str(p.relative_to(root))) for p in files(root)]
    function_sizes = [size for path in files(root) for size in functions(path, root)]
    median, nine = spread(function_sizes)
    total = sum(s.lines for s in file_sizes)
    print(f"{len(file_sizes)} files, {total} lines; {len(function_sizes)} functions, median {median}, 90 % {nine}")
    for title, sizes in (("largest files", file_sizes), ("longest functions", function_sizes)):
        print(f"{title}: " + ", ".join(f"{s.where} ({s.lines})" for s in sorted(sizes, reverse=True)[:WORST]))
    found = problems(file_sizes, function_sizes)
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]))
