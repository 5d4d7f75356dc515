#!/usr/bin/env bash
# TERN_BACKEND: the CUDA backend gives the bits of the CPU, and says what it cannot. $CUDA_EMULATOR: the folder of the
# tests' libcuda.so.1, which runs the kernels on the CPU (tests/cuda/emulator). On a machine with a GPU the same is also
# asked of the GPU.
. "$(dirname "$0")/lib.sh"
unset LD_LIBRARY_PATH

fails 1 "TERN_BACKEND=gpu is no backend" "unknown backend" env TERN_BACKEND=gpu "$TERN" run -p x -n 1
fails 1 "BITNET_BACKEND=gpu is no backend" "unknown backend, BitNet's name" env BITNET_BACKEND=gpu "$TERN" run -p x -n 1

# logits NAME IDS [OPTION...]: on $WORK/cpu and $WORK/gpu; the second with the environment in "${gpu[@]}"
logits() {
    local name=$1 ids=$2
    shift 2
    run "$name: cpu" "$TERN" logits --ids "$ids" "$@" -o "$WORK/cpu"
    is "$status" 0
    run "$name: gpu" env TERN_BACKEND=cuda "${gpu[@]}" "$TERN" logits --ids "$ids" "$@" -o "$WORK/gpu"
    is "$status" 0
    cmp -s "$WORK/cpu" "$WORK/gpu" || fail "$name: the CPU's logits are others"
}

same() {
    logits "$1: f32" 5,100,2000,7,12 --kv-type f32
    logits "$1: f16" 5,100,2000,7,12 --kv-type f16
    logits "$1: int8" 5,100,2000,7,12 --kv-type q8
    logits "$1: token by token" 9,8,7 --chunk 1
    run "$1: text" "$TERN" run -p "Once upon a time" -n 6 --temp 0
    local text=$out
    run "$1: text on the GPU" env TERN_BACKEND=cuda "${gpu[@]}" "$TERN" run -p "Once upon a time" -n 6 --temp 0
    is "$status" 0
    is "$out" "$text"
    # every way in which tokens are chosen: on the GPU, and (a bias, all rows) from the logits
    local options
    for options in "--temp 0.8" "--temp 1.5 --top-k 40" "--temp 1.5 --top-k 0 --top-p 1 --min-p 0.02" \
        "--temp 1.5 --top-k 0 --top-p 1 --min-p 0" "--temp 1.2 --top-k 0 --top-p 0.9" "--temp 1.5 --top-k 500" \
        "--temp 0 --repeat-penalty 1.3"; do
        # shellcheck disable=SC2086
        run "$1, $options" "$TERN" run -p "Once upon a time" -n 6 --seed 3 $options
        is "$status" 0
        text=$out
        # shellcheck disable=SC2086
        run "$1, $options, on the GPU" env BITNET_BACKEND=auto "${gpu[@]}" "$TERN" run -p "Once upon a time" -n 6 --seed 3 $options
        is "$status" 0
        is "$out" "$text"
    done
}

run "which driver" env TERN_BACKEND=cuda "$TERN" run -p x -n 1
if [ "$status" = 0 ]; then
    gpu=(TERN_TEST=gpu)
    same "on this machine's GPU"
else
    echo "skipped: on a GPU: $err"
    fails 1 "TERN_BACKEND=cpu" "no GPU" env TERN_BACKEND=cuda "$TERN" run -p x -n 1
    run "without a GPU auto is the CPU" env TERN_BACKEND=auto "$TERN" run -p x -n 1
    is "$status" 0
fi

if [ -n "${CUDA_EMULATOR:-}" ]; then
    gpu=(LD_LIBRARY_PATH="$CUDA_EMULATOR")
    same "in the emulator"
    run "stats" env TERN_BACKEND=cuda "${gpu[@]}" "$TERN" run -p x -n 1 --stats
    has "$err" ", cuda, "
    fails 1 "no int4 activations" "int4" env TERN_BACKEND=cuda "${gpu[@]}" "$TERN" run --act int4 -p x -n 1
    run "int4, auto" env TERN_BACKEND=auto "${gpu[@]}" "$TERN" run --act int4 -p x -n 1
    is "$status" 0
else
    echo "skipped: in the emulator: it is not built"
fi

finish
