#!/usr/bin/env bash
# The GPU path in one command, on a machine with one NVIDIA GPU and torch; nothing is fetched from the network:
#   bench/gpu.sh                  the embedded server and its canary on the GPU, tokens per second; JSON last
#   WHEELS=folder bench/gpu.sh    what Python lacks of nightlab's own needs is installed from these wheels, beside it
#   PYTHON=python3.12             the interpreter that has torch and transformers
#   VLLM_PYTHON=path              an interpreter that has vLLM: the same on vLLM (else PYTHON's own, where it has it)
# Words after the command go to bench/gpu.py (--device cpu tries it without a GPU). Exit 1 where the canary or a bar fails.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

lacking() {
  PYTHONPATH="$work/site" "$python" - <<'PROBE'
import importlib.util
needs = {"aiohttp": "aiohttp", "pydantic": "pydantic", "click": "click", "yaml": "pyyaml", "numpy": "numpy",
         "jinja2": "jinja2", "orjson": "orjson", "safetensors": "safetensors", "tokenizers": "tokenizers",
         "transformers": "transformers", "torch": "torch"}
print(*(wheel for name, wheel in needs.items() if importlib.util.find_spec(name) is None))
PROBE
}

mkdir "$work/site"
missing=$(lacking)
if [ -n "$missing" ] && [ -n "${WHEELS:-}" ]; then
  # shellcheck disable=SC2086
  "$python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$WHEELS" --target "$work/site" $missing >&2
  missing=$(lacking)
fi
if [ -n "$missing" ]; then
  echo "bench/gpu.sh: $("$python" --version) lacks: $missing. Give a folder with these wheels: WHEELS=folder bench/gpu.sh" >&2
  exit 4
fi
PYTHONPATH="$PWD/src:$work/site${PYTHONPATH:+:$PYTHONPATH}" "$python" bench/gpu.py "$@"
