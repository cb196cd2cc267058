# shellcheck shell=bash
# Functions of .ci/run and .ci/nightly, which source this file in the repository's
# root. At exit it prints a table with the time of each step.

export CI=true
step='' began=0
names=() times=()

# begin STEP ends the current step and starts the next one.
begin() {
	end_step
	step=$1 began=$SECONDS
	printf '\n=== %s (after %d s)\n' "$step" "$SECONDS"
}

end_step() {
	[ -n "$step" ] || return 0
	names+=("$step") times+=($((SECONDS - began)))
	step=''
}

finish() {
	local status=$? failed=$step i width=0
	end_step
	for i in "${!names[@]}"; do
		[ "${#names[i]}" -le "$width" ] || width=${#names[i]}
	done
	printf '\n'
	for i in "${!names[@]}"; do
		printf '%-*s  %5d s\n' "$width" "${names[i]}" "${times[i]}"
	done
	printf '%-*s  %5d s\n' "$width" total "$SECONDS"
	if [ "$status" -eq 0 ]; then
		printf '\nci: all passed in %d s\n' "$SECONDS"
	else
		printf '\nci: FAILED in: %s (status %d)\n' "$failed" "$status" >&2
	fi
}
trap finish EXIT

# need PACKAGE FILE adds a Debian package to the missing ones if its program or file is missing.
missing=()
need() { command -v "$2" >/dev/null || [ -e "$2" ] || missing+=("$1"); }

# install_missing installs the missing packages.
install_missing() {
	[ "${#missing[@]}" -gt 0 ] || return 0
	echo "installing: ${missing[*]}"
	local apt=(apt-get -q -y --no-install-recommends -o Acquire::Retries=3)
	[ "$(id -u)" -eq 0 ] || apt=(sudo DEBIAN_FRONTEND=noninteractive "${apt[@]}")
	"${apt[@]}" update &&
		DEBIAN_FRONTEND=noninteractive "${apt[@]}" install "${missing[@]}"
}
