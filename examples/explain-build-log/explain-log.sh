#!/bin/sh
# Explain a failed build:
#
#     make 2>&1 | examples/explain-build-log/explain-log.sh
#     MODEL=model.gguf ./explain-log.sh build.log
#     URL=http://127.0.0.1:8080 ./explain-log.sh build.log       # ask a server (tern serve) instead of loading a model
#     ./explain-log.sh --excerpt build.log                       # only what would be asked about
#
# The first errors of the log, with the lines around them, go to a language model; its answer is printed. MODEL is what
# tern run takes; without it, it is the small model that is built into tern, which writes stories and cannot explain
# anything: take a 2B4T file. TERN names the command (default: tern), TERN_API_KEY the server's key.
#
# Exit status: 0 explained (or excerpt printed), 1 something failed, 2 wrong use, 3 there is no error in the log.
set -eu
LC_ALL=C # bytes: logs need not be in any encoding
export LC_ALL
me=explain-log
tokens=200 # of the answer
instruction='You explain failed builds. Say in two or three plain sentences what went wrong and how to mend it.'

excerpt_only=
case ${1:-} in
--excerpt)
    excerpt_only=yes
    shift
    ;;
-h | --help)
    sed -n '2,/^set/{/^#/{s/^# \{0,1\}//;p;};}' "$0"
    exit 0
    ;;
esac
case $#,${1:-} in
0,* | 1,-) set -- - ;;
1,-* | [!01]*)
    echo "$me: usage: $me.sh [--excerpt] [FILE]" >&2
    exit 2
    ;;
esac

# The log as short lines: a carriage return ends one as well (CR LF, progress bars), blank ones are left out.
lines() { cat -- "$1" | tr -d '\000' | tr -s '\r' '\n' | cut -b 1-1000; }

# The first errors (three at most) with 3 lines before and 8 behind each, no more than `room` bytes; without colours.
# It reads to the end all the same: a make whose pipe breaks would stop.
find_errors() {
    awk -v room="$1" '
    function show(line) {
        line = substr(line, 1, 240)
        if (length(line) + 1 > room)
            room = 0
        else {
            room -= length(line) + 1
            print line
        }
    }
    BEGIN {
        # what compilers, linkers, make, ninja, CMake, Python, Rust, Node, Java and test runners say
        error = "(^|[^a-zA-Z0-9_.-])([Ee]rror|ERROR|[Ff]atal|FATAL|[Ee]xception)( [A-Za-z0-9]+)?(\\[[A-Z0-9]+\\])?:" \
            "|[A-Za-z0-9_](Error|Exception): |undefined reference to|: multiple definition of|ld returned [1-9]|cannot find -l" \
            "|\\*\\*\\* |^FAILED: |^CMake Error|^npm ERR!|^Traceback |panicked at |BUILD FAILED|\\[ERROR\\]|^FAIL:" \
            "|command not found|[Nn]o such file or directory|No rule to make target|[Ss]egmentation fault" \
            "|internal compiler error|No space left on device|[Oo]ut of memory|^Killed"
        none = "(^|[^0-9])0 ([Ee]rrors|[Ff]ailures|[Ff]ailed)|[Nn]o errors|[Ee]rrors?: 0([^0-9]|$)"
    }
    room <= 0 || found >= 3 && after == 0 { next }
    {
        if (index($0, "\033")) {
            gsub(/\033\][^\007\033]*(\007|\033\\)/, "")
            gsub(/\033\[[0-9;:?]*[A-Za-z]/, "")
        }
        gsub(/[\001-\010\013-\037\177]/, "")
        if (found < 3 && $0 ~ error && $0 !~ none) {
            if (after == 0) {
                found++
                if (NR > last + 4 && last)
                    show("...")
                for (i = NR - 3; i < NR; i++)
                    if (i > last && i > 0)
                        show(before[i % 3])
                after = 9
            }
        }
        if (after > 0) {
            show($0)
            after--
            last = NR
        }
        before[NR % 3] = $0
    }'
}

