"""The engine against transformers and peft, and against itself: a row's numbers never depend on its neighbours."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nightlab.adapters.compile import compile_adapter
from nightlab.adapters.tensors import read_tensors, write_tensors
from nightlab.adapters.weights import LayerWeights
from nightlab.errors import AdapterError, UsageError
from nightlab.servers.embedded.engine import Engine
from nightlab.servers.embedded.lora import Condition
from nightlab.servers.embedded.model import end_tokens, load_model, load_tokenizer
from nightlab.servers.embedded.rows import Row, Sampling

pytestmark = [pytest.mark.real, pytest.mark.slow]

LAYERS = 4
GREEDY = Sampling(temperature=0.0, max_tokens=8, ignore_eos=True)


def start(tiny: Any, max_batch: int = 200) -> Engine:
    torch.set_num_threads(1)
    ends = end_tokens(tiny.model, load_tokenizer(tiny.model))
    engine = Engine(load_model(tiny.model), eos=ends, max_batch=max_batch, max_len=256)
    engine.check_self(list(range(3, 30)))
    return engine


def weights(seed: int) -> LayerWeights:
    dice = random.Random(seed)
    pick = [0.0, 0.0, 1.0, 0.5, 2.0, -1.0, 1.5]
    return LayerWeights(*(tuple(dice.choice(pick) for _ in range(LAYERS)) for _ in range(2)))


def prompt(seed: int) -> list[int]:
    dice = random.Random(seed)
    return [dice.randrange(3, 400) for _ in range(dice.randrange(1, 45))]


def said(rows: list[Row]) -> list[Any]:
    return [(row.output, [item.logprob for item in row.logprobs]) for row in rows]


def conditions(engine: Engine, tiny: Any, out: Path, count: int = 14) -> list[Condition | None]:
    """The base, `count` compiled conditions of the first adapter, and the second adapter as it is."""
    made = [compile_adapter(tiny.adapters[0], weights(i), out) for i in range(count)]
    loaded = [engine.load(f"c{i}", c.path) for i, c in enumerate(made)]
    return [None, *loaded, engine.load("other", tiny.adapters[1])]


def broken(source: Path, folder: Path, change: Any) -> Path:
    """A copy of an adapter whose tensors went through `change`."""
    shutil.copytree(source, folder)
    file = folder / "adapter_model.safetensors"
    tensors, metadata = read_tensors(file)
    file.unlink()
    write_tensors(file, change(tensors), metadata)
    return folder


def swap_layers(tensors: Any) -> Any:
    """The tensors of layers 0 and 1 exchanged."""
    names = {n: n.replace(".layers.0.", ".layers.X.").replace(".layers.1.", ".layers.0.") for n in tensors}
    return {names[n].replace(".layers.X.", ".layers.1."): t for n, t in tensors.items()}


def test_a_row_is_bit_for_bit_the_same_alone_and_in_any_batch(tiny: Any, tmp_path: Path) -> None:
    engine = start(tiny)
    served = conditions(engine, tiny, tmp_path)
    jobs = [
        (
            prompt(i),
            served[i % len(served)],
            Sampling(
                temperature=(0.0, 0.7, 1.3)[i % 3], top_p=(1.0, 0.8)[i % 2], seed=i, max_tokens=5 + i % 20, logprobs=1
            ),
        )
        for i in range(60)
    ]
    together = said(engine.generate(jobs))
    alone = [said(engine.generate([job]))[0] for job in jobs[:25]]
    assert together[:25] == alone
    dice = random.Random(0)
    rows = [Row(*job) for job in jobs]
    order = dice.sample(range(60), 60)
    while order or engine.running or engine.waiting:
        for _ in range(dice.randrange(5)):
            if order:
                engine.add(rows[order.pop()])
        engine.step()
    assert said(rows) == together


def test_every_condition_says_what_peft_says(tiny: Any, tmp_path: Path) -> None:
    import peft
    import transformers

    engine = start(tiny)
    served = conditions(engine, tiny, tmp_path)
    asked = prompt(5)
    rows = engine.generate([(asked, condition, GREEDY) for condition in served])
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny.model)
    model: Any = base
    for row, condition in zip(rows, served, strict=True):
        if condition is not None and model is base:
            model = peft.PeftModel.from_pretrained(base, condition.path, adapter_name=condition.name)
        elif condition is not None:
            model.load_adapter(condition.path, adapter_name=condition.name)
        if condition is not None:
            model.set_adapter(condition.name)
        ids = torch.tensor([asked])
        options = {"do_sample": False, "max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 0}
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
        assert row.output == out[0, len(asked) :].tolist()
    texts = {tuple(row.output) for row in rows}
    assert len(texts) > 3


def test_compiled_conditions_share_their_sources_weights(tiny_models: Any, tmp_path: Path) -> None:
    tiny = tiny_models["llama"]
    engine = start(tiny)
    served = conditions(engine, tiny, tmp_path)
    assert len({id(c.source) for c in served if c}) == 2
    assert engine.stack.table.shape == (16, 2 * LAYERS + 1, 8)
    assert served[3] is not None
    assert served[3].weights == weights(2)


def test_a_compiled_folder_that_was_changed_is_served_as_it_is(tiny_models: Any, tmp_path: Path) -> None:
    tiny = tiny_models["llama"]
    engine = start(tiny)
    honest = compile_adapter(tiny.adapters[0], weights(1), tmp_path).path
    changed = broken(honest, tmp_path / "changed", swap_layers)
    first, second = engine.load("honest", honest), engine.load("changed", changed)
    assert first.source is not second.source
    assert first.weights == weights(1)
    assert second.weights == LayerWeights((1.0,) * LAYERS, (1.0,) * LAYERS)


def test_a_rounded_bfloat16_product_is_served_as_it_is(tiny_models: Any, tmp_path: Path) -> None:
    from nightlab.adapters.tensors import from_floats

    tiny = tiny_models["llama"]
    engine = start(tiny)
    half = tmp_path / "half"
    shutil.copytree(tiny.adapters[0], half)
    tensors, metadata = read_tensors(half / "adapter_model.safetensors")
    short = {n: from_floats(t.floats(), "BF16") for n, t in tensors.items()}
    write_tensors(half / "adapter_model.safetensors", short, metadata)
    triple = LayerWeights((3.0,) * LAYERS, (3.0,) * LAYERS)
    double = LayerWeights((2.0,) * LAYERS, (2.0,) * LAYERS)
    rounded = engine.load("triple", compile_adapter(half, triple, tmp_path / "out").path)
    exact = engine.load("double", compile_adapter(half, double, tmp_path / "out").path)
    assert rounded.weights == LayerWeights((1.0,) * LAYERS, (1.0,) * LAYERS)
    assert exact.weights == double


def test_a_wrong_adapter_is_refused_whole(tiny_models: Any, other_base: Path, tmp_path: Path) -> None:
    tiny = tiny_models["llama"]
    engine = start(tiny)
    served = [None, engine.load("a", tiny.adapters[0])]
    jobs = [(prompt(1), c, GREEDY) for c in served]
    before = said(engine.generate(jobs))
    cases = {
        "must match the size of tensor b": other_base,
        "not in this model": broken(
            tiny.adapters[0],
            tmp_path / "names",
            lambda t: {n.replace(".layers.2.", ".layer.2."): v for n, v in t.items()},
        ),
        "its partner is missing": broken(
            tiny.adapters[0],
            tmp_path / "half",
            lambda t: {n: v for n, v in t.items() if "2.mlp.up_proj.lora_B" not in n},
        ),
        "not a lora_A or lora_B": broken(
            tiny.adapters[0],
            tmp_path / "extra",
            lambda t: t | {"base_model.model.lm_head.weight": next(iter(t.values()))},
        ),
        "doesn't contain tensors": broken(tiny.adapters[0], tmp_path / "none", lambda t: {}),
    }
    for reason, folder in cases.items():
        with pytest.raises(AdapterError, match=reason):
            engine.load("wrong", folder)
    assert list(engine.conditions) == ["a"]
    assert said(engine.generate(jobs)) == before


def test_numbers_that_are_not_finite_and_large_ranks_are_refused(tiny_models: Any, tmp_path: Path) -> None:
    from nightlab.adapters.tensors import Tensor

    tiny = tiny_models["qwen"]
    engine = start(tiny)

    def poison(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        name = next(n for n in tensors if "lora_B" in n)
        tensor = tensors[name]
        return tensors | {name: Tensor(tensor.dtype, tensor.shape, b"\xff" * len(tensor.data))}

    with pytest.raises(AdapterError, match="not finite"):
        engine.load("nan", broken(tiny.adapters[0], tmp_path / "nan", poison))
    engine.max_rank = 2
    with pytest.raises(AdapterError, match="LoRA rank 4 is greater than max_lora_rank 2"):
        engine.load("wide", tiny.adapters[0])


def test_an_adapter_unloaded_on_the_way_still_serves_its_rows(tiny_models: Any) -> None:
    tiny = tiny_models["llama"]
    engine = start(tiny)
    condition = engine.load("a", tiny.adapters[0])
    expected = said(engine.generate([(prompt(2), condition, GREEDY)]))
    running, late = (Row(prompt(2), condition, GREEDY) for _ in range(2))
    engine.add(running)
    engine.step()
    engine.unload("a")
    engine.load("b", tiny.adapters[1])
    engine.add(late)
    while engine.running or engine.waiting:
        engine.step()
    assert said([running, late]) == expected * 2


def test_abandoned_rows_leave_and_a_full_batch_makes_others_wait(tiny_models: Any) -> None:
    engine = start(tiny_models["llama"], max_batch=3)
    rows = [Row(prompt(i), None, GREEDY) for i in range(8)]
    for row in rows:
        engine.add(row)
    engine.step()
    assert (len(engine.running), len(engine.waiting)) == (3, 5)
    rows[0].abandoned = rows[7].abandoned = True
    gone = engine.step()
    assert {id(r) for r in gone} == {id(rows[0]), id(rows[7])}
    while engine.running or engine.waiting:
        engine.step()
    assert [len(r.output) for r in rows[1:7]] == [8] * 6
    engine.add(Row(prompt(1), None, GREEDY))
    assert len(engine.clear()) == 1
    assert engine.step() == []


def test_rslora_patterns_and_lm_head_are_peft_s(tiny_models: Any, tmp_path: Path) -> None:
    import peft
    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_models["llama"].model)
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        use_rslora=True,
        target_modules=["q_proj", "down_proj", "lm_head"],
        rank_pattern={"down_proj": 2},
        alpha_pattern={"layers.1.self_attn.q_proj": 9},
        init_lora_weights=False,
    )
    model = peft.get_peft_model(base, config)
    model.save_pretrained(tmp_path / "mixed", save_embedding_layers=False)
    engine = start(tiny_models["llama"])
    row = engine.generate([(prompt(3), engine.load("m", tmp_path / "mixed"), GREEDY)])[0]
    out = model.generate(input_ids=torch.tensor([prompt(3)]), do_sample=False, max_new_tokens=8, eos_token_id=None)
    assert row.output == out[0, len(prompt(3)) :].tolist()


def test_models_it_cannot_serve_are_refused(tiny_models: Any, tmp_path: Path) -> None:
    engine = start(tiny_models["gemma"])
    engine.model.model.layers[0].self_attn.sliding_window = 3
    with pytest.raises(UsageError, match="its logits would be off by"):
        engine.check_self(list(range(3, 30)))
    engine.slots.heads = 1
    with pytest.raises(UsageError, match="cannot serve Gemma3ForCausalLM"):
        engine.check_self(list(range(3, 30)))
    with pytest.raises(UsageError, match=r"config\.json is missing"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalML"]}))
    with pytest.raises(UsageError, match="did you mean LlamaForCausalLM"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UsageError, match="not a JSON object"):
        load_model(tmp_path)
    with pytest.raises(UsageError, match=r"tokenizer\.json is missing"):
        load_tokenizer(tmp_path)


def test_damaged_weights_are_refused(tiny_models: Any, tmp_path: Path) -> None:
    for name, size in (("cut", 5000), ("none", 0)):
        folder = tmp_path / name
        shutil.copytree(tiny_models["llama"].model, folder)
        raw = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(raw[:size])
        with pytest.raises(UsageError, match="weights cannot be loaded"):
            load_model(folder)
