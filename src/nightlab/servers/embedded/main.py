"""`nightlab serve`: one model on one loopback port, in the foreground, until SIGTERM.

The port is taken before anything heavy is imported, so that a taken port fails at once; the log says what vLLM's says.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightlab.errors import AdapterError, UsageError
from nightlab.processes import Lasting

if TYPE_CHECKING:
    from nightlab.servers.embedded.http import Service

DTYPES = ("float32", "bfloat16", "float16")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    served_name: str | None = None,
    adapters: Mapping[str, str | Path] | None = None,
    max_batch: int = 256,
    max_model_len: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    dtype: str = "float32",
) -> None:
    """Serve a model (a folder, or practice:NAME) until SIGTERM or SIGINT; port 0 takes a free one and says which.

    Raises UsageError for a host that is not loopback, a folder without a model, or an adapter that does not fit;
    a taken port prints vLLM's OSError line and exits with status 1.
    """
    if host not in _LOOPBACK:
        raise UsageError(f"the embedded server listens on loopback only, not on {host}", hint="use 127.0.0.1")
    folder, named = _folder(model), {name: _folder(path) for name, path in (adapters or {}).items()}
    if not (folder / "config.json").is_file():
        raise UsageError("no model here: config.json is missing", where=folder)
    sock = _bind(host, port)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ["HF_HUB_OFFLINE"] = "1"
    if dtype not in DTYPES:
        raise UsageError(f"no type {dtype!r} for the numbers", hint=f"known: {', '.join(DTYPES)}")
    size = Size(max_batch, max_model_len, threads, device, dtype)
    with Lasting():
        service = _prepare(folder, served_name or folder.name, named, size)
    asyncio.run(_listen(service, sock))
    sys.stdout.flush()
    os._exit(0)  # nothing is left to save, and taking torch apart would last longer than a stop may


def _folder(reference: str | Path) -> Path:
    if isinstance(reference, str) and reference.startswith("practice:"):
        from nightlab import practice

        try:
            return practice.resolve(reference)
        except ValueError as problem:
            raise UsageError(str(problem)) from problem
    return Path(reference).resolve()


def say(text: str) -> None:
    """One line of the server's log, with the time."""
    sys.stdout.write(f"INFO {time.strftime('%m-%d %H:%M:%S')} {text}\n")
    sys.stdout.flush()


def _bind(host: str, port: int) -> socket.socket:
    """The listening socket. SO_REUSEADDR is for a restart after a stop; a port in use is still refused."""
    sock = socket.socket(socket.AF_INET6 if host == "::1" else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as problem:
        say(f"OSError: [Errno {problem.errno}] {os.strerror(problem.errno or 0)}: cannot listen on {host}:{port}")
        raise SystemExit(1) from None
    return sock


@dataclass(frozen=True)
class Size:
    """How much is computed at once, where, and in which type."""

    max_batch: int
    max_len: int | None
    threads: int
    device: str
    dtype: str


def _prepare(folder: Path, name: str, adapters: Mapping[str, Path], size: Size) -> Service:
    import torch

    from nightlab.servers.embedded.engine import Engine
    from nightlab.servers.embedded.http import Service
    from nightlab.servers.embedded.model import end_tokens, load_model, load_tokenizer
    from nightlab.servers.embedded.scheduler import Scheduler
    from nightlab.servers.embedded.texts import Texts

    torch.set_num_threads(size.threads)
    say(f"Starting to load model {name}...")
    begun = time.perf_counter()
    model, tokenizer = load_model(folder, device=size.device, dtype=size.dtype), load_tokenizer(folder)
    say(f"Loading weights took {time.perf_counter() - begun:.2f} seconds")
    limit = int(getattr(model.config, "max_position_embeddings", 0) or 2048)
    ends = end_tokens(folder, tokenizer)
    engine = Engine(model, eos=ends, max_batch=size.max_batch, max_len=min(size.max_len or limit, limit))
    engine.check_self(_probe(tokenizer, model))
    for adapter, path in adapters.items():
        _load(engine, adapter, path)
    service = Service(Scheduler(engine), Texts(tokenizer), name=name, root=str(folder), fingerprint=fingerprint(folder))
    say(f"Maximum concurrency: {size.max_batch} rows of {engine.max_len} tokens on {size.device}, {size.dtype}")
    return service


def _probe(tokenizer: Any, model: Any) -> list[int]:
    """A short prompt that runs over every position class of the model, a sliding window included."""
    size = min(int(getattr(model.config, "sliding_window", None) or 24) + 8, 96)
    return [int(t) % int(model.config.vocab_size) for t in range(3, 3 + size)]


def _load(engine: Any, name: str, path: Path) -> None:
    try:
        engine.load(name, path)
    except AdapterError as problem:
        say(f"ERROR LoRA adapter '{name}' cannot be loaded: {problem.what}")
        raise
    say(f"Loaded new LoRA adapter: name '{name}', path '{path}'")


def fingerprint(folder: Path) -> str:
    """Names this server's code version and the model's files; large weights by size, small ones by content."""
    from nightlab import __version__

    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors", ".jinja")):
        digest.update(path.name.encode())
        size = path.stat().st_size
        digest.update(path.read_bytes() if size < 64 * 2**20 else str(size).encode())
    return f"nightlab-{__version__}-{digest.hexdigest()[:8]}"


async def _listen(service: Service, sock: socket.socket) -> None:
    from aiohttp import web

    service.scheduler.start()
    runner = web.AppRunner(service.app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await web.SockSite(runner, sock, shutdown_timeout=0.2).start()
    host, port = sock.getsockname()[:2]
    say(f"Starting nightlab server on http://{host}:{port}")
    say("Application startup complete.")
    await stop.wait()
    say("Shutting down")
    await runner.cleanup()
