#!/usr/bin/env bash
# Help, bad usage, exit statuses; the man page and the completions know every option.
. "$(dirname "$0")/lib.sh"

# --- help
run help "$TERN" --help
is "$status" 0
is "$err" ""
overview=$out
for command in run chat tokenize bench perplexity eval logits inspect synth convert quantize prune fit pull; do
    has "$overview" "  $command "
    run "$command --help" "$TERN" "$command" --help
    is "$status" 0
    is "$err" ""
    is "$(head -n 1 "$WORK/out")" "Example:"
    has "$(sed -n 2p "$WORK/out")" "tern $command"
    has "$out" "Usage: tern $command"
done
while read -r group command; do # commands of two words: listed by their first one, with their own help
    [ "$command" ] || continue
    has "$overview" "  $group "
    run "$group --help" "$TERN" "$group" --help
    is "$status" 0
    is "$err" ""
    is "$(head -n 1 "$WORK/out")" "Example:"
    has "$out" "  $command "
    run "$group $command --help" "$TERN" "$group" "$command" --help
    is "$status" 0
    is "$err" ""
    has "$(sed -n 2p "$WORK/out")" "tern $group $command"
    has "$out" "Usage: tern $group $command"
    run "$group alone" "$TERN" "$group"
    is "$status" 2
    is "$out" ""
    has "$err" "  $command "
    fails 2 "unknown command 'fly'" "$group fly" "$TERN" "$group" fly
    fails 2 "unknown option '--fly'" "$group --fly" "$TERN" "$group" --fly
    fails 2 "unknown option '--fly'" "$group $command --fly" "$TERN" "$group" "$command" --fly
done < <("$TERN" --list-commands | cut -f1)
# the way to a model of one's own: as README.md and docs/TRAINING.md have it, of commands and options that there are
run "train's example" "$TERN" train --help
sed -n '2,/^$/ s/^  //p' "$WORK/out" >"$WORK/example"
has "$(tail -n 1 "$WORK/example")" "tern chat "
[ "$(wc -l <"$WORK/example")" -ge 6 ] || fail "train --help: its example is not the whole way"
while read -r line; do
    grep -qF "$line" "$ROOT/README.md" || fail "README.md does not have '$line'"
    while read -r part; do
        grep -qF "$part" "$ROOT/docs/TRAINING.md" || fail "docs/TRAINING.md does not have '$part'"
        case $part in *" train "*) command=$(cut -d ' ' -f 2-3 <<<"$part") ;; *) command=$(cut -d ' ' -f 2 <<<"$part") ;; esac
        for option in $(grep -o -- ' --[a-z-]*' <<<"$part"); do
            "$TERN" --list-options $command | grep -q -- "^$option" || fail "train's example: $command has no $option"
        done
    done < <(sed 's/ && /\n/g' <<<"$line")
done <"$WORK/example"
run version "$TERN" --version
is "$status" 0
has "$out" "tern $(sed -n 's/^#define TERN_VERSION "\(.*\)"/\1/p' "$ROOT/include/tern/tern.h")"
run "no arguments" "$TERN"
is "$status" 2
is "$out" ""
has "$err" "Usage:"

# --- what is no command or option
fails 2 "unknown command 'fly'" "unknown command" "$TERN" fly
fails 2 "unknown option '--fly'" "unknown option" "$TERN" --fly
fails 2 "unknown option '--fly'" "unknown option of run" "$TERN" run --fly
fails 2 "unknown option '-x'" "unknown letter" "$TERN" run -x
fails 2 "needs a value" "missing value" "$TERN" run -n
fails 2 "takes no value" "flag with value" "$TERN" run --stats=yes
fails 2 "too many" "operands" "$TERN" run one two three
fails 2 "too few" "no operand" "$TERN" synth
fails 2 "too many" "prompt without -p" "$TERN" run demo "Once upon a time"
fails 1 "--fly" "-- ends the options" "$TERN" run -p x -- --fly
printf 'evil\033[31m\nname' >"$WORK/name"
fails 2 "evil?[31m?name" "control characters" "$TERN" "$(cat "$WORK/name")"

