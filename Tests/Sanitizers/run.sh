#!/usr/bin/env bash
# Runs the tests under the thread or the address sanitizer; a report of either is a failure.
#
#   Tests/run.sh sanitize [thread|address] [pure|stores|system|all] [options of Tests/run.sh]
#
# Without a sanitizer: both, one after the other. Without a selection: pure and stores. `all` is pure, stores and system.
# Each sanitizer has a build of its own (.build-thread, .build-address), whose first time takes many minutes.
#
# Every instrumented process writes its reports into a directory: the tests' own, and each agent that the system tests
# start. They are printed at the end. What is suppressed, and why, is in Tests/Sanitizers/*.supp.
# The guard gets its environment from nobody (see CLeaseGuard's mg_run): what a sanitizer finds in it ends it, and with
# it the test; the words are in its guard.log (MATRIARCH_KEEP=1). Its memory is not locked here: sanitizers turn mlockall
# into nothing. Tests/Fuzzing runs its code under the address and undefined-behaviour sanitizers as well.
# Status: 0 all passed and nothing was reported, 1 otherwise, 2 the set-up failed.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
# shellcheck source=../setup.sh
source "$ROOT/Tests/setup.sh"

sanitizers=() selections=()
while (($#)); do
    case $1 in
    thread | address) sanitizers+=("$1") ;;
    pure | stores | system) selections+=("$1") ;;
    all) selections=(pure stores system) ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    -*) break ;;
    *) fail_setup "no such sanitizer or selection: $1" 'thread, address; pure, stores, system, all.' ;;
    esac
    shift
done
((${#sanitizers[@]})) || sanitizers=(thread address)
((${#selections[@]})) || selections=(pure stores)

reports=$(mktemp -d "${TMPDIR:-/tmp}/matriarch-sanitizer.XXXXXX")
trap 'rm -rf "$reports"' EXIT
# The account that the agents run as writes there too.
chmod 1777 "$reports"
# Where that account can read it.
cp "$HERE"/*.supp "$reports/"
chmod 644 "$reports"/*.supp
symbolizer=$(dirname "$(readlink -f "$(command -v swift)")")/llvm-symbolizer

status=0
for sanitizer in "${sanitizers[@]}"; do
    common="log_path=$reports/report:exitcode=66:external_symbolizer_path=$symbolizer"
    # A report does not end the process: all of them are wanted.
    export TSAN_OPTIONS="$common:halt_on_error=0:history_size=4:suppressions=$reports/thread.supp"
    export ASAN_OPTIONS="$common:detect_leaks=1:detect_stack_use_after_return=0"
    export LSAN_OPTIONS="suppressions=$reports/leak.supp:print_suppressions=0"
    # Swift's own report of a crash needs memory that the address sanitizer watches.
    export SWIFT_BACKTRACE=enable=no
    for selection in "${selections[@]}"; do
        say "Sanitizer: $sanitizer, $selection"
        bash "$ROOT/Tests/run.sh" "$selection" --sanitize="$sanitizer" --scratch-path ".build-$sanitizer" "$@"
        code=$?
        found=("$reports"/report.*)
        if [[ -e ${found[0]} ]]; then
            say "The $sanitizer sanitizer reported, in '$selection':"
            cut -c 1-300 "${found[@]}"
            say "${#found[@]} processes with reports of the $sanitizer sanitizer in '$selection'"
            rm -f "${found[@]}"
            status=1
        elif ((code == 2)); then
            exit 2
        elif ((code)); then
            status=1
        else
            say "Nothing reported by the $sanitizer sanitizer in '$selection'"
        fi
    done
done
exit "$status"
