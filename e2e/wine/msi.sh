#!/usr/bin/env bash
# msi.sh tests the MSI of packaging/windows under Wine: install, upgrade, remove. $WINE is the directory
# that root.sh has made. Needs wixl, msitools, zip.
set -euo pipefail

cd "$(dirname "$0")/../.."
: "${WINE:?}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp -r "$WINE/prefix" "$dir/prefix" # of its own, as it is new
export WINE_PREFIX=$dir/prefix
for version in 0.2.0 0.3.0; do packaging/windows/build.sh "$version" "$dir"; done
old=cocoon-agent_0.2.0_windows_amd64.msi new=cocoon-agent_0.3.0_windows_amd64.msi

# rows TABLE PATTERN…: the table of the MSI has them.
rows() {
	local table=$1 said
	shift
	said=$(msiinfo export "$dir/$new" "$table")
	for pattern; do
		grep -q -E -e "$pattern" <<<"$said" || {
			printf 'msi: no "%s" in %s:\n%s\n' "$pattern" "$table" "$said" >&2
			exit 1
		}
	done
}
rows ServiceInstall $'cocoon-agent\t.*\t16\t2\t1\t.*serve --service --port \\[PORT\\] \\[OPTIONS\\]'
rows ServiceControl $'cocoon-agent\t163\t'
rows Upgrade $'^\\{0D9F0C5E-4E0B-4C3C-9C0B-5E7B5C7C2F61\\}\t\t0\\.3\\.0\t'
rows Property $'^ProductVersion\t0\\.3\\.0' $'^SecureCustomProperties\tPORT;OPTIONS;'
rows InstallExecuteSequence $'^InstallInitialize\t\t1500' $'^RemoveExistingProducts\t\t1501'
rows Upgrade $'\t513\t.*WIX_UPGRADE_DETECTED'
echo 'msi: tables: ok'

# step NAME STATUS TEXT COMMAND…: the commands of a batch file end with the status, and print the text.
step() {
	local name=$1 want=$2 text=$3 said status=0
	shift 3
	printf '%s\r\n' '@echo off' "cd /d Z:${dir//\//\\}" "$@" >"$dir/step.bat"
	said=$(e2e/wine/exec cmd /c "Z:${dir//\//\\}\\step.bat") || status=$?
	if [ "$status" -ne "$want" ] || ! grep -q -F -e "$text" <<<"$said"; then
		printf 'msi: %s: status %d, want %d and "%s":\n%s\n' "$name" "$status" "$want" "$text" "$said" >&2
		exit 1
	fi
	echo "msi: $name: ok"
}
# shellcheck disable=SC2016 # cmd expands it
agent='"C:\Program Files\Cocoon\cocoon-agent.exe"'
stop='if errorlevel 1 exit 99'
step install 0 'state:   running' "msiexec /i $old /qn PORT=1025 OPTIONS=\"--deny reseed\"" "$stop" "$agent service status"
step 'properties' 0 'serve --service --port 1025 --deny reseed' "$agent service status" 'exit 0'
step upgrade 0 'state:   running' "msiexec /i $new /qn" "$stop" "$agent service status"
step 'properties are kept' 0 'serve --service --port 1025 --deny reseed' "$agent service status" 'exit 0'
step 'version' 0 'cocoon-agent 0.3.0' "$agent version"
step 'no downgrade' 0 'refused' "msiexec /i $old /qn" 'if errorlevel 1 echo refused' 'exit 0'
step 'version stays' 0 'cocoon-agent 0.3.0' "$agent version"
step 'upgrade with properties' 3 'serve --service --port 1026' "msiexec /x $new /qn" "$stop" "msiexec /i $new /qn PORT=1026" "$stop" "$agent service stop" "$agent service status"
step 'options are taken away' 3 'serve --service --port 1026' "msiexec /x $new /qn" "$stop" "msiexec /i $old /qn PORT=1026 OPTIONS=\"--deny reseed\"" "$stop" "msiexec /i $new /qn OPTIONS=none" "$stop" "$agent service stop" "$agent service status | find \"reseed\" && exit 98" "$agent service status"
step remove 0 'gone' "msiexec /x $new /qn" "$stop" "if not exist $agent echo gone" 'exit 0'
