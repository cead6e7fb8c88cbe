"""`nightlab prefetch` against a hub on this machine: what a plan lacks is fetched, and then found offline."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from nightlab import practice
from nightlab.founding.demo_lab import demo

COMMIT = "c" * 40
REPOSITORIES = {"lab/gemma": practice.model_dir("gemma"), "lab/gemma-sarcasm": practice.adapter_dir("gemma")}


async def told(request: web.Request) -> web.Response:
    """What the hub says of a repository: its commit and its files."""
    name = request.match_info["owner"] + "/" + request.match_info["name"]
    if name not in REPOSITORIES:
        return web.json_response(
            {"error": "Repository not found"}, status=404, headers={"X-Error-Code": "RepoNotFound"}
        )
    files = [{"rfilename": path.name} for path in sorted(REPOSITORIES[name].iterdir()) if path.is_file()]
    return web.json_response({"id": name, "modelId": name, "sha": COMMIT, "siblings": files, "tags": []})


async def tree(request: web.Request) -> web.Response:
    """A repository's files with their sizes."""
    folder = REPOSITORIES[request.match_info["owner"] + "/" + request.match_info["name"]]
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    rows = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40} for p in files]
    return web.json_response(rows)


async def file(request: web.Request) -> web.Response:
    """One file, with the headers that the client names it by in the cache."""
    folder = REPOSITORIES[request.match_info["owner"] + "/" + request.match_info["name"]]
    content = (folder / request.match_info["file"]).read_bytes()
    headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
    return web.Response(body=content, headers=headers)


@pytest_asyncio.fixture
async def hub() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/api/models/{owner}/{name}/revision/{rest:.*}", told)
    app.router.add_get("/api/models/{owner}/{name}/tree/{rest:.*}", tree)
    app.router.add_get("/api/models/{owner}/{name}", told)
    app.router.add_get("/{owner}/{name}/resolve/{commit}/{file}", file)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def nightlab(lab: Path, hub: str, cache: Path, *words: str) -> subprocess.CompletedProcess[str]:
    offline = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {**offline, "HF_ENDPOINT": hub, "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_XET": "1"}
    argv = [sys.executable, "-m", "nightlab", "--lab", str(lab), *words]
    return await asyncio.to_thread(subprocess.run, argv, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
async def test_what_a_plan_lacks_is_fetched_and_found(hub: str, tmp_path: Path) -> None:
    lab = demo(tmp_path / "lab").lab.root
    config = lab / "experiments" / "exp_001_phase1_replication" / "config.yaml"
    text = (
        config.read_text().replace("      path: practice:gemma\n", "").replace("nightlab/practice-gemma", "lab/gemma")
    )
    config.write_text(text.replace("practice:gemma/sarcasm", "lab/gemma-sarcasm"))
    cache = tmp_path / "hub"
    done = await nightlab(lab, hub, cache, "prefetch", "1")
    assert done.returncode == 0, done.stderr
    assert f"models--lab--gemma/snapshots/{COMMIT}" in done.stdout
    again = await nightlab(lab, hub, cache, "prefetch", "1")
    assert again.stdout == "Everything that this plan needs is on this machine.\n"
    listed = await nightlab(lab, hub, cache, "models")
    assert "lab/gemma has the same weights as nightlab/practice-gemma: two ids" in listed.stdout

    config.write_text(config.read_text().replace("lab/gemma\n", "lab/nobody\n"))
    missing = await nightlab(lab, hub, cache, "prefetch", "1")
    assert missing.returncode == 1
    assert "lab/nobody cannot be fetched" in missing.stderr
    assert "Traceback" not in missing.stderr
