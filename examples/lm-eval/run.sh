#!/bin/sh
# Evaluate a model with EleutherAI's lm-evaluation-harness (pip install "lm-eval[api]") through `tern serve`:
#
#     ./run.sh model.gguf
#     ./run.sh model.gguf --tasks arc_easy,hellaswag --limit 100      # what lm_eval knows, its options
#     URL=http://127.0.0.1:8080 ./run.sh                              # a server that runs already
#
# Without --tasks: the three small tasks in this folder, one for each kind of request that the harness makes. With no
# model: the one that is built in. TERN and LM_EVAL are the commands; the defaults are tern and lm_eval.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
model=demo
case ${1:-} in
"" | -*) ;;
*)
    model=$1
    shift
    ;;
esac

server=
log=
clean_up() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" || true
    fi
    [ -z "$log" ] || rm -f "$log"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -z "${URL:-}" ]; then
    log=$(mktemp)
    # float32 keys and values, so that scores compare with those of other programs
    "${TERN:-tern}" serve "$model" --port 0 --kv-type f32 2>"$log" &
    server=$!
    until URL=$(sed -n 's/^listening on //p' "$log") && [ -n "$URL" ]; do
        if ! kill -0 "$server" 2>/dev/null; then
            cat "$log" >&2
            exit 1
        fi
        sleep 0.1
    done
fi
n_ctx=$(curl -fsS "$URL/v1/models" | sed -n 's/.*"context_length":\([0-9]*\).*/\1/p')

# The server tokenizes (remote), so the model's tokenizer files are not needed. The harness leaves the BOS away, without
# which Llama-3 tokenizers' models do worse: as a system instruction it stands in front of each prompt.
tasks=tern_choice,tern_text,tern_word
bos="<|begin_of_text|>"
for argument; do
    case $argument in
    --tasks | --tasks=*) tasks= ;;
    --apply_chat_template | --system_instruction | --system_instruction=*) bos= ;; # it would not be in front
    esac
done
set -- --model local-completions \
    --model_args "base_url=$URL/v1/completions,tokenizer_backend=remote,max_length=$n_ctx,num_concurrent=8" \
    ${bos:+--system_instruction "$bos"} --include_path "$here" ${tasks:+--tasks "$tasks"} "$@"
cd "$here" # the tasks name their data as files of this folder
${LM_EVAL:-lm_eval} "$@"
