#!/usr/bin/env bash
# Installs the peers that bench/sweep.py, resume.py, faults.py and judge.py measure beside nightlab, each in a folder of
# its own outside of this checkout: $NIGHTLAB_PEERS, else ~/.cache/nightlab-peers. Silent where a peer is there already.
# Needs python3 with venv, a package index; promptfoo also needs node and npm (without them it is left out, and that is said).
set -euo pipefail

place=${NIGHTLAB_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/nightlab-peers}
python=${PYTHON:-python3}
mkdir -p "$place"

in_venv() { # in_venv NAME PROBE PACKAGE...
  local name=$1 probe=$2
  shift 2
  [ -e "$place/$name/.ready" ] && return
  echo "==> $name into $place/$name"
  "$python" -m venv --clear "$place/$name"
  "$place/$name/bin/python" -m pip install --quiet --disable-pip-version-check uv
  env VIRTUAL_ENV="$place/$name" "$place/$name/bin/uv" pip install --quiet "$@"
  "$place/$name/bin/python" -c "$probe"
  touch "$place/$name/.ready"
}

# uv does not read pip's settings: hand over those that say where packages are.
export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}} UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-}}
[ -n "$UV_FIND_LINKS" ] || unset UV_FIND_LINKS
[ -n "$UV_DEFAULT_INDEX" ] || unset UV_DEFAULT_INDEX

in_venv inspect_ai "import inspect_ai, openai, anthropic" inspect_ai openai anthropic
in_venv lm_eval "import lm_eval" "lm_eval[api]" --torch-backend cpu

if command -v npm >/dev/null; then
  if [ ! -e "$place/promptfoo/.ready" ]; then
    echo "==> promptfoo into $place/promptfoo"
    mkdir -p "$place/promptfoo"
    npm install --silent --no-fund --no-audit --prefix "$place/promptfoo" promptfoo
    "$place/promptfoo/node_modules/.bin/promptfoo" --version >/dev/null
    touch "$place/promptfoo/.ready"
  fi
else
  echo "==> promptfoo is left out: there is no npm"
fi
