#compdef shale
# zsh completion for shale

_shale() {
    local line word meaning directive=4
    local -a candidates
    while IFS= read -r line; do
        if [[ $line == :<-> ]]; then
            directive=${line#:}
        elif [[ $line == *$'\t'* ]]; then
            word=${line%%$'\t'*} meaning=${line#*$'\t'}
            candidates+=("${word//:/\\:}:$meaning")
        else
            candidates+=("${line//:/\\:}")
        fi
    done < <("${words[1]}" __COMPLETE__ "${(@)words[2,CURRENT]}" 2>/dev/null)
    if [[ $directive == 0 ]]; then
        _files
    else
        _describe 'shale' candidates
    fi
}

if [[ ${funcstack[1]} == _shale ]]; then
    _shale "$@"
else
    compdef _shale shale
fi
