#!/bin/bash
# Builds, once, the guest that is the reference system: a Debian root with kernel OVS, ovs-monitor-ipsec, strongSwan and
# Libreswan, the cloud kernel (xfrm, esp4, gcm, openvswitch with its tunnel vports, virtio), and a small initramfs.
# Everything comes from Debian's packages, through the package sources of this machine. Prints the directory that
# holds root.img, vmlinuz and initrd.img; a second call prints it at once.
#
#     build-guest.sh [SUITE]      bookworm, trixie, forky; default: the suite of this machine
#
# Libreswan's package conflicts with strongSwan's, so it is unpacked into /opt/libreswan; who wants it mounts it over the
# places where it looks for itself (reference-system.ts). Environment: OVS_ESPD_CACHE (cache, default ovs-espd in
# XDG_CACHE_HOME or ~/.cache), OVS_ESPD_GUEST_KEEP=1 (keep the unpacked root for a look).
# Needs root, debootstrap, mkfs.ext4, busybox (static), apt. What the guest does after boot is guest-init.sh.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
say() { printf 'build-guest: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

[ "$(id -u)" = 0 ] || fail "not root: debootstrap and mount need it; run this as root"
for program in debootstrap mkfs.ext4 busybox apt-get xz; do
  command -v "$program" >/dev/null || fail "no $program here: install it with apt-get (packages debootstrap e2fsprogs busybox-static xz-utils)"
done

# The first Debian archive that apt knows, with its suite: the mirror's name is the machine's business, not this file's.
target=$(apt-get indextargets --format '$(REPO_URI)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)' 'Created-By: Packages' |
  awk -F'|' '$4 == "Debian" && $3 == "main" && $2 !~ /-/ { print; exit }')
[ -n "$target" ] || fail "apt knows no Debian archive with a component main: add one to its sources and run apt-get update"
IFS='|' read -r mirror own_suite _ <<<"$target"
suite=${1:-$own_suite}

packages="openvswitch-switch openvswitch-ipsec openvswitch-pki strongswan-starter strongswan-charon
  libstrongswan-standard-plugins libstrongswan-extra-plugins iproute2 iputils-ping tcpdump kmod procps openssl nftables libnss3-tools python3-minimal"
version=$(cat "$here/build-guest.sh" "$here/guest-init.sh" | sha256sum | cut -c1-12)
cache=${OVS_ESPD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ovs-espd}
final=$cache/guest-$suite-$version
[ -e "$final/root.img" ] && { printf '%s\n' "$final"; exit 0; }

mkdir -p "$cache"
exec 9>"$cache/guest.lock"
flock 9
[ -e "$final/root.img" ] && { printf '%s\n' "$final"; exit 0; }

work=$(mktemp -d "$cache/building-XXXXXX")
root=$work/root
unmount() { mountpoint -q "$root/proc" && umount -l "$root/proc"; true; }
cleanup() { unmount; [ "${OVS_ESPD_GUEST_KEEP:-}" = 1 ] || rm -rf --one-file-system "$work"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

say "debootstrap $suite (log: $cache/build.log)"
# A debootstrap older than the suite has no script for it; sid's, which all newer ones link to, does.
scripts=/usr/share/debootstrap/scripts
script=()
[ -e "$scripts/$suite" ] || script=("$scripts/sid")
debootstrap --variant=minbase "$suite" "$root" "$mirror" "${script[@]}" >"$cache/build.log" 2>&1 ||
  fail "debootstrap of $suite failed: see $cache/build.log"
# Updates and security too, if the machine takes them: one line for each Debian target that apt knows. A suite that is not
# released yet has both in itself, and a mirror's copy of it may be past its date: signatures count there, dates do not.
targets=" $own_suite"
if [ "$suite" = forky ]; then
  targets=" $own_suite "
  echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/unreleased"
fi
apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)|$(ORIGIN)' 'Created-By: Packages' |
  awk -F'|' '$2 == "Debian" { print $1 }' | grep "$targets" | sed "s/ $own_suite/ $suite/" >"$root/etc/apt/sources.list"
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

mount -t proc proc "$root/proc"
# /dev is what debootstrap made: the machine's own may deny apt's unprivileged user even /dev/null.
inside() { DEBIAN_FRONTEND=noninteractive chroot "$root" "$@" >>"$cache/build.log" 2>&1 || fail "in the root, '$*' failed: see $cache/build.log"; }
say "packages"
inside apt-get update -qq
# shellcheck disable=SC2086 # a list of words on purpose
inside apt-get install -y -qq --no-install-recommends $packages

say "Libreswan, unpacked"
inside sh -c 'cd /tmp && apt-get download -qq -o APT::Sandbox::User=root libreswan && dpkg-deb -x libreswan_*.deb /opt/libreswan &&
  libraries=$(dpkg-deb --field libreswan_*.deb Depends | tr "," "\n" | sed "s/^ *//; s/[ (|:].*//" | grep "^lib") &&
  apt-get install -y -qq --no-install-recommends $libraries && mkdir -p /usr/libexec/ipsec /var/lib/ipsec/nss /etc/ipsec.d'

say "kernel"
image=$(chroot "$root" apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" && $2 ~ /^linux-image/ { print $2; exit }')
[ -n "$image" ] || fail "no linux-image-cloud-amd64 in the archive of $suite"
# Since forky the package is a frame: image, modules and their lists are in packages that it depends on.
parts=$(chroot "$root" apt-cache depends "$image" | awk '$1 == "Depends:" && $2 ~ /^linux-(base|binary|modules)-/ { print $2 }' | tr '\n' ' ')
inside sh -c "cd /tmp && apt-get download -qq -o APT::Sandbox::User=root $image $parts"
for package in "$root"/tmp/linux-*.deb; do dpkg-deb -x "$package" "$work/kernel"; done
# In /lib, and since trixie in /usr/lib.
modules=$(find "$work/kernel" -maxdepth 4 -path '*/lib/modules/*' -prune)
release=$(basename "$modules")
mkdir -p "$root/lib/modules"
cp -a "$modules" "$root/lib/modules/"
inside depmod "$release"
rm -rf "$root"/tmp/*.deb "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root/usr/sbin/policy-rc.d"
install -m 755 "$here/guest-init.sh" "$root/sbin/guest-init"
unmount

say "initramfs and image"
initramfs=$work/initramfs
mkdir -p "$initramfs"/{bin,dev,proc,sys,new,modules}
cp "$(command -v busybox)" "$initramfs/bin/busybox"
# Modules in the order in which they depend on each other; what is built in has no line here. Trixie's are compressed.
names=$(chroot "$root" sh -c "for module in virtio_pci virtio_blk ext4; do modprobe -S $release --show-depends \$module; done" |
  awk '$1 == "insmod" && !seen[$2]++ { print $2 }')
load=
for path in $names; do
  module=$(basename "$path" .xz)
  case $path in
  *.xz) xz -dc "$root$path" >"$initramfs/modules/$module" ;;
  *) cp "$root$path" "$initramfs/modules/$module" ;;
  esac
  load="$load /modules/$module"
done
cat >"$initramfs/init" <<INIT
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for module in $load; do /bin/busybox insmod \$module; done
until /bin/busybox mount -t ext4 /dev/vda /new 2>/dev/null; do /bin/busybox sleep 0.1; done
exec /bin/busybox switch_root /new /sbin/guest-init
INIT
chmod 755 "$initramfs/init"
(cd "$initramfs" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd.img"
find "$work/kernel" -name 'vmlinuz*' -type f -exec cp {} "$work/vmlinuz" \;
mkfs.ext4 -q -d "$root" "$work/root.img" 2G >>"$cache/build.log" 2>&1
mkdir -p "$final"
mv "$work/initrd.img" "$work/vmlinuz" "$final/"
mv "$work/root.img" "$final/root.img"
# What an older version of this script built is of no use any more; a guest that runs keeps its open files.
find "$cache" -maxdepth 1 -name "guest-$suite-*" ! -path "$final" -exec rm -rf {} +
say "ready: $final"
printf '%s\n' "$final"
