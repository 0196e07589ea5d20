#!/usr/bin/env bash
# make test: everything, on this machine. The last line is `N passed, N failed, N skipped`.
#
# Each step writes its log to out/test-logs; a failing one is shown. A test that cannot run says `SKIP NAME: REASON`.
set -uo pipefail
cd "$(dirname "$0")/.."
logs=out/test-logs
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0 skipped=0

# step NAME COMMAND...: one test of its own.
step() {
	local name=$1 started=$SECONDS
	shift
	if "$@" >"$logs/$name.log" 2>&1; then
		passed=$((passed + 1))
		echo "ok   $name ($((SECONDS - started)) s)"
	else
		failed=$((failed + 1))
		echo "FAIL $name: see $logs/$name.log"
		tail -n 40 "$logs/$name.log"
	fi
}

# suite NAME COMMAND...: a runner whose `N passed; N failed; N ignored` lines are added up. A Rust test that could not run has
# returned after a line `SKIP NAME: REASON`, and its runner counts it as passed: here it is skipped. (Other runners count their own.)
suite() {
	local name=$1 started=$SECONDS status=0
	shift
	"$@" >"$logs/$name.log" 2>&1 || status=$?
	local p f s
	read -r p f s < <(awk '
		/^test result:/ { rust = 1; p += $4; f += $6; s += $8 }
		/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { p += $1; f += $3; s += $5 }
		/^SKIP / { silent++ }
		END { if (rust) { p -= silent; s += silent }; print p + 0, f + 0, s + 0 }' "$logs/$name.log")
	# A runner that dies before its tests ran has failed, whatever it counted.
	[ "$status" = 0 ] || [ "$f" != 0 ] || f=1
	[ $((p + f + s)) != 0 ] || f=1
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	grep -hE '^SKIP ' "$logs/$name.log" || true
	if [ "$f" = 0 ]; then
		echo "ok   $name: $p passed, $s skipped ($((SECONDS - started)) s)"
	else
		echo "FAIL $name: $f failed; see $logs/$name.log"
		grep -nE 'panicked|^error|FAILED|^FAIL' "$logs/$name.log" | head -n 30
		tail -n 30 "$logs/$name.log"
	fi
}

step kernel-check make --no-print-directory kernel-check CORACLE_SETUP=done
step lint setup/lint.sh
suite cargo cargo test --locked --workspace --no-fail-fast -- --show-output
for arch in x86_64 arm64; do
	step "image-$arch" make --no-print-directory image CORACLE_SETUP=done ARCH=$arch
	suite "vm-$arch" python3 tests/vm $arch
done
step reproducible tests/reproducible.sh x86_64

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
