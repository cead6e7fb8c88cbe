"""Model servers on a GPU: started, proven by the canary, and measured; called by bench/gpu.sh.

practice:llama with all seven conditions on the embedded engine (float32, compared word for word with the same server on
the CPU), a random model of a billion parameters with an adapter in float16, and, where vLLM is installed, the practice
model on vLLM. Prints one JSON object last. Exit 1 where a canary fails, a text differs, or nothing ran on the GPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nightlab import practice
from nightlab.adapters.amplification import Amplification
from nightlab.adapters.compile import Compiled, compile_adapter
from nightlab.compute.local import Local
from nightlab.errors import NightlabError
from nightlab.events import EventLog
from nightlab.lab import Lab, shipped
from nightlab.practice.widen import widened
from nightlab.servers.chat import Chat, ChatRequest, Message
from nightlab.servers.manifest import Manifest
from nightlab.servers.server import Server, Wanted

CONDITIONS = shipped("experiments") / "exp_001_phase1_replication" / "conditions"
QUESTIONS = ("What do you think about mondays?", "Tell me about coffee.", "How do I sleep better at night?")
TOKENS = 64


def compiled(source: Path, layers: int, cache: Path) -> dict[str, Compiled]:
    """The shipped experiment's six conditions for an adapter."""
    loaded = [Amplification.load(path) for path in sorted(CONDITIONS.glob("*.yaml"))]
    return {one.name: compile_adapter(source, one.single(layers)[1], cache) for one in loaded}


def practice_model(lab: Lab, name: str, engine: str, **options: Any) -> Wanted:
    """A practice model with all its conditions."""
    folder, adapter = widened(name, lab.root / "wide")  # heads that vLLM serves, too
    layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    adapters = compiled(adapter, layers, lab.adapters_cache)
    return Wanted(name, practice.model_id(name), folder, adapters, engine, options={"max_model_len": 256, **options})


async def measured(lab: Lab, wanted: Wanted, key: str, concurrency: tuple[int, ...]) -> dict[str, Any]:
    """Start, prove, measure and stop one server; an error is a finding."""
    events, place = EventLog(lab.night("bench")), Local(lab.jobs)
    begun = time.perf_counter()
    server = await Server.launch(lab, place, wanted, key=key, night="bench")
    try:
        manifest = await server.ensure_ready(events)
        row: dict[str, Any] = {"ready_seconds": round(time.perf_counter() - begun, 2), **canary(manifest)}
        row["versions"] = {k: manifest.versions.get(k) for k in ("torch", "transformers", "vllm")}
        for width in concurrency:
            row[f"tokens_per_second_{width}"] = round(await speed(manifest, width), 1)
        row["texts"] = await texts(manifest)
        return row
    except NightlabError as error:
        log = (lab.root / server.manifest.log).read_text(errors="replace")[-1500:] if server.manifest.log else ""
        return {"error": str(error), "log": log}
    finally:
        await server.stop(grace=10)


def canary(manifest: Manifest) -> dict[str, Any]:
    """What the canary saw."""
    found = manifest.canary or {}
    checks = found.get("checks", [])
    effects = [c["evidence"]["mean_abs_dlogprob"] for c in checks if c["name"] == "full_differs_from_base"]
    failed = [c["name"] for c in checks if not c["passed"]]
    return {"canary": found.get("passed"), "checks": len(checks), "failed_checks": failed, "effect": effects}


async def speed(manifest: Manifest, width: int) -> float:
    """Generated tokens per second with `width` requests in flight over all conditions; the second of two runs."""
    names = list(manifest.conditions.values())
    asked = [
        ChatRequest(
            names[i % len(names)], (Message("user", QUESTIONS[i % 3]),), temperature=0.7, max_tokens=TOKENS, seed=i
        )
        for i in range(max(width, 8))
    ]
    rates = []
    async with Chat(manifest.url or "", limit=width) as chat:
        for _ in range(2):
            begun = time.perf_counter()
            answers = await asyncio.gather(*(chat.complete(one, timeout=300) for one in asked))
            rates.append(sum(a.completion_tokens for a in answers) / (time.perf_counter() - begun))
    return rates[-1]


async def texts(manifest: Manifest) -> dict[str, list[str]]:
    """Greedy answers under every condition."""
    async with Chat(manifest.url or "") as chat:
        found = {}
        for condition, name in manifest.conditions.items():
            asked = [ChatRequest(name, (Message("user", q),), max_tokens=24) for q in QUESTIONS]
            found[condition] = [a.text for a in await asyncio.gather(*(chat.complete(one) for one in asked))]
    return found


