"""The catalogue beyond the matching: no false alarm, bounded ladders, entries of a lab's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from nightlab.errors import SpecError
from nightlab.servers.failures import Present, catalogue, diagnose, diagnose_log, looks_failed, next_move, question
from nightlab.servers.failures.ladder import MOST, VERBS
from nightlab.servers.failures.signatures import read_entry, shipped_catalogue
from nightlab.servers.failures.trial import healthy_logs, problems, try_out

DATA = Path(__file__).parent / "data"
HEALTHY = sorted((DATA / "healthy").glob("*.log"))
VLLM = frozenset(
    (
        *("gpu_memory_utilization", "max_model_len", "enforce_eager", "max_num_seqs", "max_num_batched_tokens"),
        *("tensor_parallel", "dtype", "cpu_kv_gib", "max_lora_rank"),
    )
)

# What is there to be lost in the middle of a real start: the frames decide the stage.
OOM = """\
(Worker pid=9) ERROR [multiproc.py:1] Traceback (most recent call last):
(Worker pid=9) ERROR   File "gpu_worker.py", line 1, in load_model
(Worker pid=9) ERROR   File "gpu_model_runner.py", line 2, in {frame}
(Worker pid=9) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 44 GiB in all
(EngineCore pid=8) ERROR RuntimeError: Engine core initialization failed. See root cause above.
"""


@pytest.mark.parametrize("path", HEALTHY, ids=lambda path: path.stem)
def test_a_healthy_log_and_a_normal_end_are_no_finding(path: Path) -> None:
    found = diagnose_log(path)
    assert found.cls is None, found.line
    assert not looks_failed(path.read_text("utf-8"))


def test_there_are_ten_healthy_logs_and_four_are_shipped() -> None:
    assert len(HEALTHY) >= 10
    assert len(healthy_logs()) >= 3


def test_every_ladder_is_bounded_and_ends() -> None:
    """Whatever a ladder says, following it to its end takes few steps, and each changes something."""
    for signature in catalogue().values():
        for steps in (signature.ladder, *(stage.ladder for stage in signature.stages)):
            options: dict[str, object] = {}
            env: dict[str, str] = {}
            made: list[str] = []
            found = dict.fromkeys(signature.takes or (), "64")
            while move := next_move(steps, Present(dict(options), env, VLLM, model_id="org/model"), made, found):  # type: ignore[arg-type]
                assert move.said
                options |= move.options
                env = {**env, **move.env}
                made.append(move.key)
                assert len(made) <= MOST, signature.name
            assert options.get("gpu_memory_utilization", 0.9) >= 0.3  # type: ignore[operator]


def test_every_class_of_ours_that_ends_a_start_has_a_step_or_a_question() -> None:
    wrappers = {"worker_init_failed", "engine_init_failed"}
    asked_of_agents = {"stopped", "base_contaminated", "null_differs", "plain_differs"}  # a will, or a debugger's case
    for signature in catalogue().values():
        if signature.fatal and signature.name not in wrappers | asked_of_agents:
            assert signature.ladder, signature.name


def climb(text: str, options: Mapping[str, object], **kwargs: object) -> list[str]:
    """Every move that the ladder of a log's failure makes, in words."""
    found = diagnose(text)
    made: list[str] = []
    said: list[str] = []
    now: dict[str, object] = dict(options)
    while move := next_move(found.ladder, Present(now, {}, VLLM, **kwargs), made, found.found):  # type: ignore[arg-type]
        now |= move.options
        made.append(move.key)
        said.append(move.said)
    return said


def test_a_full_gpu_at_graph_capture_gives_memory_back_down_to_its_bound() -> None:
    said = climb(OOM.format(frame="capture_model"), {"gpu_memory_utilization": 0.8})
    assert said == [
        "gpu_memory_utilization from 0.8 to 0.75",
        "gpu_memory_utilization from 0.75 to 0.7",
        "gpu_memory_utilization from 0.7 to 0.65",
        "gpu_memory_utilization from 0.65 to 0.6",
        "enforce_eager set to True",
    ]


@pytest.mark.parametrize(
    ("frame", "first"),
    [
        ("_dummy_run", "max_num_batched_tokens from 8192 to 4096"),
        ("execute_model", "max_num_seqs from 256 to 128"),
        ("capture_model", "gpu_memory_utilization from 0.9 to 0.85"),
    ],
)
def test_the_stage_decides_the_ladder(frame: str, first: str) -> None:
    assert climb(OOM.format(frame=frame), {})[0] == first


def test_weights_that_do_not_fit_are_a_persons() -> None:
    found = diagnose(OOM.format(frame="create_weights"))
    assert (found.cls, found.stage) == ("cuda_oom", "weights")
    assert next_move(found.ladder, Present({}, {}, VLLM), []) is None
    assert "do not fit this GPU" in (question(found.ladder) or "")


