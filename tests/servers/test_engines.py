"""What each engine is started with: the flags of a need, the environment, and where vLLM's interpreter is found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nightlab import practice
from nightlab.compute.local import Local
from nightlab.errors import NotSetUp, UsageError
from nightlab.lab import Lab, shipped
from nightlab.servers.engines import Need, Option, engine, stage, stage_of
from nightlab.servers.engines.embedded import Embedded
from nightlab.servers.engines.vllm import VENV, Vllm, slot_rank, stored_dtype
from nightlab.servers.wanted import Wanted, new_manifest, retuned

NEED = Need(practice.model_dir("llama"), "llama-1-abcd", conditions=7, adapters=9, rank=20)


def flag(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_vllm_gets_its_flags_from_the_need() -> None:
    need = Need(NEED.model, NEED.served_name, 7, 9, 20, {"max_model_len": 512, "enforce_eager": True}, ("--seed", "1"))
    command = engine("vllm").command(["conda", "run", "-n", "v", "python"], need)
    assert command[:6] == ["conda", "run", "-n", "v", "python", "-m"]
    assert flag(command, "--max-loras") == "8"
    assert flag(command, "--max-cpu-loras") == "10"
    assert flag(command, "--max-lora-rank") == "32"
    assert flag(command, "--max-model-len") == "512"
    assert flag(command, "--served-model-name") == "llama-1-abcd"
    assert flag(command, "--generation-config") == "vllm", "a model's own sampling advice would change the plan's"
    assert flag(command, "--dtype") == "float32", "stored so; vLLM would round it to 16 bits"
    assert flag(command, "--port") == "{port}"
    assert "--enforce-eager" in command
    assert command[-2:] == ["--seed", "1"]
    assert "--gpu-memory-utilization" not in command


def test_an_engine_uses_as_many_gpus_as_it_is_told_to() -> None:
    def used(*extra: str, **options: int) -> int:
        return Vllm().gpus(Need(Path("/m"), "s", options=options, extra=extra))

    assert (used(), used(tensor_parallel=4)) == (1, 4)
    assert used("--pipeline-parallel-size", "2", "--data-parallel-size=3", tensor_parallel=2) == 12
    assert used("-tp", "4", "--pipeline_parallel_size=2", "-dp=3", tensor_parallel=2) == 24, (
        "as vLLM's parser reads them"
    )

    def embedded(*extra: str, **options: Option) -> int:
        return Embedded().gpus(Need(Path("/m"), "s", options=options, extra=extra))

    assert (embedded(), embedded(device="cpu"), embedded(device="cuda:1")) == (0, 0, 1)
    assert (embedded("--device=cuda"), embedded("--device", "cpu", device="cuda")) == (1, 0)


def test_a_remedy_that_changes_the_command_changes_what_is_counted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    wanted = Wanted("llama", "m", practice.model_dir("llama"), options={"device": "cuda"})
    manifest = new_manifest(lab, Local(lab.jobs), wanted, key="k", night="n", port=0)
    assert (manifest.gpus, retuned(lab, manifest, {"device": "cpu"}, {}).gpus) == (1, 0)


def test_options_win_over_what_is_derived() -> None:
    options: dict[str, Option] = {
        "dtype": "bfloat16",
        "gpu_memory_utilization": 0.8,
        "tensor_parallel": 2,
        "enforce_eager": False,
    }
    command = engine("vllm").command(["python"], Need(NEED.model, "m", options=options))
    assert flag(command, "--dtype") == "bfloat16"
    assert flag(command, "--gpu-memory-utilization") == "0.8"
    assert flag(command, "--tensor-parallel-size") == "2"
    assert "--enforce-eager" not in command
    assert "--enable-lora" not in command, "a plan without adapters reserves no slots"


def test_a_plan_may_keep_fewer_adapters_in_a_batch_and_in_memory() -> None:
    def room(*extra: str, **options: Option) -> tuple[int, int]:
        need = Need(NEED.model, "m", 7, 9, 20, options, extra)
        command, found = engine("vllm").command(["python"], need), engine("vllm").room(need)
        assert found is not None
        assert (flag(command, "--max-loras"), flag(command, "--max-cpu-loras")) == (str(found.batch), str(found.memory))
        return found.batch, found.memory

    assert room() == (8, 10)
    assert room(max_loras=3) == (3, 10)
    assert room(max_cpu_loras=4) == (4, 4), "memory holds at least a batch"
    assert room(max_loras=2, max_cpu_loras=4) == (2, 4)
    assert room(max_loras=12) == (12, 12)
    assert room("--max_loras", "5", "--max-cpu-loras=6", max_loras=3) == (5, 6), "the last words of a command win"
    assert engine("embedded").room(NEED) is None
    assert engine("vllm").room(Need(NEED.model, "m")) is None


def test_vllm_never_reaches_for_the_network() -> None:
    found = engine("vllm").environment(NEED)
    assert found["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert {found[name] for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_NO_USAGE_STATS")} == {"1"}


@pytest.mark.parametrize(("rank", "slot"), [(1, 1), (8, 8), (9, 16), (65, 128), (512, 512), (600, 600)])
def test_the_next_rank_that_vllm_knows(rank: int, slot: int) -> None:
    assert slot_rank(rank) == slot


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "float32"}, "float32"),
        ({"torch_dtype": "bfloat16"}, "auto"),
        ({"text_config": {"dtype": "float32"}}, "float32"),
        ({}, "auto"),
    ],
)
def test_weights_are_served_as_they_are_stored(tmp_path: Path, config: dict[str, object], dtype: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert stored_dtype(tmp_path) == dtype


def test_the_interpreter_is_the_setting_or_the_environment_beside_the_lab(lab: Lab) -> None:
    for text, words in (
        ("apptainer exec --nv v.sif python3", ["apptainer", "exec", "--nv", "v.sif", "python3"]),
        ("/opt/vllm/bin/python", ["/opt/vllm/bin/python"]),
        ("envs/v/bin/python -X dev", [str(lab.root / "envs/v/bin/python"), "-X", "dev"]),
    ):
        other = Lab.open(lab.root, {"vllm_python": text})
        assert engine("vllm").python(other.config, lab.root) == words
    beside = lab.root / VENV / "bin" / "python"
    beside.parent.mkdir(parents=True)
    beside.symlink_to(sys.executable)
    assert engine("vllm").python(lab.config, lab.root) == [str(beside)]


def test_an_engine_that_is_not_there_says_how_to_get_it(lab: Lab) -> None:
    vllm = engine("vllm")
    if (shipped() / VENV).is_dir():
        assert vllm.python(lab.config, lab.root) == [str(shipped() / VENV / "bin" / "python")]
    else:
        with pytest.raises(NotSetUp) as missing:
            vllm.python(lab.config, lab.root)
        assert "vllm_env.sh" in str(missing.value.hint)
    with pytest.raises(UsageError, match="no engine 'vlm'") as caught:
        engine("vlm")
    assert caught.value.hint == "did you mean vllm?"


def test_a_log_says_how_far_a_start_has_come() -> None:
    log = "INFO non-default args: {}\nINFO Resolved architecture: L\nINFO Starting to load model x...\n"
    assert stage(engine("vllm"), log) == "loading the weights"
    assert "nothing" in stage(engine("embedded"), "")
    assert stage_of(log) == "loading the weights"
    assert stage_of("INFO Starting to load model\nINFO Loading weights took 1 s\n") == "checking itself"
    assert stage_of("vllm: INFO Starting to load model\nINFO Loading weights took 1 s\n") == "measuring its memory"
    assert stage_of("a log of something else") is None
