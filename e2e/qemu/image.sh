#!/usr/bin/env bash
# image.sh ARCH PROGRAM PATH DIRECTORY [PACKAGE…] makes a guest for QEMU: DIRECTORY/kernel,
# DIRECTORY/initrd, and DIRECTORY/qemu, a command line that boots them but for -initrd and
# devices, a word in each line. The guest is Debian's cloud kernel for ARCH, amd64 or arm64, with
# its modules for virtio's vsock, console ports and network, those that the variable MODULES names, and busybox. It has
# the files of each PACKAGE and of its dependencies, and PROGRAM at PATH. It runs "PATH serve", whose log is the
# console's. Needs cpio, and Debian's apt and dpkg; packages are kept in
# DIRECTORY/packages, and another list of them wants another DIRECTORY.
set -euo pipefail

arch=$1 program=$2 path=$3
mkdir -p "$4/packages/partial"
directory=$(cd "$4" && pwd)
shift 4

# Packages of another architecture, with lists of their own: the system's stay as they are.
fetch() {
	local apt=(-qq -o Acquire::Retries=3 -o "Dir::State=$directory/apt" -o "Dir::State::status=$directory/apt/status" -o "Dir::Cache=$directory/apt"
		-o "Dir::Cache::archives=$directory/packages" -o "APT::Architecture=$arch" -o "APT::Architectures=$arch"
		-o "APT::Sandbox::User=")
	mkdir -p "$directory/apt/lists/partial"
	: >"$directory/apt/status" # nothing is installed; apt's lock is beside it
	apt-get "${apt[@]}" update
	local kernel
	kernel=$(apt-cache "${apt[@]}" depends "linux-image-cloud-$arch" | awk '/Depends: linux-image-/ { print $2; exit }')
	apt-get "${apt[@]}" -y --no-install-recommends --download-only install busybox-static "$@"
	# Without what a kernel depends on, and last: it says that the rest is there.
	cd "$directory/packages" && apt-get "${apt[@]}" download "$kernel"
}

case $arch in
amd64) machine=(qemu-system-x86_64 -machine 'pc,memory-backend=ram' -cpu max) console=ttyS0 ;;
# Pointer authentication as it is specified would take half of an emulator's time.
arm64) machine=(qemu-system-aarch64 -machine 'virt,gic-version=3,memory-backend=ram' -cpu 'max,pauth-impdef=on') console=ttyAMA0 ;;
esac
# Two CPUs without KVM, and memory that a vhost-user device can read and write.
printf '%s\n' "${machine[@]}" -accel tcg,thread=multi -smp 2 -m 1024 \
	-object memory-backend-memfd,id=ram,size=1024M,share=on \
	-kernel "$directory/kernel" -append "console=$console quiet panic=-1 cocoon-agent.guest" \
	-nodefaults -no-reboot -display none >"$directory/qemu"

unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
root=$unpacked/root

ls "$directory"/packages/linux-image-*.deb >/dev/null 2>&1 || (fetch "$@")
dpkg-deb -x "$directory"/packages/linux-image-*.deb "$unpacked/kernel"
cp "$unpacked"/kernel/boot/vmlinuz-* "$directory/kernel"

mkdir -p "$root"/{dev,etc,mnt,proc,root,run,sys,tmp} "$root"/usr/{bin,lib,sbin}
ln -s usr/bin usr/lib usr/sbin "$root" # as Debian has them
for package in "$directory"/packages/*.deb; do
	case $package in */linux-image-*) ;; *) dpkg-deb -x "$package" "$root" ;; esac
done
rm -rf "$root"/usr/share/{doc,locale,man}
install -D "$program" "$root$path"
printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'nobody:x:65534:65534:nobody:/nonexistent:/bin/false' >"$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' >"$root/etc/group"
modules=()
for name in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_console \
	vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport vsock_loopback failover net_failover virtio_net ${MODULES:-}; do
	module=$(find "$unpacked/kernel/lib/modules" -name "$name.ko")
	[ -z "$module" ] || { cp "$module" "$root/lib/" && modules+=("/lib/$name.ko"); } # else it is built in
done

cat >"$root/init" <<EOF
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
chmod 1777 /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
for module in ${modules[*]}; do insmod \$module; done
AGENT_LOG_LEVEL=debug $path serve --control /run/cocoon-agent/control.sock 2>&1 | cat # on a terminal the log would be one for people
echo 'the command ended'
poweroff -f
EOF
chmod 755 "$root/init"

(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$directory/initrd"
