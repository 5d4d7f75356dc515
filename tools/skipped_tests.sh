#!/usr/bin/env bash
# skipped_tests.sh [BUILD]: what the last run of ctest in BUILD (default: build) left out, and why, a line each.
set -euo pipefail
awk '
function say(why) { if (!seen[name, why]++) print name ": " why }
/^[0-9]+\/[0-9]+ Testing: / { name = $3; next }
sub(/^skipped: /, "") { say($0) } # the shell scripts and some of the Python ones
sub(/^.*\.\.\. skipped ['\''"]/, "") { sub(/['\''"]$/, ""); say($0) } # unittest
sub(/^\[ *SKIPPED *\] */, "") && !/^[0-9]+ test|listed below/ { say($0) } # cmocka
' "${1:-build}/Testing/Temporary/LastTest.log" | sort
