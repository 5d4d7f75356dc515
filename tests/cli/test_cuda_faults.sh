#!/usr/bin/env bash
# Each function of the driver that the CUDA backend calls fails once, at its first and at its last call: the command then
# says so in one line, or, where it does not matter any more, its text is right. And memory that does not do.
# $CUDA_EMULATOR: the folder of the tests' libcuda.so.1 (tests/cuda/emulator), which can be told to fail.
. "$(dirname "$0")/lib.sh"

if [ -z "${CUDA_EMULATOR:-}" ]; then
    echo "skipped: the emulator is not built"
    exit 77
fi
tern=(env TERN_BACKEND=cuda LD_LIBRARY_PATH="$CUDA_EMULATOR" "$TERN")
say=(run -p "Once upon a time" -n 3 --temp 0)

run "the CPU" "$TERN" "${say[@]}"
text=$out
run "all is well" env TERN_EMULATOR_COUNT="$WORK/counts" "${tern[@]}" "${say[@]}"
is "$status" 0
is "$out" "$text"
[ "$(wc -l <"$WORK/counts")" -gt 25 ] || fail "few functions were called: $(cat "$WORK/counts")"

while read -r function calls; do
    for call in $(printf '%s\n' 1 "$calls" | sort -nu); do
        run "$function, call $call" env TERN_EMULATOR_FAIL="$function:$call" "${tern[@]}" "${say[@]}"
        if [ "$status" = 0 ]; then
            is "$out" "$text"
        else
            is "$status" 1
            is "$(wc -l <"$WORK/err")" 1
            has "$err" "tern: "
        fi
    done
done <"$WORK/counts"

fails 1 "the model needs" "memory for no weights" env TERN_EMULATOR_MEMORY=1000000 "${tern[@]}" "${say[@]}"
run "memory for no weights, auto" env BITNET_BACKEND=auto TERN_BACKEND= TERN_EMULATOR_MEMORY=1000000 \
    LD_LIBRARY_PATH="$CUDA_EMULATOR" "$TERN" "${say[@]}"
is "$status" 0
is "$out" "$text"

finish
