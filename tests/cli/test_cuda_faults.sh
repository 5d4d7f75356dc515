#!/usr/bin/env bash
# Every call that the CUDA backend makes of the driver fails in turn, in the tests' emulator ($CUDA_EMULATOR, see
# test_cuda.sh): each is one line of error, and nothing is computed wrongly instead. And memory is given back.
. "$(dirname "$0")/lib.sh"
if [ -z "${CUDA_EMULATOR:-}" ]; then
    echo "skipped: the emulator of CUDA's driver is not built"
    exit 77
fi
model=$ROOT/tests/data/golden/small/model-f16.gguf
command=("$TERN" logits "$model" --ids "5,6,7,8,9,10,11,12,13" --chunk 2 -t 1)
export LD_LIBRARY_PATH=$CUDA_EMULATOR TERN_BACKEND=cuda

run "all is well" env TERN_EMULATOR_COUNT="$WORK/calls" "${command[@]}" -o "$WORK/want"
is "$status" 0
is "$(sed -n 's/^left //p' "$WORK/calls")" 0
[ "$(grep -c '^cu' "$WORK/calls")" -ge 20 ] || fail "only $(wc -l <"$WORK/calls") entry points are called"

# broken NAME N ERROR: the N-th call of it gives ERROR
broken() {
    rm -f "$WORK/got"
    local leaks=1
    case $1 in
    *Destroy* | *Free*) leaks=0 ;; # what is not given back stays, under a leak checker, too
    esac
    run "call $2 of $1 gives $3" env LSAN_OPTIONS="detect_leaks=$leaks" TERN_EMULATOR_FAIL="$1:$2:$3" \
        TERN_EMULATOR_COUNT="$WORK/left" "${command[@]}" -o "$WORK/got"
    case $1:$status:$2 in
    # of no consequence for what is computed, which is there by then
    *Destroy*:0:* | *Free*:0:* | *Release*:0:* | *Unload*:0:* | cuCtxSetCurrent:0:* | cuStreamSynchronize:0:"$count")
        cmp -s "$WORK/got" "$WORK/want" || fail "$name: other logits"
        return
        ;;
    cuGetErrorString:*) return ;;
    esac
    is "$status" 1
    is "$(wc -l <"$WORK/err")" 1
    case $err in
    "tern: "*) ;;
    *) fail "$name: stderr is not 'tern: ...' but '$err'" ;;
    esac
    [ ! -e "$WORK/got" ] || fail "$name: there is a file all the same"
    is "$(sed -n 's/^left //p' "$WORK/left")" 0
}

while read -r call count; do
    [ "$call" != left ] || continue
    error=719
    case $call in
    *Alloc*) error=2 ;;
    esac
    for n in $(printf '%s\n' 1 2 $((count / 2)) "$count" | sort -nu); do
        if [ "$n" -ge 1 ] && [ "$n" -le "$count" ]; then
            broken "$call" "$n" "$error"
        fi
    done
done <"$WORK/calls"

fails 1 "no CUDA-capable device" "no device" env TERN_EMULATOR_DEVICES=0 "${command[@]}" -o "$WORK/got"
fails 1 "MB are free" "too little memory" env TERN_EMULATOR_MEMORY=100000 "${command[@]}" -o "$WORK/got"
run "too little memory, auto" env TERN_BACKEND=auto TERN_EMULATOR_MEMORY=100000 "${command[@]}" -o "$WORK/got"
is "$status" 0
cmp -s "$WORK/got" "$WORK/want" || fail "$name: other logits"
run "the other order of threads" env TERN_EMULATOR_ORDER=reverse "${command[@]}" -o "$WORK/got"
is "$status" 0
cmp -s "$WORK/got" "$WORK/want" || fail "$name: other logits"

finish
