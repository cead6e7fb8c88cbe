"""Durable files: what a crash, a full disk and damaged text leave behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightlab.errors import ConfigError, StorageError
from nightlab.files import JsonLines, canonical, clear_parts, read_text, read_yaml, sha256_json, write_atomic

ROWS = st.lists(st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(max_size=20), st.none())))


def test_write_atomic_replaces_and_keeps_mode(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomic(path, "one")
    path.chmod(0o600)
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_folder_in_the_way_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "taken", "text")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


@given(rows=ROWS)
def test_rows_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]) -> None:
    lines = JsonLines(tmp_path_factory.mktemp("rows") / "f.jsonl")
    lines.append_many(rows)
    lines.close()
    assert list(lines.read()) == rows


@pytest.mark.parametrize("line", ['{"a":"\\ud800"}', '{"a":18446744073709551617}', '{"a":-9223372036854775809}'])
def test_what_the_fast_reader_rounds_or_refuses_comes_back_too(tmp_path: Path, line: str) -> None:
    (tmp_path / "f.jsonl").write_text(line + "\n")
    assert list(JsonLines(tmp_path / "f.jsonl").read()) == [json.loads(line)]


@given(rows=ROWS, cut=st.integers(0, 200))
def test_a_torn_tail_loses_at_most_the_last_row(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("torn") / "f.jsonl"
    writer = JsonLines(path)
    writer.append_many(rows)
    writer.close()
    data = path.read_bytes() if rows else b""
    path.write_bytes(data[: max(0, len(data) - cut)])
    kept = list(JsonLines(path).read())
    assert kept == rows[: len(kept)]
    again = JsonLines(path)
    again.append({"after": 1})
    again.close()
    assert list(again.read()) == [*kept, {"after": 1}]


def test_a_damaged_middle_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":\n{"a":3}\n')
    with pytest.raises(StorageError) as caught:
        list(JsonLines(path).read())
    assert f"{path}:2" in str(caught.value)
    path.write_bytes(b"[1]\n")
    with pytest.raises(StorageError, match="no JSON object"):
        list(JsonLines(path).read())


def test_tail_gives_only_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    lines = JsonLines(path)
    assert lines.tail(0) == ([], 0)
    lines.append({"n": 1})
    with path.open("ab") as raw:
        raw.write(b'{"n": 2')
    rows, offset = lines.tail(0)
    assert rows == [{"n": 1}]
    assert lines.tail(offset) == ([], offset)
    assert lines.repair() == len(b'{"n": 2')
    assert lines.repair() == 0
    lines.close()


def test_two_threads_write_side_by_side(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "f.jsonl")

    def work(name: str) -> None:
        for number in range(200):
            lines.append({"who": name, "n": number}, sync=False)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.close()
    rows = list(lines.read())
    assert sorted((r["who"], r["n"]) for r in rows) == [(w, n) for w in "ab" for n in range(200)]


def mounted(folder: Path, options: str, script: Path) -> subprocess.CompletedProcess[str]:
    """Run a script on a small file system of its own, in a mount namespace of its own."""
    run = f"mount -t tmpfs -o {options} none {folder} && exec {sys.executable} {script} {folder}"
    return subprocess.run(["unshare", "-rm", "sh", "-c", run], capture_output=True, text=True, timeout=60, check=False)


FULL_DISK = """
import json, sys
from pathlib import Path
from nightlab.errors import StorageError
from nightlab.files import JsonLines, write_atomic
folder = Path(sys.argv[1])
lines, count = JsonLines(folder / "f.jsonl"), 0
try:
    while True:
        lines.append({"n": count, "fill": "x" * 5000}); count += 1
except StorageError as error:
    said = str(error)
kept = len(list(lines.read()))
try:
    write_atomic(folder / "whole", "y" * 200000); atomic = "written"
except StorageError as error:
    atomic = str(error)
