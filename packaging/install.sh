#!/bin/sh
# install.sh [--root DIR] [--init SYSTEM] [--services DIR] [PROGRAM] installs the agent into the
# system at DIR (/), so that it runs from the next boot on. PROGRAM is the cocoon-agent beside this
# directory, if it is not given. A second run changes nothing but what is new.
# install.sh --uninstall [--root DIR] [--services DIR] removes it, and leaves the settings.
#
# SYSTEM is systemd, openrc, runit, s6, inittab (busybox) or none, and is found out if it is not
# given. The word none installs the program and its settings only: for a guest whose process 1 it
# is to be.
# --services names the directory that runsvdir or s6-svscan watches. An agent that runs goes on.
set -eu
umask 022

root='' init='' services='' program='' uninstall=no
usage_text() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }
# usage WORD…: says what makes no sense, and what would.
usage() {
	printf 'install.sh: %s\n\n' "$*" >&2
	usage_text >&2
	exit 2
}
die() {
	printf 'install.sh: %s\n' "$*" >&2
	exit 1
}
while [ $# -gt 0 ]; do
	case $1 in
	--root | --init | --services)
		[ $# -ge 2 ] || usage "$1: want a value"
		[ -n "$2" ] || die "$1: want a value; --root / is this system"
		case $1 in
		--root) root=$2 ;;
		--init) init=$2 ;;
		--services) services=${2%/} ;;
		esac
		shift
		;;
	--uninstall) uninstall=yes ;;
	-h | --help)
		usage_text
		exit
		;;
	-*) usage "unknown option $1" ;;
	*)
		[ -z "$program" ] || usage "$1: want one PROGRAM"
		program=$1
		;;
	esac
	shift
done
CDPATH=''
if [ -n "$root" ]; then
	case $root in -*) root=./$root ;; esac
	[ -d "$root" ] || die "--root $root: no such directory"
	root=$(cd "$root" && pwd)
	root=${root%/} # of "/" nothing is left
