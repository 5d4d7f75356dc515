#!/usr/bin/env bash
# The table of speed targets, measured: everything in turn, round after round, so that a machine that drifts treats all
# alike; each figure with the limit that was measured around it. See --help.
# shellcheck source=bench/lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'END'
Example:
  bench/table.sh >table.md
  bench/table.sh -r 3 --model 2b4t.gguf --peer bitnet.cpp=PATH/llama-bench,PATH/model.gguf

  --model FILE        a model of 2B4T's shape (default: made by tern synth)
  --sparse FILE       one with the FFN sparsity of a trained model (default: made, --ffn-sparsity 0.8)
  --own FILE          --model in tern's own layout (default: made by tern convert)
  --peer NAME=PROGRAM,MODEL       a llama-bench-like program to compare with; may be repeated
  --peer-avx2 NAME=PROGRAM,MODEL  the same for the comparison without AVX-512
  --shapes LIST       for the growth of the cost (default: 0.7b,2b4t,3b,8b; none: skip)
  --threads N         (default: all CPUs)
  --rounds N, -r N    (default: 5)
  --tern PATH         the command (default: build/tern)
  --tmp DIR           where models are made, up to 6 GB (default: $TMPDIR or /tmp); they are removed afterwards
  --tern-args TEXT    more arguments for every tern bench

Markdown goes to standard output, progress and the reason of everything that is skipped to standard error.
END
}

root=$(cd "$(dirname "$0")/.." && pwd)
model='' sparse='' own='' shapes=0.7b,2b4t,3b,8b threads=$(getconf _NPROCESSORS_ONLN) rounds=5 tern=$root/build/tern
tmp='' tern_args='' peers=() peers_avx2=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --model | --sparse | --own | --peer | --peer-avx2 | --shapes | --threads | --rounds | -r | --tern | --tmp | --tern-args) ;;
    *) die "unknown option '$1' (see --help)" ;;
    esac
    [ $# -ge 2 ] || die "$1 needs a value (see --help)"
    case $1 in
    --model) model=$2 ;;
    --sparse) sparse=$2 ;;
    --own) own=$2 ;;
    --peer) peers+=("$2") ;;
    --peer-avx2) peers_avx2+=("$2") ;;
    --shapes) shapes=$2 ;;
    --threads) threads=$2 ;;
    --rounds | -r) rounds=$2 ;;
    --tern) tern=$2 ;;
    --tmp) tmp=$2 ;;
    --tern-args) tern_args=$2 ;;
    esac
    shift 2
done
for number in "$threads" "$rounds"; do
    case $number in *[!0-9]* | '') die "--threads and --rounds take whole numbers, not '$number'" ;; esac
done
for file in "$model" "$sparse" "$own"; do
    [ -z "$file" ] || [ -e "$file" ] || die "$file: no such file"
done
for shape in ${shapes//,/ }; do
    case $shape in none | tiny | 0.7b | 2b4t | 2b | 3b | 8b | 13b) ;; *) die "--shapes: '$shape' is no shape of tern synth" ;; esac
