#!/usr/bin/env bash
# Builds Matriarch and runs its tests; installs what they need.
#
#   Tests/run.sh [pure|stores|system|all] [options of swift test] [--allow-skip]
#
#   pure     the tests without servers (seconds)
#   stores   the tests that start a ZooKeeper, a PostgreSQL or the guard of their own
#   system   real clusters of three members on both stores, with faults
#   all      all of them (the default)
#
#   --allow-skip   a skipped test is no failure
#   --filter RE    narrows the selection further, as swift test knows it (so does every other option of swift test)
#
# Environment: MATRIARCH_ROUNDS=N rounds of each fault (default 1); MATRIARCH_KEEP=1 keeps the directories of the
# system tests; MATRIARCH_ACCOUNT the account that runs PostgreSQL when this runs as root (made if missing).
# Status: 0 all passed, 1 a test failed, 2 the set-up failed (the message says what to do).
set -uo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=setup.sh
source "$ROOT/Tests/setup.sh"

STORES=(StoreTests PluginTests PostgresControlTests LeaseGuardTests)
SYSTEM=(SystemTests)
# Every other target with tests needs no server.
PURE=(CorpusTests)
for target in "$ROOT"/Tests/*Tests; do
    target=${target##*/}
    [[ " ${STORES[*]} ${SYSTEM[*]} " == *" $target "* ]] || PURE+=("$target")
done

selection=all allow_skip=0 narrowed=''
options=()
case ${1:-} in
pure | stores | system | all)
    selection=$1
    shift
    ;;
-h | --help)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
'' | -*) ;;
*) fail_setup "no such selection: $1" 'One of: pure, stores, system, all. See Tests/run.sh --help.' ;;
esac
while (($#)); do
    case $1 in
    --allow-skip) allow_skip=1 ;;
    --filter)
        (($# > 1)) || fail_setup '--filter needs a value' 'A regular expression over Module.Suite/test().'
        narrowed=$2
        shift
        ;;
    --filter=*) narrowed=${1#*=} ;;
    *) options+=("$1") ;;
    esac
    shift
done

cd "$ROOT"
ensure_swift
ensure_installed "${NEEDS_TO_BUILD[@]}"
if [[ $selection != pure ]]; then
    ensure_installed "${NEEDS_POSTGRES[@]}" "${NEEDS_ZOOKEEPER[@]}" "${NEEDS_TO_TEST[@]}"
    ensure_account
fi

# Options that choose what is built are the build's as well.
build_options=()
takes_value=0
for option in ${options[@]+"${options[@]}"}; do
    if ((takes_value)); then
        build_options+=("$option")
        takes_value=0
        continue
    fi
    case $option in
    -c | --configuration | --scratch-path | --build-path | --sanitize | --traits | -Xswiftc | -Xcc | -Xlinker | -j | --jobs)
        build_options+=("$option")
        takes_value=1
        ;;
    --configuration=* | --scratch-path=* | --sanitize=* | --traits=* | --disable-default-traits | --enable-code-coverage)
        build_options+=("$option")
        ;;
    esac
done

# The tests end what they start; should their process crash, what it left behind works in this directory.
clean_up() {
    local process attempt left
    for attempt in 1 2 3; do
        left=0
        for process in /proc/[0-9]*; do
            if [[ $(readlink "$process/cwd" 2>/dev/null) == "$stage/work/"* ]]; then
                kill -KILL "${process#/proc/}" 2>/dev/null
                left=1
            fi
        done
        ((left)) || break
        sleep 0.2
    done
    if [[ ${MATRIARCH_KEEP:-} == 1 ]]; then say "Kept: $stage"; else rm -rf "$stage"; fi
}

say "Building ($(swift --version 2>/dev/null | sed -n 's/.*\(Swift version [0-9.]*\).*/\1/p' | head -n 1))"
heartbeat 'building' swift build --build-tests ${build_options[@]+"${build_options[@]}"} ||
    fail_setup 'the build failed (see above)' 'Repair what the compiler complains about, then start again.'

