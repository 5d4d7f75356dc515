#!/usr/bin/env bash
# Compare tern with another engine on this machine: both in turn, A B A B, so that a machine that drifts is as fast for
# the one as for the other. See --help.
# shellcheck source=bench/lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'END'
Example:
  bench/compare.sh --llama-bench ../llama.cpp/build/bin/llama-bench --model model.gguf
  bench/compare.sh --llama-bench PATH --model peer.gguf --tern-model ours.gguf -t 1,2 -r 7
  bench/compare.sh --command 'other-engine {model} {prompt} {decode} {threads}' --model model.bin --tern-model ours.gguf

  --llama-bench PATH   a program that knows the options of llama.cpp's llama-bench (-m -p -n -t -r -o json)
  --command TEXT       any other: run by bash with {model} {prompt} {decode} {threads} replaced; the last line that it
                       prints is two numbers, tokens a second of prefill and of decode
  --model FILE         the peer's model
  --tern-model FILE    tern's model (default: the peer's)
  --tern PATH          the command (default: build/tern, else tern)
  --name NAME          of the peer in the table (default: its path's last part)
  --peer-args TEXT     more arguments for the peer's program
  --tern-args TEXT     more arguments for tern bench
  -p N, -n N           tokens of the prompt and of decoding (default: 512, 128)
  -t LIST              threads: 1,2 (default: all CPUs)
  -r N                 runs of each, after one that is not counted (default: 5)

A table in Markdown goes to standard output: medians, the slowest and the fastest, and the ratio of each pair of runs
that stood next to each other. tern's share of the limits is that of the same minute.
END
}

llama='' template='' model='' tern_model='' tern='' name='' peer_args='' tern_args=''
prompt=512 decode=128 threads=$(getconf _NPROCESSORS_ONLN) runs=5
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --llama-bench | --command | --model | --tern-model | --tern | --name | --peer-args | --tern-args | -p | -n | -t | -r)
        [ $# -ge 2 ] || die "$1 needs a value (see --help)"
        ;;
    *) die "unknown option '$1' (see --help)" ;;
    esac
    case $1 in
    --llama-bench) llama=$2 ;;
    --command) template=$2 ;;
    --model) model=$2 ;;
    --tern-model) tern_model=$2 ;;
    --tern) tern=$2 ;;
    --name) name=$2 ;;
    --peer-args) peer_args=$2 ;;
    --tern-args) tern_args=$2 ;;
    -p) prompt=$2 ;;
    -n) decode=$2 ;;
    -t) threads=$2 ;;
    -r) runs=$2 ;;
    esac
    shift 2
done
[ -n "$llama" ] || [ -n "$template" ] || die "name a peer with --llama-bench or --command (see --help)"
[ -z "$llama" ] || [ -z "$template" ] || die "--llama-bench and --command exclude each other"
[ -n "$model" ] || die "name the peer's model with --model"
for number in "$prompt" "$decode" "$runs"; do
    case $number in *[!0-9]* | '') die "-p, -n and -r take whole numbers, not '$number'" ;; esac
done
case $threads in *[!0-9,]* | ,* | *, | '') die "-t takes a list like 1,2" ;; esac
[ "$runs" -ge 1 ] || die "-r must be at least 1"
[ -e "$model" ] || die "$model: no such file"
tern_model=${tern_model:-$model}
[ -e "$tern_model" ] || die "$tern_model: no such file"
root=$(cd "$(dirname "$0")/.." && pwd)
[ -n "$tern" ] || { [ -x "$root/build/tern" ] && tern=$root/build/tern || tern=tern; }
need python3 "$tern" ${llama:+"$llama"}
[ -n "$name" ] || name=$(basename "${llama:-${template%% *}}")

a_number='([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?'

rate() { # PREFIX KEY NUMBER: no program makes 0 tokens a second
    if [[ ${3%%[eE]*} =~ [1-9] ]]; then
        sample "$1.$2" "$3"
    else
        note "the peer's $2 is $3 tokens a second"
        sample "$1.failed" 1
    fi
}

run_template() { # PREFIX THREADS
    local command=$template line figures
    command=${command//'{model}'/$(printf %q "$model")}
    command=${command//'{prompt}'/$prompt}
    command=${command//'{decode}'/$decode}
    command=${command//'{threads}'/$2}
    if line=$(bash -c "$command" 2>"$WORK/peer.err" | tail -n 1) &&
        [[ $line =~ ^[[:space:]]*($a_number)[[:space:]]+($a_number)[[:space:]]*$ ]]; then
        figures=("${BASH_REMATCH[1]}" "${BASH_REMATCH[5]}")
        [ "$prompt" = 0 ] || rate "$1" prefill "${figures[0]}"
        [ "$decode" = 0 ] || rate "$1" decode "${figures[1]}"
    else
        note "the peer's last line is not two numbers but '$line': $(tail -n 1 "$WORK/peer.err" | cut -c1-120)"
        sample "$1.failed" 1
    fi
}

run_peer() { # PREFIX THREADS
    if [ -n "$template" ]; then
        run_template "$@"
    else
        # shellcheck disable=SC2086
        llama_bench "$1" "$llama" "$model" "$prompt" "$decode" "$2" $peer_args
    fi
}

for t in ${threads//,/ }; do
    for run in $(seq 0 "$runs"); do # run 0 warms up the page cache and is not counted
        key=$([ "$run" = 0 ] && echo warm-up || echo "$t")
        note "threads $t, run $run of $runs"
        run_peer "peer.$key" "$t"
        # shellcheck disable=SC2086
        own_bench "tern.$key" "$tern" "$tern_model" -p "$prompt" -n "$decode" -t "$t" $tern_args || exit 1
    done
done

python3 -c "$STATISTICS"'
name, threads, prompt, decode, runs = sys.argv[2:7]
print("Tokens a second, median of %s runs in turn (slowest-fastest)\n" % runs)
print("| threads | | %s | tern | tern / %s | tern, of the limit measured around it |" % (name, name))
print("|---|---|---|---|---|---|")
for t in threads.split(","):
    for what, label, share, limit, unit in (("prefill", "prefill of " + prompt, "peak_share", "peak", "GMAC/s"),
                                            ("decode", "decode of " + decode, "memory_share", "memory", "GB/s")):
        own, peer = "tern.%s.%s" % (t, what), "peer.%s.%s" % (t, what)
        if own not in samples and peer not in samples:
            continue
        limits = "tern.%s." % t
        of = "%s%% of %s %s" % (spread(limits + share, 0), spread(limits + limit, 1), unit) if limits + share in samples else "-"
        print("| %s | %s | %s | %s | %s | %s |" % (t, label, spread(peer), spread(own), text(ratios(own, peer), 2), of))
failed = sum(len(v) for k, v in samples.items() if k.endswith(".failed"))
if failed:
    print("\n%s failed %d times; such runs are left out." % (name, failed))
if not any(k.startswith("peer.%s." % t) and not k.endswith(".failed") for t in threads.split(",") for k in samples):
    sys.exit(1) # there is nothing to compare with
' "$SAMPLES" "$name" "$threads" "$prompt" "$decode" "$runs"
