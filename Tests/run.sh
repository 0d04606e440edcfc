#!/usr/bin/env bash
# Builds Matriarch and runs its tests; installs what they need.
#
#   Tests/run.sh [pure|stores|system|faults|simulate|all] [options of swift test] [--allow-skip]
#   Tests/run.sh sanitize [thread|address] [pure|stores|system|all]     (Tests/Sanitizers/run.sh --help)
#   Tests/run.sh fuzz [--target NAME] [--seconds N] [--list]            (Tests/Fuzzing/run.sh --help)
#
#   pure     the tests without servers (seconds)
#   stores   the tests that start a ZooKeeper, an etcd, a Consul, a PostgreSQL or the guard of their own
#   system   real clusters of three members on each store, with faults
#   faults   real faults on real clusters on a ZooKeeper ensemble of three, judged by their clients, with a report and a
#            picture for each (Tests/FaultCampaign/README.md): a short list of some three minutes
#   simulate twenty thousand seeds of the simulator, in a release build; other options are those of matriarch-simulate
#   all      all of them (the default)
#
#   --allow-skip   a skipped test is no failure
#   --filter RE    narrows the selection further, as swift test knows it (so does every other option of swift test)
#
# With `faults`:
#   --list           print the catalogue
#   --full           every fault on every store (half an hour and more for each) instead of the short list
#   --fault NAME     this one; may be repeated, and end in *
#   --rounds N       how often each is done
#   --store NAME     zooKeeper (the default; with --full each in turn), etcd, consul or embedded; may be repeated
#   --ttl S          the lease's length (4)
#   --report DIR     where the report goes (.build/fault-report)
#   --loopback       no network namespaces even where the machine allows them: the cuts are not run
#
# Environment: MATRIARCH_ROUNDS=N rounds of each fault (default 1); MATRIARCH_KEEP=1 keeps the directories of the
# system tests; MATRIARCH_ACCOUNT the account that runs PostgreSQL when this runs as root (made if missing).
# Status: 0 all passed, 1 a test failed, 2 the set-up failed (the message says what to do).
set -uo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=setup.sh
source "$ROOT/Tests/setup.sh"

STORES=(StoreTests PluginTests PostgresControlTests LeaseGuardTests AgentRuntimeTests)
SYSTEM=(SystemTests)
# Every other target with tests needs no server. Those that only compute keep every thread of Swift's for a minute, and
# have a process of their own: the rest have clocks and connections, and would be late through no fault of theirs. For
# the same reason those run one at a time.
COMPUTING=(CorpusTests AgentConfigurationTests ClusterModelTests HighAvailabilityTests SimulationTests)
PURE=()
for target in "$ROOT"/Tests/*Tests; do
    target=${target##*/}
    [[ " ${COMPUTING[*]} ${STORES[*]} ${SYSTEM[*]} " == *" $target "* ]] || PURE+=("$target")
done

selection=all allow_skip=0 narrowed='' lists=0
options=() campaign=()
case ${1:-} in
sanitize) exec bash "$ROOT/Tests/Sanitizers/run.sh" "${@:2}" ;;
fuzz) exec bash "$ROOT/Tests/Fuzzing/run.sh" "${@:2}" ;;
pure | stores | system | faults | simulate | all)
    selection=$1
    shift
    ;;
-h | --help)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
'' | -*) ;;
*) fail_setup "no such selection: $1" 'One of: pure, stores, system, faults, simulate, all, sanitize, fuzz. See Tests/run.sh --help.' ;;
esac
# The simulator's options are its own.
if [[ $selection == simulate ]]; then
    options=("$@")
    set --
fi
while (($#)); do
    case $1 in
    --allow-skip) allow_skip=1 ;;
    --filter)
        (($# > 1)) || fail_setup '--filter needs a value' 'A regular expression over Module.Suite/test().'
        narrowed=$2
        shift
        ;;
    --filter=*) narrowed=${1#*=} ;;
    --list | --full | --loopback)
        campaign+=("$1")
        if [[ $1 == --list ]]; then lists=1; fi
        ;;
    --fault | --rounds | --store | --ttl | --report)
        (($# > 1)) || fail_setup "$1 needs a value" 'See Tests/run.sh --help.'
        if [[ $1 == --report ]]; then report=$(realpath -m "$2"); else campaign+=("$1" "$2"); fi
        shift
        ;;
    --fault=* | --rounds=* | --store=* | --ttl=*) campaign+=("$1") ;;
    --report=*) report=$(realpath -m "${1#*=}") ;;
    *) options+=("$1") ;;
    esac
    shift
done

