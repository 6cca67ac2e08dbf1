# PowerShell completion for shale

Register-ArgumentCompleter -Native -CommandName 'shale' -ScriptBlock {
    param($WordToComplete, $CommandAst, $CursorPosition)
    $words = @($CommandAst.CommandElements | ForEach-Object { $_.ToString() })
    if ($WordToComplete -eq '') { $words += '' }
    $program = $words[0]
    $rest = @($words | Select-Object -Skip 1 | ForEach-Object { if ($_ -eq '') { '""' } else { $_ } })
    foreach ($line in (& $program __COMPLETE__ @rest 2>$null)) {
        if ($line -match '^:\d+$') { continue }
        $word, $meaning = $line -split "`t", 2
        if (-not $meaning) { $meaning = $word }
        [System.Management.Automation.CompletionResult]::new($word, $word, 'ParameterValue', $meaning)
    }
}