# --- values
while IFS='|' read -r option value part; do
    fails 2 "$part" "run $option $value" "$TERN" run demo -p x "$option" "$value"
done <<'END'
-n|many|not a whole number
-n||not a whole number
-n|1.5|not a whole number
-n|1e3|not a whole number
-n| 5|not a whole number
-n|0x10|not a whole number
-n|-2|out of range
-n|99999999999999999999|not a whole number
-n|4294967296|out of range
--temp|nan|not a finite
--temp|inf|not a finite
--temp|1e999|not a finite
--temp|0x1p3|not a finite
--temp|warm|not a finite
--temp|-0.1|out of range
--temp|1,5|not a finite
--top-k|-1|out of range
--top-p|1.01|out of range
--top-p|0|out of range
--min-p|-1|out of range
--repeat-penalty|0|out of range
--penalty-window|-2|out of range
--seed|-1|out of range
--threads|1025|out of range
-c|-1|out of range
--chunk|0|out of range
--kv-type|f64|f32, f16, q8
--logit-bias|5|ID=X
--logit-bias|=5|ID=X
--logit-bias|a=5|ID must
--logit-bias|-1=5|ID must
--logit-bias|5=nan|X must
--logit-bias|5=inf|X must
--logit-bias|1000000=1|vocabulary
--stop||empty
--system|x|--chat
--ids|1,2|together
END
fails 2 "not a list" "ids" "$TERN" run demo --ids 1,x
fails 2 "not a list" "ids, empty place" "$TERN" run demo --ids 1,,2
fails 2 "not a list" "ids, comma at the end" "$TERN" run demo --ids 1,2,
fails 2 "not a list" "ids, negative" "$TERN" run demo --ids -1
fails 2 "not a list" "ids, overflow" "$TERN" run demo --ids 4294967297
fails 2 "BITNET_KV_CACHE_DTYPE" "bad KV type in the environment" env BITNET_KV_CACHE_DTYPE=f64 "$TERN" run -p x
fails 2 "BITNET_CHUNK_SIZE" "bad chunk in the environment" env BITNET_CHUNK_SIZE=none "$TERN" run -p x
fails 1 "TERN_CPU" "unknown kernels" env TERN_CPU=z80 "$TERN" run -p x
many=()
for i in $(seq 65); do many+=(--stop "$i"); done
fails 2 "more than 64" "too many stop strings" "$TERN" run demo -p x "${many[@]}"
run "--opt=value, -nVALUE" "$TERN" run demo --prompt=x -n1 --temp=0 --frequency-penalty -0.5 --kv-type=q8
is "$status" 0

# --- files
fails 1 "$WORK/none.gguf" "no such model" "$TERN" run "$WORK/none.gguf" -p x
fails 1 "$WORK/none.txt" "no such prompt file" "$TERN" run demo -f "$WORK/none.txt"
fails 2 "is empty" "an empty model name" "$TERN" run "" -p x
fails 1 "directory" "a folder as prompt" "$TERN" run demo -f "$WORK"
: >"$WORK/empty.gguf"
fails 1 "empty.gguf" "empty model" "$TERN" run "$WORK/empty.gguf" -p x
head -c 1000 "$ROOT/models/demo.gguf" >"$WORK/short.gguf"
fails 1 "short.gguf" "truncated model" "$TERN" run "$WORK/short.gguf" -p x
mkdir "$WORK/folder"
fails 1 "folder" "a folder that is no model" "$TERN" run "$WORK/folder" -p x

# --- stdout that takes nothing
if [ -c /dev/full ]; then
    "$TERN" --help >/dev/full 2>"$WORK/err"
    name="help to a full disk" status=$? err=$(cat "$WORK/err")
    is "$status" 1
    has "$err" "tern: standard output"
