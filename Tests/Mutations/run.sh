#!/usr/bin/env bash
# Plants one fault after another in the state machine, and tells in how many seeds the simulator finds each.
#
#   Tests/Mutations/run.sh [--seeds N] [--only NAME ...] [--list]
#
# Builds one copy of the machine and the simulator in which every fault of mutations.py can be switched on (a release
# build in .build/mutations), checks that the copy without faults keeps every promise, then runs each until it is found.
# Status: 0 every fault was found; 1 one was not; 2 the set-up failed, or a fault does not fit the source any more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec python3 Tests/Mutations/mutate.py "$@"
