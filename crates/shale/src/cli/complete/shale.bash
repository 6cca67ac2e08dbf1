# bash completion for shale

_shale() {
    local line last candidate directive=4
    local -a words=()
    # Split by blanks alone: bash's own words break at the colons of image names.
    line=${COMP_LINE:0:COMP_POINT}
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    last=${words[${#words[@]}-1]}
    COMPREPLY=()
    while IFS= read -r candidate; do
        case $candidate in
            :[0-9]*) directive=${candidate#:} ;;
            *) COMPREPLY+=("${candidate%%$'\t'*}") ;;
        esac
    done < <("${words[0]}" __COMPLETE__ "${words[@]:1}" 2>/dev/null)
    if [[ $directive == 0 ]]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r candidate; do
            COMPREPLY+=("$candidate")
        done < <(compgen -f -- "${last#*=}")
        return
    fi
    # Bash replaces only what stands after the last word break.
    local sign prefix at
    for sign in = :; do
        if [[ $last == *"$sign"* && $COMP_WORDBREAKS == *"$sign"* ]]; then
            prefix=${last%"${last##*"$sign"}"}
            for at in "${!COMPREPLY[@]}"; do
                COMPREPLY[at]=${COMPREPLY[at]#"$prefix"}
            done
            last=${last#"$prefix"}
        fi
    done
}

complete -F _shale shale
