# install.ps1 installs the agent as a Windows service, or with -Uninstall removes it. It stands
# beside cocoon-agent.exe, and is for images that take no MSI. It takes the place of an agent that
# was installed before. One that runs goes on until it is restarted, as it may be what runs this.
# Run it as an administrator.
param(
    [string]$Folder = "$env:ProgramFiles\Cocoon",
    [uint32]$Port = 1024,
    [string[]]$Options = @(),
    [switch]$Uninstall
)
$ErrorActionPreference = 'Stop'
$program = Join-Path $Folder 'cocoon-agent.exe'
$source = Join-Path $PSScriptRoot 'cocoon-agent.exe'

function Invoke-Agent {
    & $program @args
    if ($LASTEXITCODE -ne 0) { throw "cocoon-agent $($args -join ' ') ended with exit status $LASTEXITCODE" }
}

# Old programs that still run stay until the next time.
function Remove-Old {
    Get-ChildItem -LiteralPath $Folder -Filter 'cocoon-agent.exe.old.*' | Remove-Item -ErrorAction SilentlyContinue
}

if ($Uninstall) {
    Invoke-Agent service uninstall
    Move-Item -LiteralPath $program -Destination "$program.old.$([guid]::NewGuid())"
    Remove-Old
    return
}
if (-not (Test-Path -LiteralPath $source)) { throw "$source is not there" }
if (-not (Test-Path -LiteralPath $Folder)) {
    New-Item -ItemType Directory -Path $Folder | Out-Null
    # The system and administrators may change it, and users read it.
    icacls $Folder /inheritance:r /grant:r '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F' '*S-1-5-32-545:(OI)(CI)RX' | Out-Null
    if ($LASTEXITCODE -ne 0) { throw "icacls $Folder ended with exit status $LASTEXITCODE" }
}
# A program that runs can be renamed, but not replaced or removed.
$new = "$program.new.$([guid]::NewGuid())"
Copy-Item -LiteralPath $source -Destination $new
if (Test-Path -LiteralPath $program) { Move-Item -LiteralPath $program -Destination "$program.old.$([guid]::NewGuid())" }
Move-Item -LiteralPath $new -Destination $program
Remove-Old
Invoke-Agent service install '--' --port $Port @Options
if ((Get-Service -Name cocoon-agent).Status -eq 'Stopped') { Invoke-Agent service start }