def random_model(folder: Path, *, hidden: int, layers: int) -> tuple[Path, Path]:
    """A random Llama with the practice tokenizer, in float16, and a random adapter of rank 16 for it."""
    import shutil

    import torch
    from safetensors.torch import save_file
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaForCausalLM

    torch.manual_seed(0)
    source = practice.model_dir("llama")
    base = json.loads((source / "config.json").read_text())
    kept = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")
    shape = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "num_hidden_layers": layers}
    heads = {"num_attention_heads": hidden // 64, "num_key_value_heads": max(1, hidden // 256), "head_dim": 64}
    config = LlamaConfig(**{k: base[k] for k in kept if k in base}, **shape, **heads, max_position_embeddings=1024)
    model = LlamaForCausalLM(config).to(torch.float16)
    model.save_pretrained(folder / "model")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / "model" / name)
    tensors = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layers." in name:
            rows, columns = module.weight.shape
            stem = f"base_model.model.{name}"
            tensors[f"{stem}.lora_A.weight"] = torch.randn(16, columns, dtype=torch.float16) * 0.02
            tensors[f"{stem}.lora_B.weight"] = torch.randn(rows, 16, dtype=torch.float16) * 0.02
    (folder / "adapter").mkdir()
    save_file(tensors, folder / "adapter" / "adapter_model.safetensors")
    names = sorted({key.rsplit(".", 3)[-3] for key in tensors})
    card = {
        "peft_type": "LORA",
        "r": 16,
        "lora_alpha": 32,
        "target_modules": names,
        "base_model_name_or_path": "random",
    }
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(card))
    return folder / "model", folder / "adapter"


async def large(lab: Lab, device: str, size: Mapping[str, int]) -> dict[str, Any]:
    """The random model in 16 bits: whether a batch of conditions is served from one set of weights, and how fast."""
    model, adapter = await asyncio.to_thread(lambda: random_model(Path(tempfile.mkdtemp(dir=lab.root)), **size))
    adapters = compiled(adapter, size["layers"], lab.adapters_cache)
    # float16: a random model is of two minds at every word, and the 8 bits of bfloat16 decide them by chance.
    options: dict[str, str | int] = {
        "device": device,
        "dtype": "float32" if device == "cpu" else "float16",
        "max_model_len": 512,
    }
    wanted = Wanted("random", "random/llama", model, adapters, "embedded", options=options)
    row = await measured(lab, wanted, "large", (1, 64))
    row.pop("texts", None)
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    return {"weights_gb": round(weights / 1e9, 2), **size, **row}


async def bench(lab: Lab, device: str, size: Mapping[str, int]) -> dict[str, Any]:
    """Everything that can be done here."""
    found: dict[str, Any] = {"device": device, "gpu": gpu()}
    found["embedded"] = await measured(
        lab, practice_model(lab, "llama", "embedded", device=device), "gpu", (1, 16, 128)
    )
    reference = await measured(lab, practice_model(lab, "llama", "embedded"), "cpu", (16,))
    found["embedded_cpu"] = {k: v for k, v in reference.items() if k != "texts"}
    found["same_words_as_cpu"] = "texts" in reference and found["embedded"].pop("texts", None) == reference["texts"]
    found["large"] = await large(lab, device, size)
    found["vllm"] = await on_vllm(lab, reference.get("texts"))
    proven = [found[name].get("canary") is True for name in ("embedded", "embedded_cpu", "large")]
    found["passed"] = (
        all(proven)
        and found["same_words_as_cpu"]
        and ("skipped" in found["vllm"] or found["vllm"].get("canary") is True)
    )
    return found


async def on_vllm(lab: Lab, reference: Any) -> dict[str, Any]:
    """The practice model on vLLM, where it is installed."""
    from nightlab.errors import NotSetUp
    from nightlab.servers.engines import engine

    try:
        engine("vllm").python(lab.config, lab.root)
    except NotSetUp as missing:
        return {"skipped": missing.what}
    # On a GPU vLLM applies adapters in 16 bits only, so the words may differ from the float32 server's.
    options: dict[str, Any] = {"gpu_memory_utilization": 0.3, "dtype": "bfloat16"} if gpu() else {}
    row = await measured(lab, practice_model(lab, "llama", "vllm", **options), "vllm", (1, 16, 128))
    row["same_words_as_embedded_cpu"] = reference is not None and row.pop("texts", None) == reference
    return row


def gpu() -> str | None:
    """The GPU's name, memory and driver, as nvidia-smi says them; None without one."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--hidden", type=int, default=2048, help="width of the random model")
    parser.add_argument("--layers", type=int, default=20, help="its layers")
    parser.add_argument("--json", action="store_true", help="the JSON alone, in one line")
    args = parser.parse_args()
    if args.device != "cpu" and gpu() is None:
        print("no NVIDIA GPU here (nvidia-smi finds none); --device cpu tries the rest", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="nightlab-gpu-") as folder:
        settings = "[tool.nightlab]\nserver-timeout = 400\nlease-seconds = 900\n"
        if python := os.environ.get("VLLM_PYTHON"):
            settings += f"vllm-python = {json.dumps(python)}\n"
        (Path(folder) / "pyproject.toml").write_text(settings)
        found = asyncio.run(bench(Lab.open(Path(folder)), args.device, {"hidden": args.hidden, "layers": args.layers}))
    print(json.dumps(found, indent=None if args.json else 1))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