# JSON has to be UTF-8.
whole_characters() {
    if command -v iconv >/dev/null; then
        iconv -c -f UTF-8 -t UTF-8 || true # it reports what it left out
    else
        tr -d '\200-\377'
    fi
}

# Bytes of the log that fit beside the question and the answer into n tokens: counted as 1.5 bytes each, which source
# code and paths mostly exceed.
room_of() {
    n=$(sed -n 's/.*"'"$1"'": *\([0-9]*\).*/\1/p' | sed -n 1p)
    case $n in
    '') return 1 ;;
    esac
    room=$(((n - tokens - 80) * 3 / 2))
    [ "$room" -le 6000 ] || room=6000
    [ "$room" -ge 200 ] || room=200
    echo "$room"
}

# text -> a JSON string's inside
quote() {
    awk '{ gsub(/\\/, "&&"); gsub(/"/, "\\\""); gsub(/\t/, "\\t"); printf "%s%s", (NR > 1 ? "\\n" : ""), $0 }'
}

# a chat completion -> its text
content() {
    awk '{ all = all $0 }
    END {
        if (!match(all, /"content": *"/))
            exit 1
        all = substr(all, RSTART + RLENGTH)
        while ((c = substr(all, 1, 1)) != "\"" && c != "") {
            all = substr(all, 2)
            if (c == "\\") {
                c = substr(all, 1, 1)
                all = substr(all, 2)
                if (c == "u") { all = substr(all, 5); c = " " }
                else if (c == "n") c = "\n"
                else if (c == "t") c = "\t"
                else if (c == "r" || c == "b" || c == "f") c = " "
            }
            printf "%s", c
        }
        print ""
    }'
}

# curl with the server's key
request() {
    if [ -n "${TERN_API_KEY:-}" ]; then
        curl -sS -H "Authorization: Bearer $TERN_API_KEY" "$@"
    else
        curl -sS "$@"
    fi
}

ask_server() {
    body=$(printf '{"temperature":0,"max_tokens":%d,"messages":[{"role":"system","content":"%s"},{"role":"user","content":"%s"}]}' \
        "$tokens" "$instruction" "$(printf '%s\n' "$1" | quote)")
    answer=$(printf '%s' "$body" | request -H 'Content-Type: application/json' --data-binary @- "$URL/v1/chat/completions")
    if ! printf '%s\n' "$answer" | content; then
        echo "$me: $URL answers: $answer" >&2
        return 1
    fi
}

if [ -n "$excerpt_only" ]; then
    room=6000
elif [ -n "${URL:-}" ]; then
    room=$(request -f "$URL/v1/models" | room_of context_length) || {
        echo "$me: $URL is no tern server, or wants another key (TERN_API_KEY)" >&2
        exit 1
    }
else
    room=$("${TERN:-tern}" inspect "${MODEL:-demo}" --json | room_of n_ctx) || {
        echo "$me: cannot read the model" >&2
        exit 1
    }
fi

if [ "$1" != - ] && ! [ -r "$1" ]; then
    echo "$me: $1: cannot read it" >&2
    exit 1
fi
excerpt=$(lines "$1" | find_errors "$room" | whole_characters)
if [ -z "$excerpt" ]; then
    echo "$me: there is no error in this log" >&2
    exit 3
fi
if [ -n "$excerpt_only" ]; then
    printf '%s\n' "$excerpt"
    exit 0
fi
question="This is from the log of a failed build:

$excerpt

What went wrong?"
if [ -n "${URL:-}" ]; then
    ask_server "$question"
else
    [ -n "${MODEL:-}" ] || echo "$me: the built-in model cannot explain anything; set MODEL to a 2B4T file" >&2
    printf '%s' "$question" | "${TERN:-tern}" run "${MODEL:-demo}" --chat --system "$instruction" -f - --temp 0 -n "$tokens"
fi