if [[ $selection == system || $selection == all ]]; then
    programs=$(swift build --show-bin-path ${build_options[@]+"${build_options[@]}"} 2>/dev/null) ||
        fail_setup 'swift build --show-bin-path failed'
    stage=$(mktemp -d "${TMPDIR:-/tmp}/matriarch-tests.XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
    chmod 755 "$stage"
    stage_programs "$programs" "$stage/bin"
    mkdir "$stage/work"
    export MATRIARCH_BIN=$stage/bin MATRIARCH_WORK=$stage/work
    # Only root changes the account; anybody else runs the cluster as himself.
    if ((EUID == 0)); then export MATRIARCH_ACCOUNT; else unset MATRIARCH_ACCOUNT; fi
fi
# A stock patronictl, to look at our clusters with: from the package index, kept between runs.
ensure_patronictl() {
    local place=$ROOT/.build/patronictl
    if [[ ! -x $place/bin/patronictl ]]; then
        say 'Installing a stock patronictl into .build/patronictl'
        rm -rf "$place"
        quiet_heartbeat 'making a virtual environment' python3 -m venv "$place" &&
            quiet_heartbeat 'installing patroni' "$place/bin/pip" --disable-pip-version-check install -q \
                'patroni[psycopg3,zookeeper]==4.1.*' || {
            rm -rf "$place"
            ((allow_skip)) && return 0
            fail_setup 'patronictl could not be installed (see above)' \
                'It needs the Python package index; without it, --allow-skip leaves its test out.'
        }
    fi
    export MATRIARCH_PATRONICTL=$place/bin/patronictl
}
if [[ $selection == system || $selection == all ]]; then ensure_patronictl; fi
pg_bin=$(postgres_bin)
[[ -z $pg_bin ]] || export MATRIARCH_PG_BIN=$pg_bin

passed=0 failed=0 skipped=0 broken=0
log=$(mktemp "${TMPDIR:-/tmp}/matriarch-tests.XXXXXX")

count() { grep -a -c -E "$1" "$log"; }

# run_suites TITLE EXTRA-OPTION... -- SUITE...
run_suites() {
    local title=$1 extra=() suites
    shift
    while [[ $1 != -- ]]; do
        extra+=("$1")
        shift
    done
    shift
    suites=$(
        IFS='|'
        echo "$*"
    )
    local filter="^($suites)\\."
    [[ -z $narrowed ]] || filter="^($suites)\\..*($narrowed)"
    say "Testing: $title ($*)"
    heartbeat "testing: $title" swift test --skip-build --disable-xctest --filter "$filter" \
        ${extra[@]+"${extra[@]}"} ${options[@]+"${options[@]}"} | tee "$log"
    local status=${PIPESTATUS[0]} mark='^[^[:alnum:][:space:]]+ +(Test) '
    # Swift Testing's own lines: a mark, "Test", its name, the outcome. The run's closing line is "Test run with ...".
    local run_lines="${mark}run with"
    local good bad skip
    good=$(grep -a -v -E "$run_lines|${mark}case " "$log" | grep -a -c -E "${mark}.* passed after")
    bad=$(grep -a -v -E "$run_lines|${mark}case " "$log" | grep -a -c -E "${mark}.* failed after")
    skip=$(grep -a -v -E "$run_lines|${mark}case " "$log" | grep -a -c -E "${mark}.* skipped(\.|:|$)")
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skip))
    if ((status != 0 && bad == 0)); then
        # No test says that it failed, and yet: the process crashed or was ended.
        say "error: swift test ended with status $status before its tests were through"
        broken=1
    fi
    if ((good + bad + skip == 0 && status == 0)) && [[ -z $narrowed ]]; then
        say "error: no test ran for: $*"
        broken=1
    fi
}

case $selection in pure | all) run_suites pure -- "${PURE[@]}" ;; esac
case $selection in stores | all) run_suites stores --no-parallel -- "${STORES[@]}" ;; esac
# One at a time: each of these measures times.
case $selection in system | all) run_suites system --no-parallel -- "${SYSTEM[@]}" ;; esac
rm -f "$log"

if ((passed + failed + skipped == 0)); then
    fail_setup 'no test ran' "Nothing matches${narrowed:+ --filter $narrowed} in '$selection'."
fi
status=0
if ((failed || broken)); then status=1; fi
if ((skipped && !allow_skip)); then
    say "error: $skipped skipped; a skipped test counts as failed unless --allow-skip is given"
    status=1
fi
((allow_skip)) || failed=$((failed + skipped))
say "$passed passed, $((failed + broken)) failed, $skipped skipped"
exit $status
