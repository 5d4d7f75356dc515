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
    *Destroy* | *Free* | cuCtx*) leaks=0 ;; # what is not given back stays, under a leak checker, too
    esac
    run "call $2 of $1 gives $3" env LSAN_OPTIONS="detect_leaks=$leaks" TERN_EMULATOR_FAIL="$1:$2:$3" \
        TERN_EMULATOR_COUNT="$WORK/left" "${command[@]}" -o "$WORK/got"
    case $1:$status:$2 in
    # of no consequence for what is computed, which is there by then
    *Destroy*:0:* | *Free*:0:* | *Release*:0:* | *Unload*:0:* | cuCtx*:0:* | cuStreamSynchronize:0:"$count")
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
    case $1 in
    cuCtxPopCurrent_v2) ;; # it stays on the thread's stack
    *) is "$(sed -n 's/^left //p' "$WORK/left")" 0 ;;
    esac
}

while read -r call count; do
    case $call in
    left) continue ;;
    cuDriverGetVersion) continue ;; # asked for when the kernels cannot be loaded: below
    *Alloc*) errors="2 719" ;;
    *) errors=719 ;;
    esac
    for n in $(printf '%s\n' 1 2 $((count / 2)) "$count" | sort -nu); do
        for error in $errors; do
            if [ "$n" -ge 1 ] && [ "$n" -le "$count" ]; then
                broken "$call" "$n" "$error"
                # only want of memory is called that
                case $call:$error:$err in
                *Alloc*:719:*"unspecified launch failure"*) ;;
                *Alloc*:719:*) fail "$name: '$err' does not say what failed" ;;
                esac
            fi
        done
    done
done <"$WORK/calls"

# What the driver has against the kernels. A build without nvcc has none, and says that instead.
if [ -e "$CUDA_EMULATOR/../../cuda/kernels.fatbin" ]; then
    for error in 200 209 218 222; do
        fails 1 "its driver is for CUDA 10.2, but the kernels were compiled by nvcc 1" "an old driver, $error" \
            env TERN_EMULATOR_DRIVER=10020 TERN_EMULATOR_FAIL=cuModuleLoadData:1:$error "${command[@]}" -o "$WORK/got"
        fails 1 "need compute capability" "an old GPU, $error" env TERN_EMULATOR_DRIVER=99000 TERN_EMULATOR_CC=50 \
            TERN_EMULATOR_FAIL=cuModuleLoadData:1:$error "${command[@]}" -o "$WORK/got"
    done
    fails 1 "loading the kernels: a PTX JIT compilation failed" "neither" env TERN_EMULATOR_DRIVER=99000 \
        TERN_EMULATOR_FAIL=cuModuleLoadData:1:218 "${command[@]}" -o "$WORK/got"
    fails 1 "loading the kernels: no kernel image" "the driver does not say its version" env \
        TERN_EMULATOR_FAIL=cuModuleLoadData:1:209 "${command[@]}" -o "$WORK/got"
else
    echo "skipped: kernels that a driver refuses: built without nvcc"
    fails 1 "nvcc was not found" "no kernels" env TERN_EMULATOR_FAIL=cuModuleLoadData:1:222 "${command[@]}" -o "$WORK/got"
fi

fails 1 "no CUDA-capable device" "no device" env TERN_EMULATOR_DEVICES=0 "${command[@]}" -o "$WORK/got"
fails 1 "MB are free" "too little memory" env TERN_EMULATOR_MEMORY=100000 "${command[@]}" -o "$WORK/got"
run "too little memory, auto" env TERN_BACKEND=auto TERN_EMULATOR_MEMORY=100000 "${command[@]}" -o "$WORK/got"
is "$status" 0
cmp -s "$WORK/got" "$WORK/want" || fail "$name: other logits"
run "the other order of threads" env TERN_EMULATOR_ORDER=reverse "${command[@]}" -o "$WORK/got"
is "$status" 0
cmp -s "$WORK/got" "$WORK/want" || fail "$name: other logits"

finish
