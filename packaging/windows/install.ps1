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
$old = "$program.old"

function Invoke-Agent {
    & $program @args
    if ($LASTEXITCODE -ne 0) { throw "cocoon-agent $($args -join ' ') ended with exit status $LASTEXITCODE" }
}

# A program that runs can be renamed, but not replaced or removed.
function Move-Away {
    if (Test-Path -LiteralPath $old) { Remove-Item -LiteralPath $old -ErrorAction SilentlyContinue }
    if (Test-Path -LiteralPath $program) { Move-Item -LiteralPath $program -Destination $old -Force }
}

if ($Uninstall) {
    Invoke-Agent service uninstall
    Move-Away
    Remove-Item -LiteralPath $old -ErrorAction SilentlyContinue
    return
}
if (-not (Test-Path -LiteralPath $Folder)) {
    New-Item -ItemType Directory -Path $Folder | Out-Null
    # The system and administrators may change it, and users read it.
    icacls $Folder /inheritance:r /grant:r '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F' '*S-1-5-32-545:(OI)(CI)RX' | Out-Null
    if ($LASTEXITCODE -ne 0) { throw "icacls $Folder ended with exit status $LASTEXITCODE" }
}
Move-Away
Copy-Item -LiteralPath (Join-Path $PSScriptRoot 'cocoon-agent.exe') -Destination $program
Invoke-Agent service install '--' --port $Port @Options
if ((Get-Service -Name cocoon-agent).Status -eq 'Stopped') { Invoke-Agent service start }
