# shellcheck shell=bash
# Shared by the scripts of this folder; sourced. Needs bash and python3.
#
# Samples are lines "KEY<tab>NUMBER" in $SAMPLES: each run of a program adds some, statistics are made at the end.
set -u

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

note() { echo "$*" >&2; }

need() { # PROGRAM...: all of them can be run
    local program
    for program; do
        command -v "$program" >/dev/null || die "'$program' cannot be run: no such program"
    done
}

WORK=$(mktemp -d "${TMPDIR:-/tmp}/tern-bench-XXXXXX") || die "no folder for temporary files"
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM
SAMPLES=$WORK/samples
: >"$SAMPLES"

sample() { printf '%s\t%s\n' "$1" "$2" >>"$SAMPLES"; }

# samples_from_json PREFIX KEY=EXPRESSION...: from the JSON on standard input, d (r: its first result), one sample
# PREFIX.KEY each; an expression that gives None or asks for what is not there adds none.
samples_from_json() {
    python3 -c '
import json, sys
d = json.load(sys.stdin)
r = d["results"][0] if "results" in d else None
with open(sys.argv[1], "a") as out:
    for pair in sys.argv[3:]:
        key, expression = pair.split("=", 1)
        try:
            value = eval(expression, {"d": d, "r": r})
        except (KeyError, IndexError, TypeError):
            value = None
        if value is not None:
            print("%s.%s\t%.9g" % (sys.argv[2], key, value), file=out)
' "$SAMPLES" "$@"
}

# llama_bench PREFIX PROGRAM MODEL PROMPT DECODE THREADS [ARGUMENT...]: adds PREFIX.prefill and PREFIX.decode in tokens a
# second. The two are processes of their own: one that crashes does not take the other with it, but adds PREFIX.failed.
llama_bench() {
    local prefix=$1 program=$2 model=$3 prompt=$4 decode=$5 threads=$6
    shift 6
    [ "$prompt" = 0 ] || llama_bench_part "$prefix" prefill "$program" -m "$model" -p "$prompt" -n 0 -t "$threads" "$@"
    [ "$decode" = 0 ] || llama_bench_part "$prefix" decode "$program" -m "$model" -p 0 -n "$decode" -t "$threads" "$@"
}

llama_bench_part() { # PREFIX KEY PROGRAM ARGUMENT...
    local prefix=$1 key=$2 status
    shift 2
    "$@" -r 1 -o json >"$WORK/peer.json" 2>"$WORK/peer.err"
    status=$?
    # what some print before the JSON is not part of it
    if [ $status = 0 ] && sed -n '/^\[/,$p' "$WORK/peer.json" | samples_from_json "$prefix" "$key=d[0]['avg_ts']"; then
        return 0
    fi
    note "$* failed (status $status): $(tail -n 1 "$WORK/peer.err" | cut -c1-120)"
    sample "$prefix.failed" 1
}

# own_bench PREFIX TERN ARGUMENT...: `tern bench ARGUMENT... -r 1 --json`, its first result as samples.
own_bench() {
    local prefix=$1 tern=$2
    shift 2
    if ! "$tern" bench "$@" -r 1 --json >"$WORK/own.json" 2>"$WORK/own.err"; then
        note "tern bench $* failed: $(tail -n 1 "$WORK/own.err")"
        return 1
    fi
    samples_from_json "$prefix" "prefill=r['prefill_tokens_per_second']['median']" \
        "decode=r['decode_tokens_per_second']['median']" "memory=r['memory_read_bytes_per_second'] / 1e9" \
        "bytes=r['bytes_per_token'] / 1e6" "memory_share=r['achieved_share_of_memory_read'] * 100" \
        "peak=r['peak_macs_per_second']['median'] / 1e9" "peak_share=r['prefill_share_of_peak']['median'] * 100" \
        "rss=r['peak_rss_bytes'] / 1e6" "private=r['private_bytes'] / 1e6" \
        "batch=r['batch_tokens_per_second']['median']" "batch_ratio=r['batch_ratio_to_one_stream']['median']" \
        <"$WORK/own.json"
}

# Python for the ends of the scripts: samples as {key: [numbers in order]}, and spread(key, digits) as "median (min-max)".
# shellcheck disable=SC2034
STATISTICS='
import statistics, sys
samples = {}
for line in open(sys.argv[1]):
    key, value = line.rstrip("\n").split("\t")
    samples.setdefault(key, []).append(float(value))
def text(values, digits=1):
    if not values:
        return "-"
    form = "%." + str(digits) + "f"
    middle = form % statistics.median(values)
    return middle if len(values) == 1 else middle + " (%s-%s)" % (form % min(values), form % max(values))
def spread(key, digits=1):
    return text(samples.get(key), digits)
def ratios(key, other):
    a, b = samples.get(key, []), samples.get(other, [])
    return [x / y for x, y in zip(a, b)] if len(a) == len(b) else []
'
