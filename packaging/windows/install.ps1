# install.ps1 installs the agent as a Windows service, or with -Uninstall removes it. It stands
# beside cocoon-agent.exe, and is for images that take no MSI. It takes the place of an agent that
# was installed before. Run it as an administrator.
param(
    [string]$Folder = "$env:ProgramFiles\Cocoon",
    [uint32]$Port = 1024,
    [string[]]$Options = @(),
    [switch]$Uninstall
)
$ErrorActionPreference = 'Stop'
$program = Join-Path $Folder 'cocoon-agent.exe'

function Invoke-Agent {
    & $program @args
    if ($LASTEXITCODE -ne 0) { throw "cocoon-agent $args: exit status $LASTEXITCODE" }
}

if ($Uninstall) {
    Invoke-Agent service uninstall
    Remove-Item -LiteralPath $program
    return
}
$service = Get-Service -Name cocoon-agent -ErrorAction SilentlyContinue
if ($service -and $service.Status -ne 'Stopped') { Stop-Service -Name cocoon-agent }
New-Item -ItemType Directory -Force -Path $Folder | Out-Null
Copy-Item -LiteralPath (Join-Path $PSScriptRoot 'cocoon-agent.exe') -Destination $program -Force
Invoke-Agent service install '--' --port $Port @Options
Invoke-Agent service start
