#!/bin/bash
# The first process of the guest: mounts, modules, then an agent on the second serial line. The agent takes one
# base64 line per command, runs it with bash and answers `RC STATUS BASE64-OF-OUTPUT`; so the host needs neither ssh
# nor an address in the guest. When the line closes or `poweroff -f` is run, the guest is gone; its disk is a snapshot.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc 2>/dev/null
mount -t sysfs sys /sys 2>/dev/null
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
mount -o remount,rw /
ip link set lo up
for module in virtio_net esp4 esp6 xfrm_user gcm seqiv openvswitch vport-geneve vport-gre vport-vxlan; do
  modprobe "$module" || echo "guest-init: no module $module"
done
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
echo "READY $(uname -r)" >&3
while read -r line <&3; do
  output=$(base64 -d <<<"$line" | bash 2>&1 3>&-)
  status=$?
  echo "RC $status $(base64 -w0 <<<"$output")" >&3
done
poweroff -f
