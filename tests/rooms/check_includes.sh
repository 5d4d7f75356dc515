#!/usr/bin/env bash
# check_includes.sh SRC: every #include of a room names only rooms that it may use (docs/ARCHITECTURE.md).
# System headers (<...>) are free, except that a room's third-party library is its own.
set -euo pipefail
src=$1

# room: what may stand in front of the slash of an include, besides the room itself
declare -A may=(
    [base]="tern"
    [format]="base tern"
    [tokenizer]="base tern"
    [kernels]="base tern"
    [model]="base format tokenizer kernels tern"
    [grammar]="base tokenizer tern"
    [runtime]="base tokenizer kernels model grammar tern"
    [cuda]="base format tokenizer kernels model runtime tern"
    [train]="base format tokenizer kernels model tern"
    [prune]="base format tokenizer kernels model train tern"
    [quant]="base format tokenizer kernels model tern"
    [eval]="base tokenizer tern"
    [server]="base tern"
    [rag]="base tokenizer kernels tern"
    [hub]="base tern"
    [cli]="base eval train prune quant server rag hub tern"
)
# library header: the rooms that may include it (base: only in base/json.h, which is no part of what it links)
declare -A library=(
    [jansson.h]="base format tokenizer grammar train prune cli eval server hub"
    [microhttpd.h]="server"
    [mpi.h]="train"
    [sqlite3.h]="rag"
    [curl/curl.h]="hub"
    [pcre2.h]="tokenizer eval"
    [histedit.h]="cli"
    [editline/readline.h]="cli"
)

bad=0
complain() {
    echo "$1: $2"
    bad=1
}
for folder in "$src"/*/; do
    room=$(basename "$folder")
    if [ -z "${may[$room]:-}" ]; then
        complain "$folder" "is not in the table of rooms (tests/rooms/check_includes.sh, docs/ARCHITECTURE.md)"
        continue
    fi
    while IFS=: read -r file line text; do
        [[ $text =~ [\<\"]([^\>\"]*)[\>\"] ]] || continue
        header=${BASH_REMATCH[1]}
        case $text in
        *\"*\"*)
            case $header in
            */*) target=${header%%/*} ;;
            *) target=$room ;; # a file beside this one
            esac
            case " $room ${may[$room]} " in
            *" $target "*) ;;
            *) complain "${file#"$src"/}:$line" "room $room must not include \"$header\"" ;;
            esac
            ;;
        *)
            users=${library[$header]:-}
            if [ -n "$users" ]; then
                case " $users " in
                *" $room "*) ;;
                *) complain "${file#"$src"/}:$line" "room $room must not include <$header>" ;;
                esac
            fi
            ;;
        esac
    done < <(grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include' "$folder" || true)
done
[ $bad = 0 ] && echo "includes follow the table of rooms"
exit $bad