fi
here=$(cd "$(dirname "$0")" && pwd)
case $services in
'') ;;
/*) [ -d "$root$services" ] || die "--services $services: no such directory in the system" ;;
*) die "--services $services: want a path of the system, which begins with /" ;;
esac

agent=/usr/local/bin/cocoon-agent
settings=/etc/default/cocoon-agent
command="$agent serve --answer-if-invalid --settings $settings"
module=vmw_vsock_virtio_transport

# has PATH…: one of them is there. A link may lead out of the system, and counts all the same.
has() {
	for path; do
		if [ -e "$root$path" ] || [ -L "$root$path" ]; then return 0; fi
	done
	return 1
}

# inside PATH: dies if a link on the way to it may lead out of an image.
inside() {
	[ -n "$root" ] || return 0
	way='' rest=${1#/}
	while [ -n "$rest" ]; do
		way=$way/${rest%%/*}
		case $rest in */*) rest=${rest#*/} ;; *) rest='' ;; esac
		if [ -L "$root$way" ]; then
			case $(readlink "$root$way") in
			/* | *..*) die "$root$way is a link that may lead out of $root: it is not followed" ;;
			esac
		fi
	done
}

# put MODE FROM TO: a program that runs is replaced, too.
put() {
	inside "${3%/*}"
	if [ -d "$root$3" ]; then die "$root$3 is a directory"; fi
	mkdir -p "$root${3%/*}"
	rm -f "$root$3.new"
	cp "$2" "$root$3.new"
	chmod "$1" "$root$3.new"
	mv "$root$3.new" "$root$3"
}

# without FILE: the file has no lines of ours, which begin with a comment and end with one.
without() {
	inside "$1"
	[ -f "$root$1" ] || return 0
	begins=$(grep -c '^# cocoon-agent: begin$' "$root$1" || :)
	ends=$(grep -c '^# cocoon-agent: end$' "$root$1" || :)
	[ "$begins" -eq "$ends" ] || die "$root$1: its lines '# cocoon-agent: begin' and '# cocoon-agent: end' do not pair"
	if [ "$begins" -gt 0 ]; then
		rm -f "$root$1.new"
		sed '/^# cocoon-agent: begin$/,/^# cocoon-agent: end$/d' "$root$1" >"$root$1.new"
		cat "$root$1.new" >"$root$1"
		rm "$root$1.new"
	fi
}

# with FILE LINE…: the file has these lines.
with() {
	file=$1
	shift
	without "$file"
	mkdir -p "$root${file%/*}"
	if [ -s "$root$file" ] && [ -n "$(tail -c 1 "$root$file")" ]; then echo >>"$root$file"; fi
	{
		echo '# cocoon-agent: begin'
		printf '%s\n' "$@"
		echo '# cocoon-agent: end'
	} >>"$root$file"
}

find_init() {
	if has /lib/systemd/systemd /usr/lib/systemd/systemd; then
		echo systemd
	elif has /sbin/openrc-run /usr/sbin/openrc-run; then
		echo openrc
	elif has /usr/bin/runsvdir /bin/runsvdir /sbin/runsvdir; then
		echo runit
	elif has /etc/inittab; then
		if grep -q '^[^#]*:initdefault:' "$root/etc/inittab"; then die 'this is sysvinit, whose inittab has other lines: start cocoon-agent from there by hand'; fi
		echo inittab
	elif has /bin/s6-svscan /usr/bin/s6-svscan /command/s6-svscan; then
		echo s6
	fi
}

# find_services DIRECTORY…: the first that is there, unless --services names one. A link could lead
# out of the system.
find_services() {
	if [ -n "$services" ]; then return; fi
	for services; do
		if [ -d "$root$services" ] && [ ! -L "$root$services" ]; then return; fi
	done
	die "no directory of services found: name it with --services"
}

# link TO NAME: a link of ours, or none yet.
link() {
	inside "${2%/*}"
	if [ -e "$root$2" ] && [ ! -L "$root$2" ]; then die "$root$2 is there already, and no link: remove it first"; fi
	mkdir -p "$root${2%/*}"
	ln -sfn "$1" "$root$2"
}

remove() {
	for path in /usr/local/bin /etc/systemd/system/multi-user.target.wants /etc/systemd/system/sockets.target.wants /etc/modules-load.d /etc/init.d /etc/runlevels/default /etc/sv; do inside "$path"; done
	rm -f "$root$agent" "$root/etc/systemd/system/cocoon-agent.service" "$root/etc/systemd/system/cocoon-agent.socket" \
		"$root/etc/systemd/system/multi-user.target.wants/cocoon-agent.service" "$root/etc/systemd/system/sockets.target.wants/cocoon-agent.socket" \
		"$root/etc/modules-load.d/cocoon-agent.conf" "$root/etc/init.d/cocoon-agent" "$root/etc/runlevels/default/cocoon-agent"
	rm -rf "$root/etc/sv/cocoon-agent"
	for directory in ${services:+"$services"} /etc/service /etc/runit/runsvdir/default /var/service /etc/services.d; do
		if [ -n "$root" ] && [ -L "$root$directory" ]; then continue; fi # it may lead out
		if [ -L "$root$directory/cocoon-agent" ]; then rm "$root$directory/cocoon-agent"; else rm -rf "$root$directory/cocoon-agent"; fi
	done
	without /etc/inittab
	without /etc/modules
}

if [ "$uninstall" = yes ]; then
	remove
	echo "cocoon-agent is removed, but for $root$settings. An agent that runs goes on until the next boot."
	exit
fi

if [ -z "$program" ]; then
	for program in "$here/../cocoon-agent" "$here/../bin/cocoon-agent" ''; do
		if [ -f "$program" ]; then break; fi
	done
	[ -n "$program" ] || die "no program: there is none beside $here"
fi
[ -f "$program" ] || die "$program is not there"
case $(dd if="$program" bs=1 skip=1 count=3 2>/dev/null) in
ELF) ;;
*) die "$program is not a program for Linux" ;;
esac
for file in default cocoon-agent.service cocoon-agent.socket cocoon-agent.openrc modules-load.d/cocoon-agent.conf supervise/runit-run supervise/s6-run; do
	[ -f "$here/$file" ] || die "$here/$file is not there: run install.sh where it was unpacked"
done
[ -n "$init" ] || init=$(find_init)
case $init in
systemd | openrc | runit | s6 | inittab | none) ;;
'') die 'no init system found: name it with --init, or use --init none for a guest whose process 1 is the agent' ;;
*) usage "--init $init: want systemd, openrc, runit, s6, inittab or none" ;;
esac
case $init in
runit) find_services /etc/runit/runsvdir/default /etc/service /var/service ;;
s6) find_services /etc/services.d /service ;;
esac

put 755 "$program" "$agent"
has "$settings" || put 644 "$here/default" "$settings"
case $init in
systemd)
	units=/etc/systemd/system
	put 644 "$here/cocoon-agent.service" "$units/cocoon-agent.service"
	put 644 "$here/cocoon-agent.socket" "$units/cocoon-agent.socket"
	put 644 "$here/modules-load.d/cocoon-agent.conf" /etc/modules-load.d/cocoon-agent.conf
	link ../cocoon-agent.service "$units/multi-user.target.wants/cocoon-agent.service"
	link ../cocoon-agent.socket "$units/sockets.target.wants/cocoon-agent.socket"
	;;
openrc)
	put 755 "$here/cocoon-agent.openrc" /etc/init.d/cocoon-agent
	link /etc/init.d/cocoon-agent /etc/runlevels/default/cocoon-agent
	with /etc/modules "$module"
	;;
runit)
	put 755 "$here/supervise/runit-run" /etc/sv/cocoon-agent/run
	link /etc/sv/cocoon-agent "$services/cocoon-agent"
	;;
s6)
	put 755 "$here/supervise/s6-run" "$services/cocoon-agent/run"
	echo 3 >"$root$services/cocoon-agent/notification-fd"
	echo 25000 >"$root$services/cocoon-agent/timeout-kill"
	;;
inittab)
	with /etc/inittab "::sysinit:/sbin/modprobe -q $module" "::respawn:/usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin $command"
	;;
esac
case $init in
none) echo "cocoon-agent is installed. Boot with init=$agent on the kernel's command line." ;;
*) echo "cocoon-agent is installed for $init, and runs from the next boot on." ;;
esac
