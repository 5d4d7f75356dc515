# bash completion of tern. The commands and options come from the command
# itself (tern --list-commands, tern --list-options COMMAND), so they are never
# out of date.

_tern_files() { # the word's files with one of the endings, and all folders
    local word=$1 pattern=$2 file
    COMPREPLY=()
    while IFS= read -r file; do
        if [[ -d $file || $file == $pattern ]]; then
            COMPREPLY+=("$file")
        fi
    done < <(compgen -f -- "$word")
    compopt -o filenames 2>/dev/null
}

_tern() {
    local tern=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command=(${COMP_WORDS[1]}) name letter kind choices options=() before commands
    COMPREPLY=()
    # bash makes "=" a word of its own: --kv-type=q8 is three
    if [[ $word == "=" ]]; then
        word=""
    elif [[ $previous == "=" ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    commands=$("$tern" --list-commands 2>/dev/null | cut -f1)
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$(cut -d ' ' -f1 <<<"$commands" | sort -u) --help --version" -- "$word")
        return
    fi
    # commands of two words: tern train pretrain
    if grep -q "^${command[0]} " <<<"$commands"; then
        if ((COMP_CWORD == 2)); then
            mapfile -t COMPREPLY < <(compgen -W "$(sed -n "s/^${command[0]} //p" <<<"$commands") --help" -- "$word")
            return
        fi
        command+=("${COMP_WORDS[2]}")
    fi
    while IFS=$'\t' read -r name letter kind choices; do
        options+=("$name")
        [[ $previous == "$name" || $previous == "$letter" ]] || continue
        case $kind in
        flag) ;;
        enum)
            mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
            return
            ;;
        file)
            _tern_files "$word" "*"
            return
            ;;
        *) return ;;
        esac
    done < <("$tern" --list-options "${command[@]}" 2>/dev/null)
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "${options[*]}" -- "$word")
        return
    fi
    # what stands without a dash: the model first, a text file after it for perplexity
    before=0
    for name in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
        [[ $name == *.gguf || $name == demo || -d $name ]] && before=1
    done
    case ${command[*]} in
    train\ * | rag\ *) _tern_files "$word" "*" && return ;;
    pull) return ;; # names of the hub
    tokenize) _tern_files "$word" "*.@(gguf|json|model)" ;;
    perplexity) if ((before)); then _tern_files "$word" "*"; else _tern_files "$word" "*.gguf"; fi ;;
    *) _tern_files "$word" "*.gguf" ;;
    esac
    [[ $word && demo == "$word"* ]] && COMPREPLY+=(demo)
}

complete -F _tern tern
