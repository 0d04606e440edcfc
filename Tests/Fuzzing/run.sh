#!/usr/bin/env bash
# Fuzzes every decoder that reads what others wrote, with libFuzzer: guided by coverage, under the address sanitizer.
#
#   Tests/Fuzzing/run.sh [--target NAME]... [--seconds N] [--list] [INPUT]
#
#   --target NAME   only this one (may be repeated); --list names them all
#   --seconds N     how long each target runs (default 30)
#   --quick         only as long as it takes to run every kept input (no new ones are tried)
#   --skip-build    what was built last
#   INPUT           runs this one file against the one --target, which repeats a finding
#
# The inputs to begin with are in Tests/Fuzzing/Corpus, one directory a target; the tests of the main package run them as
# well (CorpusTests). What a run learns stays in Tests/Fuzzing/.build/corpus, what it finds in
# Tests/Fuzzing/.build/findings; a finding that was repaired belongs into Corpus under a name that tells what it was.
# The first build takes many minutes, for everything is built again with instruments.
# Status: 0 nothing found, 1 findings, 2 the set-up failed.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
# shellcheck source=../setup.sh
source "$ROOT/Tests/setup.sh"

seconds=30 list=0 build=1 input=''
wanted=()
while (($#)); do
    case $1 in
    --target | --seconds)
        (($# > 1)) || fail_setup "$1 needs a value" 'See --help.'
        if [[ $1 == --target ]]; then wanted+=("$2"); else seconds=$2; fi
        shift
        ;;
    --target=*) wanted+=("${1#*=}") ;;
    --seconds=*) seconds=${1#*=} ;;
    --quick) seconds=0 ;;
    --list) list=1 ;;
    --skip-build) build=0 ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    -*) fail_setup "no such option: $1" 'See --help.' ;;
    *) input=$(realpath -- "$1") || fail_setup "no such file: $1" 'Name a finding or a file of the corpus.' ;;
    esac
    shift
done
[[ $seconds =~ ^[0-9]+$ ]] || fail_setup "--seconds: '$seconds' is not a whole number" 'Write --seconds 30.'

cd "$HERE"
work=$HERE/.build
fuzz=$work/debug/fuzz
guard=$work/fuzz-guard

ensure_swift
ensure_installed "${NEEDS_TO_BUILD[@]}"
if ((build)); then
    # One --sanitize only: the package manager gives several in an order of its own each time, and builds all anew.
    say 'Building with instruments; the first time takes many minutes'
    # Planned anew, or a file that is new in the main package would be overlooked.
    rm -f "$work"/*.yaml "$work"/debug/description.json
    heartbeat 'building' swift build --sanitize=address -Xswiftc -sanitize=fuzzer,address -Xswiftc -use-ld=lld \
        --product fuzz || fail_setup 'the build failed (see above)' 'Repair what the compiler complains about.'
    # The guard is C. Its processes are not started here, so process.c and main.c stay out.
    compiler=$(dirname "$(readlink -f "$(command -v swift)")")/clang
    sources=("$HERE/Guard/fuzz_guard.c" "$ROOT"/Sources/CLeaseGuard/*.c)
    for name in agent requests deadline control watchdog; do sources+=("$ROOT/Sources/matriarch-guard/$name.c"); done
    "$compiler" -g -O1 -std=gnu17 -Wall -Wextra -fuse-ld=lld -fsanitize=fuzzer,address,undefined \
        -fno-sanitize-recover=all -Wl,--wrap=mg_open_directory -I "$ROOT/Sources/CLeaseGuard/include" \
        -I "$ROOT/Sources/matriarch-guard" "${sources[@]}" -o "$guard" ||
        fail_setup "the guard's fuzzer could not be built (see above)" 'Repair what the compiler complains about.'
fi
[[ -x $fuzz && -x $guard ]] || fail_setup 'nothing is built' 'Run this without --skip-build.'

# Swift's own crash report would take the place of libFuzzer's, which keeps the input.
export SWIFT_BACKTRACE=enable=no
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
targets() {
    "$fuzz" --list
    printf 'guard\t1024\tpackets to the guard and its page, as the guard reads them (C)\n'
}
if ((list)); then
    targets | cut -f 1,3 | column -t -s $'\t'
    exit 0
fi
for name in ${wanted[@]+"${wanted[@]}"}; do
    targets | cut -f 1 | grep -qx -- "$name" || fail_setup "no such target: $name" 'See --list.'
done

# run_target NAME OPTION...: libFuzzer itself.
run_target() {
    local name=$1 program=$fuzz
    shift
    [[ $name != guard ]] || program=$guard
    MATRIARCH_FUZZ_TARGET=$name "$program" "$@"
}

# No input of a few thousand bytes takes a second or half a gigabyte; a Swift program's memory pools are the rest.
limits=(-timeout=10 -rss_limit_mb=2560 -malloc_limit_mb=512)
if [[ -n $input ]]; then
    ((${#wanted[@]} == 1)) || fail_setup 'an input needs one --target' "$(basename "$0") --target NAME FILE"
    run_target "${wanted[0]}" "${limits[@]}" "$input"
    exit $(($? ? 1 : 0))
fi

found=0
while IFS=$'\t' read -r name length _; do
    [[ ${#wanted[@]} == 0 || " ${wanted[*]} " == *" $name "* ]] || continue
    mkdir -p "$work/corpus/$name" "$work/findings/$name"
    log=$work/findings/$name.log
    options=("${limits[@]}" -print_final_stats=1 "-artifact_prefix=$work/findings/$name/" "-max_len=$length")
    # Without time: every input once.
    if ((seconds)); then options+=("-max_total_time=$seconds" -dict="$HERE/dictionary.txt"); else options+=(-runs=0); fi
    run_target "$name" "${options[@]}" "$work/corpus/$name" "$HERE/Corpus/$name" >"$log" 2>&1
    status=$?
    runs=$(LC_ALL=C sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    covered=$(grep -a -o 'cov: [0-9]*' "$log" | tail -n 1)
    printf '%-14s %9s executions, %s edges' "$name" "${runs:-?}" "${covered#cov: }"
    if ((status == 0)); then
        printf ', nothing found\n'
        continue
    fi
    found=1
    kept=$(LC_ALL=C sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    printf ': FINDING\n'
    grep -a -m 1 -E '^finding:|Fatal error|ERROR: |runtime error' "$log" | LC_ALL=C cut -b 1-500 | tr -d '\000'  | sed 's/^/    /'
    if [[ -n $kept ]]; then
        printf '    kept as %s; again:\n    Tests/Fuzzing/run.sh --skip-build --target %s %s\n' "$kept" "$name" "$kept"
    else
        printf '    no input was kept; see %s\n' "$log"
    fi
done < <(targets)
exit "$found"
