"""How each peer asks the same questions: the files it wants, its command, what goes on after a kill, what it stored.

The peers are installed by bench/peers.sh into $NIGHTLAB_PEERS (else ~/.cache/nightlab-peers); one that is not there is
left out, and that is said. `script` is the sequential pattern of ad-hoc scaffolds: one YAML file and four links for
each sample.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

IN_FLIGHT = 64

INSPECT = """
import json, sys
from inspect_ai import Task, eval as run
from inspect_ai.dataset import Sample
from inspect_ai.solver import generate
url, count, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
samples = [Sample(input=f"What do you think about the number {n}?", id=n + 1) for n in range(count)]
(log,) = run(Task(dataset=samples, solver=generate()), model="openai-api/local/bench", log_dir=folder, display="none",
             max_connections=64, max_samples=64, max_tokens=64, seed=1)
print(json.dumps({"stored": len(log.samples or [])}))
"""

INSPECT_SET = """
import sys
from inspect_ai import Task, eval_set, task
from inspect_ai.dataset import Sample
from inspect_ai.solver import generate
url, count, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
@task
def bench():
    samples = [Sample(input=f"What do you think about the number {n}?", id=n + 1) for n in range(count)]
    return Task(dataset=samples, solver=generate())
eval_set(bench(), log_dir=folder + "/logs", model="openai-api/local/bench", display="none", max_connections=64,
         max_samples=64, max_tokens=64, seed=1)
"""

INSPECT_KEPT = """
import sys
from inspect_ai.log import list_eval_logs, read_eval_log
logs = [read_eval_log(info) for info in list_eval_logs(sys.argv[1] + "/logs")]
print(len({sample.id for log in logs for sample in log.samples or [] if sample.output.completion}))
"""

LM_EVAL = """
task: bench
dataset_path: json
dataset_kwargs: {data_files: {test: QUESTIONS}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "x"
generation_kwargs: {until: ["@@"], max_gen_toks: 64}
metric_list: [{metric: bypass}]
"""

SCRIPT = """
import hashlib, json, os, pathlib, sys, urllib.request, datetime
import yaml
url, count, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
for n in range(count):
    prompt = f"What do you think about the number {n}?"
    messages = [{"role": "user", "content": prompt}]
    body = json.dumps({"model": "bench", "messages": messages, "max_tokens": 64, "seed": n})
    asked = urllib.request.Request(url + "/v1/chat/completions", body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked) as response:
        answer = json.load(response)
    name = f"{prompt[:30]}_{hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
    place = folder / "by_prompt" / name / "base" / "bench"
    place.mkdir(parents=True, exist_ok=True)
    path = place / (datetime.datetime.now().strftime("%H-%M-%S-%f") + ".yaml")
    text = answer["choices"][0]["message"]["content"]
    row = {"prompt": prompt, "model": "bench", "config": "base", "completion": text, "usage": answer["usage"]}
    path.write_text(yaml.safe_dump(row))
    for view in ("by_config/base", "by_model/bench", "by_time", f"by_request/{n}"):
        link = folder / view
        link.mkdir(parents=True, exist_ok=True)
        os.symlink(path, link / f"{n}-{path.name}")
print(json.dumps({"stored": count}))
"""


@dataclass(frozen=True)
class PeerRun:
    """A peer's command for one set of questions."""

    words: list[str]
    env: dict[str, str]


def place() -> Path:
    """Where the peers are installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("NIGHTLAB_PEERS") or cache / "nightlab-peers")


def peers() -> list[str]:
    """The peers that are installed, and the script."""
    return [name for name in ("inspect_ai", "lm_eval", "promptfoo") if (place() / name / ".ready").exists()] + [
        "script"
    ]


def prepare(name: str, url: str, count: int, folder: Path) -> PeerRun:
    """Write what a peer needs into a folder of its own; its command."""
    folder.mkdir(parents=True, exist_ok=True)
    env = {"OPENAI_API_KEY": "none", "LOCAL_API_KEY": "none", "LOCAL_BASE_URL": f"{url}/v1", "HOME": str(folder)}
    env |= {"HF_HUB_OFFLINE": "1", "PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1"}
    env |= {"PROMPTFOO_CONFIG_DIR": str(folder), "PROMPTFOO_CACHE_ENABLED": "false"}
    env |= {"PROMPTFOO_DISABLE_DEBUG_LOG": "true", "PROMPTFOO_DISABLE_ERROR_LOG": "true"}
    if name == "script":
        (folder / "script.py").write_text(SCRIPT)
        return PeerRun([sys.executable, str(folder / "script.py"), url, str(count), str(folder)], env)
    if name == "inspect_ai":
        (folder / "run.py").write_text(INSPECT)
        python = str(place() / name / "bin" / "python")
        return PeerRun([python, str(folder / "run.py"), url, str(count), str(folder)], env)
    if name == "lm_eval":
        questions = folder / "questions.jsonl"
        rows = ({"question": f"What do you think about the number {n}?"} for n in range(count))
        questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "bench.yaml").write_text(LM_EVAL.replace("QUESTIONS", str(questions)))
        model = f"model=bench,base_url={url}/v1/chat/completions,num_concurrent={IN_FLIGHT},tokenized_requests=False"
        words = [str(place() / name / "bin" / "lm_eval"), "--model", "local-chat-completions", "--model_args", model]
        words += ["--tasks", "bench", "--include_path", str(folder), "--apply_chat_template", "--log_samples"]
        return PeerRun([*words, "--output_path", str(folder / "out")], env)
    tests = [{"vars": {"n": n}} for n in range(count)]
    provider = {"id": "openai:chat:bench", "config": {"apiBaseUrl": f"{url}/v1", "apiKey": "none", "max_tokens": 64}}
    config = {"providers": [provider], "prompts": ["What do you think about the number {{n}}?"], "tests": tests}
    (folder / "config.json").write_text(json.dumps(config))
    words = [str(place() / name / "node_modules" / ".bin" / "promptfoo"), "eval", "-c", str(folder / "config.json")]
    words += ["-o", str(folder / "out.json"), "--no-cache", "--no-progress-bar", "--no-table", "-j", str(IN_FLIGHT)]
    return PeerRun(words, env)


def prepare_resumable(name: str, url: str, count: int, folder: Path) -> tuple[PeerRun, PeerRun]:
    """The same with whatever a peer has to go on after a kill; the command that begins, and the one that goes on."""
    run = prepare(name, url, count, folder)
    if name == "inspect_ai":
        (folder / "run.py").write_text(INSPECT_SET)
    elif name == "lm_eval":
        run = PeerRun([*run.words, "--use_cache", str(folder / "cache")], run.env)
    elif name == "promptfoo":
        return run, PeerRun([run.words[0], "eval", "--resume", *run.words[4:]], run.env)
    return run, run


def kept(name: str, folder: Path) -> int:
    """How many different questions a resumable run of a peer has an answer to."""
    if name == "inspect_ai":
        words = [str(place() / name / "bin" / "python"), "-c", INSPECT_KEPT, str(folder)]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    if name == "lm_eval":
        rows = (json.loads(line) for path in folder.rglob("samples_*.jsonl") for line in path.open())
        return len({row["doc_id"] for row in rows if any(text for answers in row["resps"] for text in answers)})
    if name == "promptfoo":
        rows = json.loads((folder / "out.json").read_text())["results"]["results"]
        return len({row["vars"]["n"] for row in rows if (row.get("response") or {}).get("output")})
    return len({yaml.safe_load(path.read_text())["prompt"] for path in folder.glob("by_prompt/**/*.yaml")})


def stored(folder: Path) -> int:
    """The bytes that a run left in its folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