done
need python3 "$tern"
for peer in "${peers[@]}" "${peers_avx2[@]}"; do
    [[ $peer == *=*,* ]] || die "'$peer' is not NAME=PROGRAM,MODEL"
    files=${peer#*=}
    need "${files%%,*}"
    [ -e "${files#*,}" ] || die "${files#*,}: no such file"
done
if [ -n "$tmp" ]; then # models are large; $WORK may be small
    models=$(mktemp -d "$tmp/tern-table-XXXXXX") || die "$tmp: cannot make a folder there"
    trap 'rm -rf "$WORK" "$models"' EXIT
else
    models=$WORK
fi

# ------------------------------------------------------------------- what there is

skip() { # KEY REASON: the row stays in the table, with the reason
    note "skipped: $1: $2"
    printf '%s\t%s\n' "$1" "$2" >>"$WORK/skipped"
}
: >"$WORK/skipped"
has_option() { "$tern" "$1" --help 2>/dev/null | grep -q -- "$2"; }
is_command() { "$tern" --list-commands | cut -f1 | grep -qx "$1"; }

make_model() { # FILE ARGUMENT...
    note "making $1"
    "$tern" synth "$@" >&2 || die "cannot make $1"
}
[ -n "$model" ] || { model=$models/dense.gguf && make_model "$model" --shape 2b4t; }
[ -n "$sparse" ] || { sparse=$models/sparse.gguf && make_model "$sparse" --shape 2b4t --ffn-sparsity 0.8; }
if [ -z "$own" ]; then
    if is_command convert; then
        own=$models/own.gguf
        note "making $own"
        "$tern" convert "$model" "$own" >&2 || die "cannot convert $model"
    else
        skip start_own "this tern has no command convert"
    fi
fi
dense=() low_memory=()
if has_option bench --dense-ffn; then dense=(--dense-ffn); fi
if has_option bench --low-memory; then low_memory=(--low-memory); else skip low_memory "this tern bench has no --low-memory"; fi
has_option bench --batch || skip batch "this tern bench has no --batch"
has_option bench --sweep || skip context "this tern bench has no --sweep"
[ ${#peers[@]} -gt 0 ] || skip peers "none was named with --peer"
[ ${#peers_avx2[@]} -gt 0 ] || skip peers_avx2 "none was named with --peer-avx2"
is_skipped() { grep -q "^$1	" "$WORK/skipped"; }

# ---------------------------------------------------------------------- measuring

own_run() { # KEY ARGUMENT...
    # shellcheck disable=SC2086
    own_bench "$@" $tern_args || skip "$1" "it failed, see the messages"
}

# Wall time of a whole process up to its first token, the page cache warm: the file is read just before, since some
# systems drop pages that nobody used for a minute (DAMON's reclaim).
first_token() { # KEY MODEL
    cat "$2" >/dev/null
    local end begin=$EPOCHREALTIME
    if ! "$tern" run "$2" -t "$threads" -p Hello -n 1 --temp 0 >/dev/null 2>"$WORK/own.err"; then
        skip "$1" "tern run failed: $(tail -n 1 "$WORK/own.err")"
        return
    fi
    end=$EPOCHREALTIME
    sample "$1.seconds" "$(python3 -c 'import sys; print(float(sys.argv[2]) - float(sys.argv[1]))' "${begin/,/.}" "${end/,/.}")"
}

contexts() {
    # shellcheck disable=SC2086
    if ! "$tern" bench "$model" -p 0 -n 128 -t "$threads" -r 1 --sweep context=16,512,3900 "${dense[@]}" $tern_args \
        --json >"$WORK/own.json" 2>"$WORK/own.err"; then
        skip context "tern bench failed: $(tail -n 1 "$WORK/own.err")"
        return
    fi
    local rate="d['sweeps'][0]['results'][%d]['decode_tokens_per_second']['median']"
    # shellcheck disable=SC2059
    samples_from_json context "short=$(printf "$rate" 0)" "512=$(printf "$rate" 1)" "3900=$(printf "$rate" 2)" \
        "ratio512=$(printf "$rate" 1) / $(printf "$rate" 0)" "ratio3900=$(printf "$rate" 2) / $(printf "$rate" 0)" \
        <"$WORK/own.json"
}

run_peers() { # KEY NAME=PROGRAM,MODEL...
    local key=$1 peer files
    shift
    for peer; do
        files=${peer#*=}
        llama_bench "$key.${peer%%=*}" "${files%%,*}" "${files#*,}" 512 128 "$threads"
    done
}

measure_round() {
    own_run dense "$tern" "$model" -p 512 -n 128 -t "$threads" "${dense[@]}"
    run_peers peers "${peers[@]}"
    own_run sparse "$tern" "$sparse" -p 0 -n 128 -t "$threads"
    [ ${#dense[@]} = 0 ] || own_run sparse_dense "$tern" "$sparse" -p 0 -n 128 -t "$threads" "${dense[@]}"
    is_skipped context || contexts
    own_run one "$tern" "$model" -p 512 -n 128 -t 1 "${dense[@]}"
    is_skipped batch || own_run batch "$tern" "$model" -p 0 -n 64 -t "$threads" --batch 8
    is_skipped start_own || first_token start_own "$own"
    first_token start "$model"
    is_skipped low_memory || own_run low_memory "$tern" "$model" -p 512 -n 128 -t "$threads" "${low_memory[@]}"
    TERN_CPU=avx2 own_run avx2 "$tern" "$model" -p 512 -n 128 -t "$threads" "${dense[@]}"
    run_peers peers_avx2 "${peers_avx2[@]}"
}

measure_shapes() {
    [ "$shapes" != none ] || { skip shapes "--shapes none" && return; }
    note "shapes $shapes"
    # shellcheck disable=SC2086
    if ! "$tern" bench --sweep "shape=$shapes" -p 128 -n 32 -t "$threads" -r "$rounds" --tmp "$models" $tern_args \
        --json >"$WORK/shapes.json" 2>"$WORK/own.err"; then
        skip shapes "tern bench --sweep shape failed: $(tail -n 1 "$WORK/own.err")"
        rm -f "$WORK/shapes.json"
    fi
}

measure_speculation() {
    note "speculation"
    if ! [ -x "$root/bench/speculation.sh" ] ||
        ! BUILD=$(dirname "$tern") "$root/bench/speculation.sh" "$model" >"$WORK/speculation" 2>"$WORK/own.err"; then
        skip speculation "bench/speculation.sh failed: $(tail -n 1 "$WORK/own.err")"
        rm -f "$WORK/speculation"
    fi
}

note "round 0 of $rounds: warm-up, not counted"
for file in "$model" "$sparse" ${own:+"$own"}; do cat "$file" >/dev/null; done
for round in $(seq "$rounds"); do
    note "round $round of $rounds"
    measure_round
done
measure_shapes
measure_speculation

# ------------------------------------------------------------------------ the table

python3 -c "$STATISTICS"'
import json, os
work, threads, rounds = sys.argv[2:5]
skipped = dict(line.rstrip("\n").split("\t", 1) for line in open(work + "/skipped"))
def limit(key, what):
    share, of, unit = {"decode": ("memory_share", "memory", "GB/s"), "prefill": ("peak_share", "peak", "GMAC/s")}[what]
    if key + "." + share not in samples:
        return ""
    return "%s%% of %s %s" % (spread(key + "." + share, 0), spread(key + "." + of, 1), unit)
def row(what, target, key, figure, unit, more="", digits=1):
    if key not in skipped or figure in samples:
        print("| %s | %s | %s%s | %s |" % (what, target, spread(figure, digits), unit, more))
    else:
        print("| %s | %s | not measured: %s | |" % (what, target, skipped[key]))
print("Median of %s rounds in turn (smallest-largest), %s threads unless said otherwise.\n" % (rounds, threads))
print("| | target | measured | limit around it |\n|---|---|---|---|")
rate = " tok/s"
row("decode, dense FFN", "at least 70, 90% of bandwidth", "dense", "dense.decode", rate,
    limit("dense", "decode") + ", %s MB a token" % spread("dense.bytes", 0))
row("decode, FFN as sparse as a trained one", "at least 95", "sparse", "sparse.decode", rate,
    limit("sparse", "decode") + ", %s MB a token" % spread("sparse.bytes", 0))
if "sparse_dense.decode" in samples:
    row("the same model, dense path", "", "sparse_dense", "sparse_dense.decode", rate, limit("sparse_dense", "decode"))
row("decode after 512", "95% of short", "context", "context.512", rate, "%s of the decode after 16" % spread("context.ratio512", 2))
row("decode after 3900", "75% of short", "context", "context.3900", rate, "%s of the decode after 16" % spread("context.ratio3900", 2))
row("prefill 512", "at least 380, 80% of peak", "dense", "dense.prefill", rate, limit("dense", "prefill"))
row("one thread: decode", "at least 48", "one", "one.decode", rate, limit("one", "decode"))
row("one thread: prefill 512", "at least 190", "one", "one.prefill", rate, limit("one", "prefill"))
row("8 streams together", "at least 3 x one", "batch", "batch.batch", rate, "%s times one stream" % spread("batch.batch_ratio", 2))
row("start to first token, own layout", "under 0.15 s", "start_own", "start_own.seconds", " s", "", 3)
row("start to first token, GGUF I2_S", "under 1 s", "start", "start.seconds", " s", "", 3)
row("peak RSS, 512 + 128 tokens", "under 700 MB", "dense", "dense.rss", " MB", "%s MB of it private" % spread("dense.private", 0), 0)
row("low memory: private memory", "under 500 MB", "low_memory", "low_memory.private", " MB", "", 0)
row("AVX2 only: decode", "1.3 x bitnet.cpp", "avx2", "avx2.decode", rate, limit("avx2", "decode"))
row("AVX2 only: prefill 512", "2 x bitnet.cpp", "avx2", "avx2.prefill", rate, limit("avx2", "prefill"))
def peers(key, own, title):
    names = sorted(set(k.split(".", 1)[1].rsplit(".", 1)[0] for k in samples if k.startswith(key + ".")))
    if not names:
        print("\n%s: not measured: %s" % (title, skipped.get(key, "it failed")))
        return
    print("\n| %s | its decode | tern / it | its prefill 512 | tern / it |\n|---|---|---|---|---|" % title)
    for name in names:
        cells = []
        for what in ("decode", "prefill"):
            theirs = "%s.%s.%s" % (key, name, what)
            cells += [spread(theirs) + rate, text(ratios(own + "." + what, theirs), 2)]
        print("| %s | %s |" % (name, " | ".join(cells)))
peers("peers", "dense", "peer")
peers("peers_avx2", "avx2", "peer without AVX-512")
path = work + "/shapes.json"
if os.path.exists(path):
    print("\n| shape | decode | of bandwidth | prefill 128 | of peak |\n|---|---|---|---|---|")
    for r in json.load(open(path))["sweeps"][0]["results"]:
        cell = lambda key, factor, digits: text([r[key][k] * factor for k in ("median", "min", "max")] if r.get(key) else [], digits)
        print("| %s | %s tok/s | %s%% | %s tok/s | %s%% |" % (r["value"], cell("decode_tokens_per_second", 1, 1),
              cell("decode_share_of_memory_read", 100, 0), cell("prefill_tokens_per_second", 1, 1), cell("prefill_share_of_peak", 100, 0)))
else:
    print("\nshapes: not measured: %s" % skipped.get("shapes", ""))
path = work + "/speculation"
if os.path.exists(path):
    print("\nSpeculation (bench/speculation.sh):\n\n```\n%s```" % open(path).read())
else:
    print("\nspeculation: not measured: %s" % skipped.get("speculation", ""))
' "$SAMPLES" "$WORK" "$threads" "$rounds"
