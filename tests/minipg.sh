#!/usr/bin/env bash
# minipg.sh up|down|restart DIR PORT: a Postgres server of its own for tests, without a password, on 127.0.0.1.
# initdb refuses root: as root it runs as the user `postgres`. Prints the URL.
set -euo pipefail
[ $# = 3 ] || { echo "usage: minipg.sh up|down|restart DIR PORT" >&2; exit 2; }
folder=$2 port=$3
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1 || true)
[ -n "$bin" ] || bin=$(dirname "$(command -v initdb)")
as() { if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }
control() { as "$bin/pg_ctl" -D "$folder/data" -w -t 30 "$@" >/dev/null; }
options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder -c fsync=off"
case $1 in
up)
  mkdir -p "$folder"
  if [ "$(id -u)" = 0 ]; then chown postgres "$folder"; fi
  if [ ! -f "$folder/data/PG_VERSION" ]; then
    as "$bin/initdb" -D "$folder/data" -U app --auth=trust --no-sync -E UTF8 --locale=C >/dev/null
  fi
  control -l "$folder/log" -o "$options" start
  as "$bin/createdb" -h 127.0.0.1 -p "$port" -U app app 2>/dev/null || true
  echo "postgresql://app@127.0.0.1:$port/app" ;;
restart) control -m immediate -l "$folder/log" -o "$options" restart ;;
down) control -m immediate stop ;;
*) echo "unknown: $1" >&2; exit 2 ;;
esac
