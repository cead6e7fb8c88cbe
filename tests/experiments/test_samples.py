"""The stores: durable in groups, torn lines forgotten, doubled lines reported."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightlab.errors import LockHeld, StorageError
from nightlab.experiments.cells import cells
from nightlab.experiments.samples import Samples, Writer, sole_writer
from nightlab.files import JsonLines

from .conftest import Study


def test_samples_are_read_back_and_missing_cells_keep_their_order(study: Study) -> None:
    planned = cells(study.plan())
    samples = Samples(study.folder)
    assert samples.missing(planned) == planned
    samples.append({"key": planned[1].key})
    samples.append({"key": planned[0].key})
    samples.close()
    again = Samples(study.folder)
    assert again.keys() == {planned[0].key, planned[1].key}
    assert again.missing(planned) == planned[2:]
    assert list(again.failures()) == []


def test_a_torn_line_is_missing_and_then_overwritten(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text('{"key":"a"}\n{"key":"b"')
    samples = Samples(tmp_path)
    assert samples.keys() == {"a"}
    samples.append({"key": "b"})
    samples.close()
    assert (tmp_path / "samples.jsonl").read_text() == '{"key":"a"}\n{"key":"b"}\n'


def test_a_key_twice_and_a_row_without_key_are_reported_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text('{"key":"a"}\n{"key":"b"}\n{"key":"a"}\n')
    with pytest.raises(StorageError, match="the sample a stands there twice") as caught:
        Samples(tmp_path).keys()
    assert "samples.jsonl:3" in str(caught.value)
    (tmp_path / "samples.jsonl").write_text('{"text":"a"}\n')
    with pytest.raises(StorageError, match="without a key"):
        list(Samples(tmp_path).rows())


def test_whole_keys_are_read_without_the_rest_of_their_lines_and_still_checked(study: Study) -> None:
    planned = cells(study.plan())
    samples = Samples(study.folder)
    for cell in planned[:3]:
        samples.append({"key": cell.key, "text": "some"})
    samples.close()
    path = study.folder / "samples.jsonl"
    assert samples.keys() == {cell.key for cell in planned[:3]}
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[1])
    with pytest.raises(StorageError, match="stands there twice") as caught:
        samples.missing(planned)
    assert "samples.jsonl:4" in str(caught.value)
    path.write_bytes(whole.replace(b'"}\n', b'"\n', 1))
    with pytest.raises(StorageError, match="damaged") as caught:
        samples.keys()
    assert "samples.jsonl:1" in str(caught.value)


async def test_a_writer_puts_rows_down_in_groups_without_being_left(tmp_path: Path) -> None:
    store = JsonLines(tmp_path / "rows.jsonl")
    async with Writer(store) as writer:
        writer.put({"n": 0})
        async with asyncio.timeout(5):
            while writer.count < 1:  # noqa: ASYNC110 - the count is all there is to see from outside
                await asyncio.sleep(0.01)
        assert [row["n"] for row in store.read()] == [0]
        for number in range(1, 1500):
            writer.put({"n": number})
    assert [row["n"] for row in store.read()] == list(range(1500))
    store.close()


async def test_a_cancelled_writer_keeps_its_rows(tmp_path: Path) -> None:
    store = JsonLines(tmp_path / "rows.jsonl")

    async def work() -> None:
        async with Writer(store) as writer:
            writer.put({"n": 1})
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [row["n"] for row in store.read()] == [1]
    store.close()


async def test_a_writer_without_rows_makes_no_file(tmp_path: Path) -> None:
    async with Writer(JsonLines(tmp_path / "rows.jsonl")):
        pass
    assert not list(tmp_path.iterdir())


def test_one_process_writes_an_experiment(tmp_path: Path) -> None:
    with sole_writer(tmp_path), pytest.raises(LockHeld, match="another process"), sole_writer(tmp_path):
        pass
    with sole_writer(tmp_path):
        pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("this machine may not mount a file system")
    yield place
    subprocess.run(["umount", place], check=True)


async def test_a_full_disk_is_one_sentence_and_keeps_whole_lines(small_disk: Path) -> None:
    store = JsonLines(small_disk / "samples.jsonl")
    store.append({"key": "first"})

    async def fill() -> None:
        async with Writer(store) as writer:
            for number in range(1000):
                writer.put({"key": str(number), "text": "x" * 1000})
                await asyncio.sleep(0)

    with pytest.raises(StorageError, match="the disk is full"):
        await fill()
    store.close()
    assert next(iter(Samples(small_disk).keys())) is not None
    assert (small_disk / "samples.jsonl").read_bytes().endswith(b"\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="permission denied"):
        Samples(tmp_path).append({"key": "a"})
    tmp_path.chmod(0o700)
