#!/usr/bin/env bash
# netlab.sh up|down DIR: three machines as network namespaces: this one -- login -- compute, with sshd on both. Needs root,
# iproute2, nftables, openssh-server. NETLAB_ID (1-250) names the namespaces and networks, so that several can stand.
# login does not forward packets, and compute lets in SSH alone: compute is reached only through ssh. Prints nothing;
# DIR/ssh_config knows the hosts `login` and `compute`, DIR/compute is the name of compute's namespace.
set -euo pipefail
[ $# = 2 ] || { echo "usage: netlab.sh up|down DIR" >&2; exit 2; }
dir=$2 id=${NETLAB_ID:?}
login=nl-login$id compute=nl-comp$id near=nlv$id
net1=10.77.$id net2=10.78.$id
sshd() { # sshd NAMESPACE ADDRESS: nsenter, not `ip netns exec`, which mounts /sys anew
  cat >"$dir/sshd_$1.conf" <<C
ListenAddress $2
HostKey $dir/hostkey
AuthorizedKeysFile $dir/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile $dir/sshd_$1.pid
C
  nsenter --net="/run/netns/$1" /usr/sbin/sshd -f "$dir/sshd_$1.conf" -E "$dir/sshd_$1.log"
}
down() {
  local name pid
  for name in "$login" "$compute"; do
    for pid in $(ip netns pids "$name" 2>/dev/null); do kill -9 "$pid" 2>/dev/null || true; done
    ip netns del "$name" 2>/dev/null || true
  done
  ip link del "$near" 2>/dev/null || true
  ip route del unreachable "$net2.0/24" 2>/dev/null || true
}
case $1 in
up)
  mkdir -p "$dir" /run/sshd
  trap 'down' ERR
  ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
  ssh-keygen -q -t ed25519 -N '' -f "$dir/hostkey"
  ip netns add "$login"
  ip netns add "$compute"
  ip link add "$near" type veth peer name v0 netns "$login"
  ip addr add "$net1.1/24" dev "$near"
  ip link set "$near" up
  ip route add unreachable "$net2.0/24" # else a gateway may answer for it
  ip -n "$login" addr add "$net1.2/24" dev v0
  ip -n "$login" link set v0 up
  ip -n "$login" link set lo up
  ip -n "$login" link add v1 type veth peer name v0 netns "$compute"
  ip -n "$login" addr add "$net2.1/24" dev v1
  ip -n "$login" link set v1 up
  ip -n "$compute" addr add "$net2.2/24" dev v0
  ip -n "$compute" link set v0 up
  ip -n "$compute" link set lo up
  nsenter --net="/run/netns/$compute" nft -f - <<N
table inet f { chain in { type filter hook input priority 0; policy drop; iif lo accept; ct state established,related accept; tcp dport 22 accept; }; }
N
  sshd "$login" 0.0.0.0
  sshd "$compute" "$net2.2"
  for host in "$net1.2" "$net2.2"; do echo "$host $(cut -d' ' -f1,2 "$dir/hostkey.pub")"; done >"$dir/known_hosts"
  cat >"$dir/ssh_config" <<C
Host login
  HostName $net1.2
Host compute
  HostName $net2.2
  ProxyJump login
Host *
  User $(id -un)
  IdentityFile $dir/key
  IdentitiesOnly yes
  UserKnownHostsFile $dir/known_hosts
C
  echo "$compute" >"$dir/compute" ;;
down) down ;;
*) echo "unknown: $1" >&2; exit 2 ;;
esac
