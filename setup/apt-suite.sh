#!/usr/bin/env bash
# Fetch a Debian package from a suite other than the machine's own, without touching the machine's apt set-up.
#
#   apt-suite.sh SUITE ARCH PACKAGE[=VERSION] DIR      download the .deb into DIR and print its path
#   apt-suite.sh --versions SUITE ARCH PACKAGE         print the versions there are, newest first
#   apt-suite.sh --closure SUITE ARCH DIR PACKAGE...   download the packages and all that they depend on into DIR
#
# The mirror is the one that the machine already uses (read from its apt sources), so a build behind a local mirror works.
# On Ubuntu, whose mirrors do not carry Debian suites, it is the address that python-apt-common knows for Debian.
# CORACLE_DEBIAN_MIRROR (an address, ending in /debian) wins over both.
# Lists live in a private directory below the cache; signatures are checked with Debian's archive keyring.
set -euo pipefail
action=download
case $1 in --versions | --closure)
	action=${1#--}
	shift
	;;
esac
suite=$1 arch=$2
if [ "$action" = closure ]; then
	dir=$3 packages=("${@:4}")
else
	package=$3 dir=${4:-}
fi
cache=${CORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coracle}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

mirror() {
	if [ -n "${CORACLE_DEBIAN_MIRROR:-}" ]; then
		echo "$CORACLE_DEBIAN_MIRROR"
		return
	fi
	local found
	found=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
		grep -v '^ *#' | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n1 | tr -d ' ' || true)
	[ -n "$found" ] || found=$(sed -n 's/^BaseURI: *\(.*\/debian\)\/*$/\1/p' /usr/share/python-apt/templates/Debian.info 2>/dev/null | head -n1)
	[ -n "$found" ] || {
		echo "apt-suite: neither this machine's apt sources nor python-apt-common name a Debian mirror; set CORACLE_DEBIAN_MIRROR to the address of one" >&2
		return 1
	}
	echo "$found"
}

[ -r "$keyring" ] || {
	echo "apt-suite: $keyring is missing; install debian-archive-keyring" >&2
	exit 1
}
root=$cache/apt/$suite-$arch
mkdir -p "$root/lists/partial" "$root/archives/partial" "$root/etc/parts"
case $suite in
*-backports) suites="$suite ${suite%-backports}" ;;
*) suites=$suite ;;
esac
# One caller at a time may write the lists.
exec 9>"$root/lock"
flock 9
uri=$(mirror)
cat >"$root/etc/debian.sources" <<SRC
Types: deb
URIs: $uri
Suites: $suites
Components: main
Architectures: $arch
Signed-By: $keyring
SRC
touch "$root/etc/status"
options=(
	-o "Dir::Etc::sourcelist=$root/etc/debian.sources" -o "Dir::Etc::sourceparts=$root/etc/parts"
	-o "Dir::State::lists=$root/lists" -o "Dir::State::status=$root/etc/status"
	-o "Dir::State=$root" -o "Dir::Cache=$root" -o "APT::Architecture=$arch" -o "APT::Architectures=$arch"
	-o "APT::Sandbox::User=" -o "Acquire::Languages=none" -o "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"
	-o "Acquire::Retries=3"
)
# The lists are good for a day: a build does not ask the mirror again for what it asked an hour ago.
if [ -z "$(find "$root/lists" -maxdepth 1 -name '*_Packages*' -mmin -1440 2>/dev/null | head -n1)" ]; then
	apt-get "${options[@]}" -qq update >&2
fi
if [ "$action" = versions ]; then
	apt-cache "${options[@]}" madison "$package" | awk -F'|' '{gsub(/ /, "", $2); print $2}'
	exit 0
fi
mkdir -p "$dir"
if [ "$action" = closure ]; then
	# The status file is empty, so nothing counts as installed; --download-only keeps apt from calling dpkg.
	mkdir -p "$dir/partial"
	apt-get "${options[@]}" -o Debug::NoLocking=1 -o "Dir::Cache::archives=$(realpath "$dir")" -o APT::Install-Recommends=false \
		-qq -y --download-only install "${packages[@]}" >&2
	rmdir "$dir/partial"
	exit 0
fi
case $package in
*=*) ;;
*)
	# A backports suite has a low priority; ask for it by name and fall back on its base suite.
	version=$(apt-cache "${options[@]}" madison "$package" | awk -F'|' -v s="$suite/" 'index($3, s) {gsub(/ /, "", $2); print $2; exit}')
	[ -n "$version" ] || version=$(apt-cache "${options[@]}" madison "$package" | awk -F'|' 'NR == 1 {gsub(/ /, "", $2); print $2}')
	[ -n "$version" ] || {
		echo "apt-suite: no package $package for $arch in $suites" >&2
		exit 1
	}
	package=$package=$version
	;;
esac
(cd "$dir" && apt-get "${options[@]}" -qq download "$package" >&2)
name=${package%%=*} version=${package#*=}
find "$dir" -maxdepth 1 -name "${name}_${version//:/%3a}_*.deb" | head -n1
