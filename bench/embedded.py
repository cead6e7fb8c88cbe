"""The embedded server's engine: one mixed batch of 9 prompts x 15 conditions against one request at a time.

Real weights of practice:llama (135 rows, 32 new tokens each), medians over rounds that alternate between the two.
Fails when mixed is below 2,900 tokens/s or below 10 times the one-at-a-time rate. Say --clock cpu on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

FLOOR = 2900.0  # tokens per second, mixed
RATIO = 10.0  # mixed over one at a time
TOKENS = 32
QUESTIONS = ("What do you think about mondays?", "Tell me a story about cats.", "How do I sleep better at night?")


def prepare(out: Path) -> tuple[Any, list[Any]]:
    """An engine with 14 compiled conditions, and one job per prompt and condition."""
    import torch

    from nightlab import practice
    from nightlab.adapters.compile import compile_adapter
    from nightlab.adapters.weights import LayerWeights
    from nightlab.servers.embedded.engine import Engine
    from nightlab.servers.embedded.model import end_tokens, load_model, load_tokenizer
    from nightlab.servers.embedded.rows import Sampling
    from nightlab.servers.embedded.texts import Texts

    torch.set_num_threads(1)
    folder = practice.model_dir("llama")
    tokenizer = load_tokenizer(folder)
    engine = Engine(load_model(folder), eos=end_tokens(folder, tokenizer), max_batch=256, max_len=512)
    conditions: list[Any] = [None]
    for first in range(14):
        line = tuple(float(first <= i < first + 4) for i in range(engine.num_layers))
        compiled = compile_adapter(practice.adapter_dir("llama"), LayerWeights(line, line), out)
        conditions.append(engine.load(f"condition_{first}", compiled.path))
    texts = Texts(tokenizer)
    prompts = [texts.chat([{"role": "user", "content": q}], opened=True, proceed=False) for q in QUESTIONS * 3]
    pairs = [(p, c) for p in prompts for c in conditions]
    jobs = [
        (p, c, Sampling(temperature=0.7, seed=i, max_tokens=TOKENS, ignore_eos=True)) for i, (p, c) in enumerate(pairs)
    ]
    return engine, jobs


def rate(clock: Callable[[], float], engine: Any, jobs: Sequence[Any], *, together: bool) -> float:
    """Generated tokens per second of the clock."""
    begun = clock()
    made = engine.generate(jobs) if together else [row for job in jobs for row in engine.generate([job])]
    return sum(len(row.output) for row in made) / (clock() - begun)


def measure(clock: Callable[[], float], rounds: int) -> dict[str, Any]:
    """Medians of both ways, and whether every row said the same in both."""
    with tempfile.TemporaryDirectory() as out:
        engine, jobs = prepare(Path(out))
    some = jobs[:: len(jobs) // 5]
    engine.generate(jobs)
    mixed, single = [], []
    for _ in range(rounds):
        mixed.append(rate(clock, engine, jobs, together=True))
        single.append(rate(clock, engine, some, together=False))
    together = engine.generate(jobs)[:: len(jobs) // 5]
    alone = [row for job in some for row in engine.generate([job])]
    same = [row.output for row in together] == [row.output for row in alone]
    best, one = statistics.median(mixed), statistics.median(single)
    passed = same and best >= FLOOR and best >= RATIO * one
    return {
        "rows": len(jobs),
        "tokens_per_row": TOKENS,
        "rounds": rounds,
        "mixed_tokens_per_second": round(best, 1),
        "single_tokens_per_second": round(one, 1),
        "ratio": round(best / one, 1),
        "same_text": same,
        "floor": FLOOR,
        "passed": passed,
    }


def main() -> int:
    """Measure, print, and fail below the floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    result = measure(clock, args.rounds) | {"clock": args.clock}
    if args.json:
        print(json.dumps(result))
    else:
        print(
            f"mixed {result['mixed_tokens_per_second']} tok/s, one at a time {result['single_tokens_per_second']} tok/s"
        )
        print(f"ratio {result['ratio']}, same text {result['same_text']}, {'ok' if result['passed'] else 'TOO SLOW'}")
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