def test_the_values_of_the_log_are_taken() -> None:
    kv = (
        "ValueError: To serve at least one request with the model's max seq len (8192), (2.0 GiB KV cache is needed, "
        "which is larger than the available KV cache memory (1.2 GiB). Based on the available memory, the estimated "
        "maximum model length is 4912."
    )
    tight = {"gpu_memory_utilization": 0.96, "enforce_eager": True, "max_model_len": 8192}
    assert climb(kv, tight) == ["max_model_len set to 4912, as the log says"]
    assert climb(DATA.joinpath("max_len_too_big.log").read_text(), {})[0] == "max_model_len set to 512, as the log says"
    assert climb(DATA.joinpath("tp3_heads.log").read_text(), {"tensor_parallel": 3}) == [
        "tensor_parallel set to 2, as the log says",
        "tensor_parallel set to 1, as the log says",
    ]
    assert climb(DATA.joinpath("bad_lora_rank.log").read_text(), {}) == ["max_lora_rank set to 8, as the log says"]
    busy = "ValueError: Free memory on device cuda:0 (40.0/80.0 GiB) on startup is less than desired GPU memory (0.9)."
    assert climb(busy, {})[-1] == "gpu_memory_utilization set to 0.48, as the log says"
    gemma = DATA.joinpath("gemma_fp16.log").read_text()
    assert climb(gemma, {"dtype": "float16"}) == ["dtype set to bfloat16", "dtype set to float32"]
    flag = DATA.joinpath("unknown_flag.log").read_text()
    assert climb(flag, {}, extra=("--enable-loras",)) == ["--enable-loras dropped"]
    assert climb(flag, {}, extra=("--other",)) == []


def test_an_option_that_the_engine_does_not_have_is_not_turned() -> None:
    found = diagnose(OOM.format(frame="capture_model"))
    assert next_move(found.ladder, Present({}, {}, frozenset({"dtype"})), []) is None


def test_the_root_cause_has_its_line_number_and_context() -> None:
    found = diagnose_log(DATA / "kv_too_big.log")
    lines = (DATA / "kv_too_big.log").read_text().split("\n")
    assert found.number is not None
    assert found.line[:60] in lines[found.number - 1]
    assert found.line in found.context
    assert 2 <= len(found.context) <= 7


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("- x", "a mapping"),
        ("Bad Name: {re: x}", "cannot be a class"),
        ("new_one: {re: x, colour: red}", "unknown key 'colour'"),
        (
            "new_one: {re: 'x(', cause: c, remedy: [r], fatal: true, whose: ours, action: a}",
            "not a regular expression",
        ),
        ("new_one: {re: 'x*', cause: c, remedy: [r], fatal: true, whose: ours, action: ask}", "match every log"),
        ("new_one: {re: x, cause: c, remedy: [r], fatal: true, whose: mine, action: ask}", "ours or human"),
        (
            "new_one: {re: x, cause: c, remedy: [r], fatal: true, whose: ours, action: ask, ladder: [{hope: x}]}",
            f"one verb of {', '.join(VERBS)}",
        ),
        (
            "new_one: {re: x, cause: c, remedy: [r], fatal: true, whose: ours, action: a, ladder: [{lower: x, by: 1}]}",
            "needs its bound 'least'",
        ),
    ],
)
def test_an_entry_that_does_not_fit_is_refused_in_one_sentence(entry: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_entry(entry, "x.yaml")
    assert said in caught.value.what


NEW = """\
firmware_hiccup:
  re: 'firmware of device \\d+ does not answer'
  fatal: true
  cause: the GPU's firmware hangs
  remedy: [start it on another node]
  whose: ours
  action: restart
  ladder:
    - {restart: server}
"""


def test_a_labs_own_entry_is_read_beside_the_shipped_ones_and_first(tmp_path: Path) -> None:
    log = "INFO x\nRuntimeError: firmware of device 3 does not answer\n"
    assert diagnose(log).cls is None
    assert looks_failed(log)
    (tmp_path / "firmware_hiccup.yaml").write_text(NEW, "utf-8")
    known = catalogue(tmp_path)
    assert diagnose(log, known=known).cls == "firmware_hiccup"
    assert set(known) == {"firmware_hiccup", *shipped_catalogue()}
    (tmp_path / "firmware_hiccup.yaml").write_text(NEW.replace("device", "thing"), "utf-8")
    assert diagnose(log, known=catalogue(tmp_path)).cls is None, "a changed file is read again"


def test_an_entry_is_tried_on_its_own_log_and_on_healthy_ones(tmp_path: Path) -> None:
    log = "RuntimeError: firmware of device 3 does not answer\n"
    assert list(problems(NEW, log)) == []
    [silent] = problems(NEW, "RuntimeError: something else\n")
    assert "its own log is diagnosed as nothing known" in silent
    alarms = list(problems(NEW.replace("firmware of device \\d+ does not answer", "model"), "a model\n"))
    assert any("in embedded_llama.log, the log of a server that was well" in alarm for alarm in alarms)
    entry, own = tmp_path / "e.yaml", tmp_path / "log.txt"
    own.write_text("RuntimeError: " + "a" * 40 + "!\n", "utf-8")
    entry.write_text(NEW.replace("firmware of device \\d+ does not answer", "RuntimeError: [a-z]+!"), "utf-8")
    try_out(entry, own)


@pytest.mark.slow
def test_a_pattern_that_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightlab.servers.failures.trial.PATIENCE", 2.0)
    entry, own = tmp_path / "e.yaml", tmp_path / "log.txt"
    own.write_text("RuntimeError: " + "a" * 40 + "!\n", "utf-8")
    entry.write_text(NEW.replace("firmware of device \\d+ does not answer", "(a+)+$"), "utf-8")
    with pytest.raises(SpecError, match="not tried out in 2 seconds"):
        try_out(entry, own)
