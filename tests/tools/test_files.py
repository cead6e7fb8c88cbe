"""The reading tools: inside the lab, bounded, and with a way on when something is not there."""

from __future__ import annotations

import pytest

from tests.tools.conftest import EXPERIMENT, Night


async def test_read_file_in_pages(night: Night) -> None:
    (night.lab.root / "long.txt").write_text("".join(f"line {n}\n" for n in range(1, 1001)))
    first = (await night.call("read_file", path="long.txt")).data
    assert (first["lines"], first["total"]) == (400, 1000)
    later = (await night.call("read_file", path="long.txt", start=999)).data
    assert later["text"] == "line 999\nline 1000"


@pytest.mark.parametrize(
    ("path", "code"),
    [("../x", "outside_lab"), ("/etc/passwd", "outside_lab"), ("none.txt", "file_not_found"), (".", "file_not_found")],
)
async def test_what_cannot_be_read(night: Night, path: str, code: str) -> None:
    result = await night.call("read_file", path=path)
    assert result.error is not None
    assert result.error.code == code


async def test_a_link_out_of_the_lab_is_not_followed(night: Night) -> None:
    (night.lab.root / "out").symlink_to("/etc/passwd")
    (night.lab.root / "away").symlink_to("/etc")
    for tool, path in (("read_file", "out"), ("list_files", "away"), ("search_text", "away")):
        result = await night.call(tool, path=path, **({"text": "root"} if tool == "search_text" else {}))
        assert result.error is not None
        assert result.error.code == "outside_lab"
    hits = (await night.call("search_text", text="root:x:0")).data["hits"]
    assert hits == []


async def test_bytes_are_not_text(night: Night) -> None:
    (night.lab.root / "blob").write_bytes(b"\0\1\2")
    result = await night.call("read_file", path="blob")
    assert result.error is not None
    assert result.error.code == "not_text"


async def test_an_inherited_skill_can_be_read(night: Night) -> None:
    result = await night.call("read_file", path="skills/judging/SKILL.md")
    assert "name: judging" in result.data["text"]
    missing = await night.call("read_file", path="skills/juding/SKILL.md")
    assert missing.error is not None
    assert "did you mean" in missing.error.next


async def test_list_files(night: Night) -> None:
    names = [entry["name"] for entry in (await night.call("list_files")).data["entries"]]
    assert "experiments/" in names
    assert ".git/" not in names
    found = (await night.call("list_files", path=f"experiments/{EXPERIMENT}", pattern="**/*.yaml")).data
    assert len(found["entries"]) == 16
    for arguments in ({"path": "nowhere"}, {"pattern": "../*"}, {"pattern": "/etc/*"}):
        assert not (await night.call("list_files", **arguments)).ok


async def test_search_text_is_literal_and_bounded(night: Night) -> None:
    (night.lab.root / "notes.txt").write_text("a.c\nabc\n" + "needle\n" * 100)
    hits = (await night.call("search_text", text="a.c", path="notes.txt")).data["hits"]
    assert [hit["line"] for hit in hits] == [1]
    many = (await night.call("search_text", text="NEEDLE")).data
    assert (len(many["hits"]), many["more"]) == (60, True)
    assert (await night.call("search_text", text="NEEDLE", ignore_case=False)).data["hits"] == []
    assert not (await night.call("search_text", text=" ")).ok
    assert not (await night.call("search_text", text="x", path="nowhere")).ok
