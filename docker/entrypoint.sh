#!/bin/bash
# A bad value ends the container before nginx starts: see poolwatch-configure.
set -euo pipefail
if [ "${1:-}" = nginx ]; then
    poolwatch-configure --start
    if [ "${MAINTENANCE_MODE:-}" = true ]; then
        # Every silence must end: by the time of this reload its time is over.
        (sleep "${MAINTENANCE_DURATION:-1h}" && poolwatch-configure --reload) &
    fi
fi
exec "$@"