names = sorted(p.name for p in folder.iterdir())
print(json.dumps([count, kept, said, atomic, names]))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux) to mount a small file system")
def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = tmp_path / "fill.py"
    script.write_text(FULL_DISK)
    mount = f"mount -t tmpfs -o size=300k none {small} && exec {sys.executable} {script} {small}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    count, kept, said, atomic, names = json.loads(done.stdout)
    assert kept == count > 10
    assert "the disk is full" in said
    assert "the disk is full" in atomic
    assert names == ["f.jsonl"]


def test_reading_names_the_file_and_the_neighbour(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="byte 3"):
        read_text(tmp_path / "config.yaml", ConfigError)
    with pytest.raises(ConfigError) as caught:
        read_text(tmp_path / "confg.yaml", ConfigError)
    assert "did you mean config.yaml?" in str(caught.value)
    with pytest.raises(ConfigError, match="directory"):
        read_text(tmp_path, ConfigError)


@pytest.mark.parametrize(
    ("text", "says", "line"),
    [
        ("a: 1\nb: [1\n", "expected", 3),
        ("a: 1\na: 2\n", "given twice", 2),
        ("? [1]\n: 2\n", "no plain value", 1),
        ("a: 1\nb: 2026-99-99\n", "month must be", 2),
        ("a: 1\nb: [!!int x]\n", "invalid literal", 2),
        ("a: 1\nb:\tc\n", "cannot start any token", 2),
        ("a: 1\nb: 'x\0'\n", "#x0000 is not allowed", 2),
        ('a: 1\nb: "\\ud800"\n', "surrogates not allowed", 2),
    ],
)
def test_malformed_yaml_names_its_line(tmp_path: Path, text: str, says: str, line: int) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        read_yaml(path, ConfigError)
    assert f"{path}:{line}" in str(caught.value)


def test_yaml_that_never_ends_nesting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("a: " + "[" * 3000)
    with pytest.raises(ConfigError, match=r"nested too deeply \(.*f\.yaml\)"):
        read_yaml(tmp_path / "f.yaml", ConfigError)


def test_half_a_surrogate_pair_is_kept_as_an_escape(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "f.jsonl")
    lines.append_many([{"a": "\ud800é"}, {"a": "é"}])
    lines.close()
    assert [row["a"] for row in lines.read()] == ["\ud800é", "é"]
    assert lines.path.read_bytes().decode("utf-8").count("é") == 1


def test_yaml_reads_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n")
    assert read_yaml(path, ConfigError) == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}


def test_equal_values_have_equal_hashes() -> None:
    assert sha256_json({"b": 1, "a": [1.5, None]}) == sha256_json({"a": [1.5, None], "b": 1})
    assert canonical({"ä": 1}) == '{"ä":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))


READ_ONLY = """
import sys
from pathlib import Path
from nightlab.files import JsonLines, write_atomic
from nightlab.errors import StorageError
for write in (lambda p: write_atomic(p, "x"), lambda p: JsonLines(p).append({"n": 1})):
    try:
        write(Path(sys.argv[1]) / "f")
    except StorageError as error:
        print(error)
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux) to mount a small file system")
def test_a_read_only_folder_is_said(tmp_path: Path) -> None:
    small, script = tmp_path / "small", tmp_path / "write.py"
    small.mkdir()
    script.write_text(READ_ONLY)
    done = mounted(small, "size=300k,ro", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the file system is read-only") == 2


def test_what_a_killed_process_left_half_written_is_cleared(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".a.json.{dead.pid}-x1y2.part").write_text("half")
    (tmp_path / f".a.json.{os.getpid()}-x1y2.part").write_text("being written")
    (tmp_path / ".mine.part").write_text("a person's")
    assert clear_parts(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".a.json.{os.getpid()}-x1y2.part", ".mine.part"]


def test_rows_without_sync_are_there_at_once_and_flushed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_size))
    lines = JsonLines(tmp_path / "l.jsonl")
    lines.append({"n": 1}, sync=False)
    flushed.clear()
    assert [row["n"] for row in lines.read()] == [1]
    lines.sync()
    lines.sync()
    lines.append({"n": 2}, sync=False)
    lines.append({"n": 3})
    lines.close()
    size = lines.path.stat().st_size
    assert flushed == [size // 3, size]
