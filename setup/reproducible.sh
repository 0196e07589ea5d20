# What would make two builds of one commit differ, held still. Sourced by the build scripts.
export LC_ALL=C.UTF-8 LANG=C.UTF-8 TZ=UTC
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
	SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 1735689600)
fi
export SOURCE_DATE_EPOCH
umask 022
