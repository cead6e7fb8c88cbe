#!/usr/bin/env bash
# minislurm.sh up|down|kill-node N|start-node N|stop-controller|kill-controller|start-controller DIR
# A real Slurm on this machine for tests: root or a plain user, no systemd, no accounting, two fake GPUs on each of two
# nodes, and a munged of its own (private key and socket; auth/none where munge is not installed). Needs slurmctld slurmd
# slurm-client, and /sys/fs/cgroup mounted (slurmd dies silently without it). `up` takes three free ports in MINISLURM_PORTS, and ends everything when the process MINISLURM_OWNER is
# gone, its folder too. Its clients need SLURM_CONF=DIR/slurm.conf.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
dir=${!#}
[ $# -ge 2 ] || { echo "usage: minislurm.sh up|down|kill-node N|start-node N|stop-controller|kill-controller|start-controller DIR" >&2; exit 2; }
export SLURM_CONF=$dir/slurm.conf
nodes=(n1 n2)
auth=none
if command -v munged >/dev/null; then auth=munge; fi

configure() {
  local host me i
  host=$(hostname -s) me=$(id -un)
  read -r -a ports <<<"$MINISLURM_PORTS"
  mkdir -p "$dir"/{state,spool,log,run}
  chmod 755 "$dir"
  cat >"$dir/slurm.conf" <<C
ClusterName=mini
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=$me
SlurmdUser=$me
AuthType=auth/$auth
CredType=cred/$auth
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=10000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=3
InactiveLimit=0
KillWait=3
MinJobAge=300
MaxArraySize=4
MailProg=/bin/true
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/%n.log
SlurmdParameters=config_overrides
GresTypes=gpu
C
  if [ "$auth" = munge ]; then echo "AuthInfo=socket=$dir/run/munge.sock" >>"$dir/slurm.conf"; fi
  for i in "${!nodes[@]}"; do
    echo "NodeName=${nodes[$i]} NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[$((i + 1))]} CPUs=4 RealMemory=4000 Gres=gpu:2 State=UNKNOWN"
  done >>"$dir/slurm.conf"
  cat >>"$dir/slurm.conf" <<C
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=30 State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
C
  # The file of a GPU must be a character device, else jobs get no CUDA_VISIBLE_DEVICES.
  for i in "${nodes[@]}"; do printf 'NodeName=%s Name=gpu File=/dev/null\nNodeName=%s Name=gpu File=/dev/zero\n' "$i" "$i"; done >"$dir/gres.conf"
}

daemon() { # daemon NAME COMMAND...: started in a session of its own, its pid written down
  local name=$1
  shift
  setsid "$@" </dev/null >>"$dir/log/$name.out" 2>&1 9>&- &
  echo $! >"$dir/run/$name.daemon"
}
authority() { # who vouches for a client: forgotten when the cluster ends, known to this cluster alone
  [ "$auth" = munge ] || return 0
  (umask 077 && head -c 128 /dev/urandom >"$dir/run/munge.key")
  # --force: a folder for tests need not be as closed as /etc/munge.
  daemon munged munged --foreground --force --num-threads=2 --key-file="$dir/run/munge.key" --socket="$dir/run/munge.sock" \
    --pid-file="$dir/run/munged.pid" --seed-file="$dir/run/munge.seed" --log-file="$dir/log/munged.log"
  for _ in $(seq 100); do [ -S "$dir/run/munge.sock" ] && return 0; sleep 0.05; done
  echo "minislurm: munged did not come up; its log is $dir/log/munged.out" >&2
  exit 1
}
controller() { daemon slurmctld slurmctld -D -f "$dir/slurm.conf"; }
node() {
  mkdir -p "$dir/spool/$1"
  daemon "$1" slurmd -D -N "$1" -f "$dir/slurm.conf"
}
lives() { [ -e "/proc/$1/status" ] && ! grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null; }
end() { # end NAME SIGNAL: until it is gone
  local pid i
  [ -s "$dir/run/$1.daemon" ] || return 0
  pid=$(cat "$dir/run/$1.daemon")
  kill "-$2" "$pid" 2>/dev/null || return 0
  for i in $(seq 100); do lives "$pid" || return 0; sleep 0.05; done
  kill -9 "$pid" 2>/dev/null || true
}
all_nodes() { timeout 5 sinfo -h -N -p main -o %T 2>/dev/null | grep -c "$1" || true; }
ours() { # every process that knows this cluster by its environment, other than this script
  local file pid
  for file in /proc/[0-9]*/environ; do
    pid=${file#/proc/} pid=${pid%/environ}
    [ "$pid" != $$ ] && grep -qzxF "SLURM_CONF=$SLURM_CONF" "$file" 2>/dev/null && ! grep -qzxF "MINISLURM_CLIENT=1" "$file" 2>/dev/null && echo "$pid"
  done
  return 0
}
down() {
  local name pid
  for name in slurmctld "${nodes[@]}" munged; do end "$name" KILL; done
  for pid in $(ours); do [ "$pid" = "$BASHPID" ] || kill -9 "$pid" 2>/dev/null || true; done
}
watch_owner() {
  while lives "$MINISLURM_OWNER"; do sleep 1; done
  down
  rm -rf "$dir"
}

case $1 in
up)
  configure
  authority
  controller
  for name in "${nodes[@]}"; do node "$name"; done
  if [ -n "${MINISLURM_OWNER:-}" ]; then
    MINISLURM_CLIENT=1 setsid bash "$0" watch "$dir" </dev/null >/dev/null 2>&1 &
  fi
  for _ in $(seq 200); do
    [ "$(all_nodes idle)" = ${#nodes[@]} ] && exit 0
    sleep 0.1
  done
  echo "minislurm: the nodes did not come up; logs in $dir/log" >&2
  tail -n 5 "$dir"/log/*.log >&2
  exit 1 ;;
watch) watch_owner ;;
stop-controller) end slurmctld TERM ;;
kill-controller) end slurmctld KILL ;;
start-controller)
  controller
  for _ in $(seq 100); do [ "$(all_nodes .)" != 0 ] && exit 0; sleep 0.1; done
  exit 1 ;;
kill-node) end "$2" KILL ;;
start-node) node "$2" ;;
down) down ;;
*) echo "unknown: $1" >&2; exit 2 ;;
esac
