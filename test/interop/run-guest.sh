#!/bin/bash
# Boots one guest of the reference system (build-guest.sh) and stays until it is gone.
#
#     run-guest.sh GUEST-DIRECTORY TAP MAC AGENT-SOCKET
#
# To be run inside the network namespace that holds TAP. The kernel's console goes to standard output; the agent of
# guest-init.sh listens on AGENT-SOCKET (a unix socket). The disk is a snapshot: nothing that the guest does stays.
# TCG, because KVM is not everywhere: it boots in some 5 s and does AES-GCM at some 9 MB/s, enough to prove things.
# One processor: with two, a kernel of trixie panicked at an instruction that it patches while it runs (the static key
# in netif_rx_internal that each ping turns).
set -euo pipefail
[ $# = 4 ] || { echo "run-guest: expected GUEST-DIRECTORY TAP MAC AGENT-SOCKET, got $# arguments" >&2; exit 1; }
guest=$1 tap=$2 mac=$3 agent=$4
[ -e "$guest/root.img" ] || { echo "run-guest: no root.img in $guest: run build-guest.sh" >&2; exit 1; }
exec qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 1 -m 768 -nographic -no-reboot -monitor none \
  -kernel "$guest/vmlinuz" -initrd "$guest/initrd.img" -append "console=ttyS0 quiet panic=-1 random.trust_cpu=on" \
  -drive "file=$guest/root.img,format=raw,if=virtio,snapshot=on" \
  -nic "tap,ifname=$tap,script=no,downscript=no,model=virtio-net-pci,mac=$mac" \
  -serial stdio -chardev "socket,id=agent,path=$agent,server=on,wait=off" -serial chardev:agent
