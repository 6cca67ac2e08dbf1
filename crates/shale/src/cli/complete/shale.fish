# fish completion for shale

function __shale_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    set -l answer ($words[1] __COMPLETE__ $words[2..-1] "$last" 2>/dev/null)
    for line in $answer
        switch $line
            case ':0'
                __fish_complete_path "$last"
            case ':*'
            case '*'
                echo $line
        end
    end
end

complete -c shale -f -a '(__shale_complete)'
