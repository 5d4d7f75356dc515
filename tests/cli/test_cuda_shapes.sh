#!/usr/bin/env bash
# The CUDA backend on models of several shapes: logits are the CPU's bit for bit, over contexts of several splits
# (src/kernels/attention.h), in one step and in several. $CUDA_EMULATOR: the folder of the tests' libcuda.so.1, which runs
# the kernels on the CPU (tests/cuda/emulator).
. "$(dirname "$0")/lib.sh"

if [ -z "${CUDA_EMULATOR:-}" ]; then
    echo "skipped: the emulator is not built"
    exit 77
fi

ids() { # how many
    seq 1 "$1" | awk '{ printf("%s%d", (NR > 1 ? "," : ""), ($1 * 37 + 11) % 200) }'
}

# same NAME TOKENS CHUNK KV-TYPE SYNTH-OPTION...
same() {
    local title=$1 tokens chunk=$3 kv=$4
    tokens=$(ids "$2")
    shift 4
    run "$title: model" "$TERN" synth "$WORK/model.gguf" --force --shape tiny --layers 1 --vocab 300 --ctx 1024 "$@"
    is "$status" 0
    run "$title: CPU" "$TERN" logits "$WORK/model.gguf" --ids "$tokens" --kv-type "$kv" -o "$WORK/cpu"
    is "$status" 0
    run "$title: GPU" env TERN_BACKEND=cuda LD_LIBRARY_PATH="$CUDA_EMULATOR" "$TERN" logits "$WORK/model.gguf" \
        --ids "$tokens" --chunk "$chunk" --kv-type "$kv" -o "$WORK/gpu"
    is "$status" 0
    cmp -s "$WORK/cpu" "$WORK/gpu" || fail "$title: the CPU's logits are others"
}

# 700 tokens of 3 splits are more states than wait to be merged: each block goes through all splits
same "8 query heads of a KV head" 700 700 q8 --heads 8 --kv-heads 1
same "heads of 128 channels" 270 48 f16 --heads 2 --kv-heads 1
same "3 query heads of a KV head, Q8_0" 260 5 f32 --hidden 384 --heads 6 --kv-heads 2 --ffn 896 --embedding-type q8_0
same "binary, Q6_K" 20 3 q8 --weights binary --heads 4 --kv-heads 4 --embedding-type q6_k
same "an FFN of several pieces of a norm" 9 4 q8 --heads 4 --ffn 4352
same "Q4_0" 20 20 q8 --heads 4 --embedding-type q4_0
same "BF16, its own head" 20 1 f16 --heads 4 --embedding-type bf16 --head untied
same "F32" 9 2 f32 --heads 4 --embedding-type f32

run "floats: model" "$TERN" synth "$WORK/model.gguf" --force --shape tiny --layers 1 --vocab 300 --layout llama
is "$status" 0
fails 1 "no kernels for matrices of floats" "floats" env TERN_BACKEND=cuda LD_LIBRARY_PATH="$CUDA_EMULATOR" "$TERN" \
    logits "$WORK/model.gguf" --ids 1,2,3 -o "$WORK/gpu"

finish