if ((${#campaign[@]})) && [[ $selection != faults ]]; then
    fail_setup "${campaign[0]} belongs to the faults" 'Tests/run.sh faults, with that option.'
fi

cd "$ROOT"
report=${report:-$ROOT/.build/fault-report}
ensure_swift
ensure_installed "${NEEDS_TO_BUILD[@]}"
if [[ $selection != pure && $selection != simulate ]]; then
    ensure_installed "${NEEDS_POSTGRES[@]}" "${NEEDS_ZOOKEEPER[@]}" "${NEEDS_TO_TEST[@]}"
    ensure_account
fi
# Without root there are no networks to cut.
if [[ $selection == faults || $selection == all ]] && ((EUID == 0)); then ensure_installed "${NEEDS_TO_CUT[@]}"; fi

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
    # Small disks of the fault tests: the network namespaces end with their processes, these do not.
    local place
    while read -r _ place _; do
        if [[ $place == "$stage/work/"* ]]; then umount -l "$place"; fi
    done </proc/mounts
    if [[ ${MATRIARCH_KEEP:-} == 1 ]]; then say "Kept: $stage"; else rm -rf "$stage"; fi
}

say "Building ($(swift --version 2>/dev/null | sed -n 's/.*\(Swift version [0-9.]*\).*/\1/p' | head -n 1))"
if ((lists)); then
    quiet_heartbeat 'building' swift build --product fault-campaign ${build_options[@]+"${build_options[@]}"} ||
        fail_setup 'the build failed (see above)' 'Repair what the compiler complains about, then start again.'
    exec "$(swift build --show-bin-path ${build_options[@]+"${build_options[@]}"} 2>/dev/null)/fault-campaign" "${campaign[@]}"
fi
# Many seeds of the simulated world: a release build of four small modules, and a program of its own.
run_simulation() {
    local arguments=("$@") status
    ((${#arguments[@]})) || arguments=(--count 20000)
    quiet_heartbeat 'building the simulator' swift build -c release --product matriarch-simulate ||
        fail_setup 'the simulator could not be built (see above)' 'Repair what the compiler complains about.'
    heartbeat 'simulating' "$ROOT/.build/release/matriarch-simulate" "${arguments[@]}"
    status=$?
    if ((status == 0)); then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}
if [[ $selection == simulate ]]; then
    passed=0 failed=0
    run_simulation ${options[@]+"${options[@]}"}
    say "$passed passed, $failed failed, 0 skipped"
    exit $((failed > 0))
fi
what=(--build-tests)
if [[ $selection == faults ]]; then what=(); fi
heartbeat 'building' swift build ${what[@]+"${what[@]}"} ${build_options[@]+"${build_options[@]}"} ||
    fail_setup 'the build failed (see above)' 'Repair what the compiler complains about, then start again.'

if [[ $selection == system || $selection == faults || $selection == all ]]; then
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
# A stock Patroni, to be a member beside ours, and its patronictl.
if [[ $selection == system || $selection == all ]]; then
    if ensure_patroni "$stage"; then
        export MATRIARCH_PATRONICTL=$venv/bin/patronictl
    elif ((!allow_skip)); then
        fail_setup 'Patroni could not be installed (see above)' \
            'It needs the Python package index; without it, --allow-skip leaves its tests out.'
    fi
fi
pg_bin=$(postgres_bin)
[[ -z $pg_bin ]] || export MATRIARCH_PG_BIN=$pg_bin

passed=0 failed=0 skipped=0 broken=0
log=$(mktemp "${TMPDIR:-/tmp}/matriarch-tests.XXXXXX")
failures=$(mktemp "${TMPDIR:-/tmp}/matriarch-failures.XXXXXX")

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
    account "${PIPESTATUS[0]}" "$*"
}

# Why a process of tests ended before them, from its log: the tests that had begun, and the last words.
ended_early() {
    printf 'Ended with status %s before the tests were through: %s\n' "$1" "$2"
    awk '/^[^[:alnum:][:space:]]+ +Test / && !/Test run |Test case / {
            line = $0; sub(/^[^[:alnum:][:space:]]+ +Test /, "", line)
            if (sub(/ started\.$/, "", line)) open[line] = 1
            else { sub(/ (with [0-9]+ test cases )?(passed|failed) after .*| skipped.*/, "", line); delete open[line] }
        }
        END { for (name in open) print "  had begun: " name }' "$log" | head -n 20
    # What Swift says of a crash, and the frames of the thread that crashed; what other programs say is at the end.
    grep -a -E 'Fatal error|^\*\*\* Program' "$log" | head -n 10 | sed 's/^/  /'
    grep -a -E -A 30 '^Thread .* crashed:' "$log" | head -n 32 | sed 's/^/  /'
    grep -a -v -E '^ +\.\.\. |^[^[:alnum:][:space:]]+ +(Test|Suite) ' "$log" | tail -n 5 | sed 's/^/  /'
}

# What the tests in the log came to: account STATUS SUITES.
account() {
    local status=$1 mark='^[^[:alnum:][:space:]]+ +(Test) '
    # Swift Testing's own lines: a mark, "Test", its name, the outcome. The run's closing line is "Test run with ...".
    local run_lines="${mark}run with"
    local good bad skip
    good=$(grep -a -v -E "$run_lines|${mark}case " "$log" | grep -a -c -E "${mark}.* passed after")
    bad=$(grep -a -v -E "$run_lines|${mark}case " "$log" | grep -a -c -E "${mark}.* failed after")
    skip=$(grep -a -v -E "$run_lines|${mark}case " "$log" | grep -a -c -E "${mark}.* skipped(\.|:|$)")
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skip))
    grep -a -E "^✘.*(recorded an issue|failed after)" "$log" >>"$failures"
    # What narrows the selection may leave nothing of one part; the program ends with EX_UNAVAILABLE then.
    if ((status == 69 && good + bad + skip == 0)) && [[ -n $narrowed ]]; then return; fi
    if ((status != 0 && bad == 0)); then
        # No test says that it failed, and yet: the process crashed or was ended.
        say "error: swift test ended with status $status before its tests were through"
        broken=1
        ended_early "$status" "$2" >>"$failures"
    fi
    if ((good + bad + skip == 0 && status == 0)) && [[ -z $narrowed ]]; then
        say "error: no test ran for: $2"
        broken=1
    fi
}

# The stores' own tests mostly wait for their servers, each on ports and in directories of its own: a process for each
# store, side by side, one test at a time in each. Their output comes when all are done. `swift test` keeps others of its
# kind out, so the tests' program is started itself; not where there are options that only `swift test` knows.
run_stores() {
    local program stores=(ZooKeeper Etcd Others) store index status pids=() left=() started=$SECONDS said=$SECONDS
    program=$(swift build --show-bin-path 2>/dev/null)/matriarchPackageTests.xctest
    if ((${#options[@]})) || [[ ! -x $program ]]; then
        run_suites stores --no-parallel -- StoreTests
        return
    fi
    say 'Testing: stores, side by side (StoreTests)'
    for store in "${stores[@]}"; do
        local choice=(--filter "^StoreTests\\.$store.*($narrowed)")
        [[ $store != Others ]] ||
            choice=(--filter "^StoreTests\\..*($narrowed)" --skip '^StoreTests\.(ZooKeeper|Etcd)')
        "$program" --testing-library swift-testing --no-parallel "${choice[@]}" >"$log.$store" 2>&1 </dev/null &
        pids+=($!)
    done
    while true; do
        left=()
        for index in "${!pids[@]}"; do
            if kill -0 "${pids[index]}" 2>/dev/null; then left+=("${stores[index]}"); fi
        done
        ((${#left[@]})) || break
        if ((SECONDS - said >= 10)); then
            said=$SECONDS
            printf '  ... testing: %s: %d s\n' "${left[*]}" $((SECONDS - started))
        fi
        sleep 1
    done
    for index in "${!pids[@]}"; do
        wait "${pids[index]}"
        status=$?
        say "Tested: ${stores[index]} (StoreTests)"
        mv "$log.${stores[index]}" "$log"
        cat "$log"
        account "$status" "${stores[index]}"
    done
}

case $selection in
pure | all)
    run_suites 'pure, computing' -- "${COMPUTING[@]}"
    run_suites 'pure, with clocks' --no-parallel -- "${PURE[@]}"
    ;;
esac
case $selection in
stores | all)
    run_stores
    # These measure times, and have the machine to themselves.
    run_suites parts --no-parallel -- "${STORES[@]:1}"
    ;;
esac
# One at a time: each of these measures times.
case $selection in system | all) run_suites system --no-parallel -- "${SYSTEM[@]}" ;; esac
# Faults: a program of their own, whose closing line is counted.
run_faults() {
    say "Faults: the report will be $report/report.html"
    rm -f "$report"/{embedded,zooKeeper,etcd,consul}-*.{svg,tsv,log} 2>/dev/null
    heartbeat 'faults' "$programs/fault-campaign" --report "$report" ${campaign[@]+"${campaign[@]}"} | tee "$log"
    local status=${PIPESTATUS[0]} closing
    closing=$(grep -a -E '^ *[0-9]+ passed, [0-9]+ failed, ' "$log" | tail -n 1)
    if [[ $closing =~ ([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ measured ]]; then
        passed=$((passed + BASH_REMATCH[1] + BASH_REMATCH[3])) failed=$((failed + BASH_REMATCH[2]))
        grep -a -E '^ *FAILED ' "$log" >>"$failures"
    else
        say "error: the faults ended with status $status before they were through"
        broken=1
        ended_early "$status" faults >>"$failures"
    fi
}
# A filter names tests, and the faults are none.
if [[ $selection == faults || ($selection == all && -z $narrowed) ]]; then run_faults; fi
if [[ $selection == all && -z $narrowed ]]; then run_simulation; fi
if [[ -s $failures ]]; then
    say 'What failed:'
    cut -c1-600 "$failures"
fi
rm -f "$log" "$failures"

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
