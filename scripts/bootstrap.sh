#!/usr/bin/env bash
# Puts this checkout, with the given extras ("local" or "local,dev"), into .venv; silent where that is done already.
# A stamp per set of extras remembers it; pyproject.toml, constraints.txt or a moved checkout make it stale.
# PYTHON names the interpreter, UV_TORCH_BACKEND=cpu chooses the small CPU build of torch, PIP_FIND_LINKS a folder of wheels.
set -euo pipefail
cd "$(dirname "$0")/.."

extras=$1
place=$(printf '%s' "$PWD" | cksum | cut -d ' ' -f 1)

stamp() { echo ".venv/.ready-$1-$place"; }

fresh() { [ -e "$1" ] && [ ! pyproject.toml -nt "$1" ] && [ ! constraints.txt -nt "$1" ]; }

say() { echo "==> $*"; }

stop() {
  printf '%s\n' "$@" >&2
  exit 1
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  stop "nightlab needs Python 3.11 or newer; ${PYTHON:-python3} is $("${PYTHON:-python3}" --version 2>/dev/null || echo "not there")." \
    "Install one, or name it: make demo PYTHON=/path/to/python3.12"
}

make_venv() {
  local python
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' 2>/dev/null || stop "$python cannot make virtual environments: its modules venv and ensurepip are missing." \
    "On Debian and Ubuntu: apt-get install python3-venv"
  say "$("$python" --version): making .venv"
  "$python" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
}

! fresh "$(stamp "$extras")" || exit 0
# A virtual environment knows its folder by name: one that was moved or copied is made anew.
compgen -G ".venv/.ready-*-$place" >/dev/null || make_venv
say "installing nightlab[$extras] into .venv"
[ -n "${PIP_FIND_LINKS:-}${UV_FIND_LINKS:-}${UV_TORCH_BACKEND:-}" ] || say "torch: the index's own build (UV_TORCH_BACKEND=cpu takes the small CPU build)"
# uv does not read pip's settings: hand over those that say where packages are.
links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-}}
env VIRTUAL_ENV="$PWD/.venv" ${links:+UV_FIND_LINKS="${links// /,}"} ${index:+UV_DEFAULT_INDEX="$index"} \
  .venv/bin/uv pip install --compile-bytecode --constraints constraints.txt --editable ".[$extras]"
touch "$(stamp local)" "$(stamp "$extras")"