fi

# --- man page and completions
man=$ROOT/man/tern.1
options_of() { "$TERN" --list-options $1 | cut -f1,2; } # a command may be two words
mapfile -t commands < <("$TERN" --list-commands | cut -f1)
for command in "${commands[@]}"; do
    section=$(sed -n "/^\.SH TERN $(echo "$command" | tr a-z A-Z)\$/,/^\.SH/p" "$man")
    [ -n "$section" ] || fail "man page: no section on $command"
    count=0
    while IFS=$'\t' read -r long letter; do
        count=$((count + 1))
        [ "$long" = --help ] && continue # described once for all
        escaped=${long//-/\\-}
        case $section in
        *"\\fB$escaped\\fR"*) ;;
        *) fail "man page: $command $long is missing" ;;
        esac
        [ "$letter" = - ] || case $section in
            *"\\fB\\-${letter#-}\\fR"*) ;;
            *) fail "man page: $command $letter is missing" ;;
        esac
    done < <(options_of "$command")
    [ "$count" -gt 2 ] || fail "--list-options $command lists $count options"
    # and nothing that is not there
    listed=$(options_of "$command" | cut -f1)
    for long in $(grep -o '^\(\\fB\\-[a-z]\\fR, \)\?\\fB\\-\\-[a-z\\-]*\\fR' <<<"$section" | sed 's/.*fB\(\\-\\-.*\)\\fR/\1/; s/\\//g'); do
        grep -qx -- "$long" <<<"$listed" || fail "man page: $command $long does not exist"
    done
done
if command -v mandoc >/dev/null; then
    name="mandoc lint" err=
    is "$(mandoc -T lint -W warning "$man" 2>&1)" ""
fi
if command -v groff >/dev/null; then
    name="groff warnings" err=
    is "$(groff -man -ww -T utf8 "$man" 2>&1 >/dev/null)" ""
fi

# complete WORD...: what bash offers for the last word
complete_words() {
    TERN=$TERN bash -c '
        . "$1/completions/tern.bash"
        shift
        COMP_WORDS=("$TERN" "$@")
        COMP_CWORD=$#
        COMPREPLY=()
        _tern 2>/dev/null
        printf "%s\n" "${COMPREPLY[@]}"' - "$ROOT" "$@" | sort
}
name="completion" err=
for command in "${commands[@]}"; do
    is "$(complete_words $command --)" "$(options_of "$command" | cut -f1 | sort)"
    complete_words "" | grep -qx "${command%% *}" || fail "completion: $command is missing"
    if [ "${command% *}" != "$command" ]; then
        complete_words "${command%% *}" "" | grep -qx "${command#* }" || fail "completion: $command is missing"
    fi
done
is "$(complete_words run --kv-type "")" "$(printf 'f16\nf32\nq8')"
is "$(complete_words run --kv-type = q)" "q8"
mkdir "$WORK/c" "$WORK/c/hf"
touch "$WORK/c/m.gguf" "$WORK/c/notes.txt" "$WORK/c/tokenizer.json"
is "$(complete_words run "$WORK/c/")" "$(printf '%s\n' "$WORK/c/hf" "$WORK/c/m.gguf")"
is "$(complete_words run -f "$WORK/c/n")" "$WORK/c/notes.txt"
is "$(complete_words tokenize "$WORK/c/t")" "$WORK/c/tokenizer.json"
is "$(complete_words run de)" demo
if command -v zsh >/dev/null; then
    name="zsh syntax"
    is "$(zsh -n "$ROOT/completions/_tern" 2>&1)" ""
fi
for place in '\-\-list-commands' '\-\-list-options' '_arguments' '\.gguf'; do
    grep -q -e "$place" "$ROOT/completions/_tern" || fail "zsh completion: $place is gone"
done
finish
