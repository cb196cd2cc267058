# Options of "cocoon-agent serve", such as --port 2048.
COCOON_AGENT_OPTIONS=""

# debug, info, warn or error.
#export AGENT_LOG_LEVEL=info
