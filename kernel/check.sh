#!/usr/bin/env bash
# Check that every option of the fragments is really in a final .config: a later fragment wins over an earlier one.
#
#   check.sh FINAL_CONFIG FRAGMENT...
set -euo pipefail
final=$1
shift
cat "$@" | awk -v final="$final" '
	/^CONFIG_[A-Za-z0-9_]+=/ { name = $0; sub(/=.*/, "", name); want[name] = $0; next }
	/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { want[$2] = $0; next }
	END {
		while ((getline line < final) > 0) {
			if (line ~ /^CONFIG_/) { name = line; sub(/=.*/, "", name); have[name] = line }
			else if (line ~ /^# CONFIG_.* is not set$/) { split(line, part, " "); have[part[2]] = line }
		}
		for (name in want) {
			n++
			# An option whose menu is off is as absent as one that is not set.
			if (want[name] ~ /^#/ && !(name in have)) continue
			got = (name in have) ? have[name] : "nothing (a menu it depends on is off)"
			if (got != want[name]) { bad++; printf "kernel-check: asked for %s, got %s\n", want[name], got }
		}
		if (bad) { printf "kernel-check: %d of %d options are not as asked in %s\n", bad, n, final; exit 1 }
		printf "kernel-check: %d options as asked\n", n
	}'
