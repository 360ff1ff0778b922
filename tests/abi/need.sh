#!/bin/sh
# need.sh FILE COMMAND...: runs the command, or skips when the file that it needs is not there.
if [ ! -e "$1" ]; then
    exec sh "$(dirname "$0")/skip.sh" "$1 is not there"
fi
shift
exec "$@"
