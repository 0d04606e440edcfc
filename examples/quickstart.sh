#!/usr/bin/env bash
# Three members of a PostgreSQL cluster on this machine, made from nothing; for trying Matriarch, not for data.
#
#   examples/quickstart.sh [--store embedded|zookeeper|etcd|consul] [--check] [--keep] [--dir D] [--port-base N] [--release]
#
#   --store S      where the members coordinate: `embedded` (a file; one machine only; the default), or a real
#                  `zookeeper`, `etcd` or `consul`, one server that is started here as well
#   --check        no show: builds the cluster up, kills the leader with everything it runs, checks that a row from
#                  before and one from after are there and that the old member comes back; then stops. Status 0 or 1
#   --keep         leaves the directory when it stops; the next start with the same --dir goes on with the data
#   --dir D        where everything goes (default: a directory matriarch-quickstart under $TMPDIR or /tmp)
#   --port-base N  PostgreSQL on N+1 to N+3, the REST API on N+11 to N+13, the store from N+20 (default 7400)
#   --release      an optimised build (takes longer to make)
#
# It installs what is missing when it runs as root; otherwise it prints the command and ends with status 2.
# Ctrl-C stops everything.
set -uo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../Tests/setup.sh
source "$ROOT/Tests/setup.sh"

store=embedded check=0 keep=0 directory=${TMPDIR:-/tmp}/matriarch-quickstart base=7400 configuration=debug
while (($#)); do
    case $1 in
    --store | --dir | --port-base)
        (($# > 1)) || fail_setup "$1 needs a value" 'See examples/quickstart.sh --help.'
        case $1 in --store) store=$2 ;; --dir) directory=$2 ;; --port-base) base=$2 ;; esac
        shift
        ;;
    --store=*) store=${1#*=} ;;
    --dir=*) directory=${1#*=} ;;
    --port-base=*) base=${1#*=} ;;
    --check) check=1 ;;
    --keep) keep=1 ;;
    --release) configuration=release ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) fail_setup "unknown option: $1" 'See examples/quickstart.sh --help.' ;;
    esac
    shift
done
case $store in
embedded | zookeeper | etcd | consul) ;;
*) fail_setup "unknown store: $store" 'One of: embedded, zookeeper, etcd, consul.' ;;
esac
if [[ ! $base =~ ^[0-9]+$ ]] || ((base < 1 || base > 65500)); then
    fail_setup "no usable port: $base" '--port-base takes a number from 1 to 65500.'
fi

members=(pg1 pg2 pg3)
postgres_port() { echo $((base + ${1#pg})); }
rest_port() { echo $((base + 10 + ${1#pg})); }
# For its clients; what else the server listens on comes after that.
store_port=$((base + 20))
case $store in embedded) store_ports=() ;; zookeeper) store_ports=("$store_port") ;;
etcd) store_ports=("$store_port" $((base + 21))) ;;
consul) store_ports=("$store_port" $((base + 21)) $((base + 22))) ;;
esac
api_urls=$(for m in "${members[@]}"; do printf 'http://127.0.0.1:%s,' "$(rest_port "$m")"; done)
api_urls=${api_urls%,}

# ---------------------------------------------------------------------------------------------- programs and directory

build_programs() {
    local out=$ROOT/.build/$configuration
    # SwiftPM needs seconds to find that nothing changed; comparing dates does not.
    if [[ -x $out/matriarch && -x $out/matriarch-guard ]] &&
        [[ -z $(find "$ROOT/Package.swift" "$ROOT/Sources" "$ROOT/Plugins" -newer "$out/matriarch" -print -quit 2>/dev/null) ]]; then
        return
    fi
    ensure_swift
    ensure_installed "${NEEDS_TO_BUILD[@]}"
    say "Building Matriarch ($configuration); the first time takes minutes"
    local product
    for product in matriarch-guard matriarch; do
        heartbeat "building $product" swift build --package-path "$ROOT" -c "$configuration" --product "$product" ||
            fail_setup 'the build failed (see above)' 'Repair what the compiler complains about, then start again.'
    done
    touch -c "$out/matriarch" 2>/dev/null
}

prepare_directory() {
    if [[ -e $directory && ! -e $directory/.matriarch-quickstart ]] && [[ -n $(ls -A "$directory" 2>/dev/null) ]]; then
        fail_setup "$directory exists and is not the quick start's" 'Choose another with --dir.'
    fi
    if [[ -e $directory/.matriarch-quickstart ]]; then
        if something_runs; then
            fail_setup "a quick start runs in $directory already" \
                "End it with Ctrl-C in its terminal, or choose another directory and ports with --dir and --port-base."
        fi
        if [[ ! -e $directory/.kept ]]; then
            # What an earlier start left behind because it failed.
            rm -rf "${directory:?}"
        elif ((check)) || [[ $(cat "$directory/.matriarch-quickstart") != "$store $base" ]]; then
            fail_setup "$directory holds a cluster that was kept (--keep) with another store or other ports, or is to be checked" \
                'Choose another directory with --dir, or remove that one.'
        else
            rm -f "$directory/.kept"
        fi
    fi
    mkdir -p "$directory" || fail_setup "cannot make $directory" 'Choose another with --dir.'
    directory=$(cd "$directory" && pwd -P)
    ((${#directory} <= 80)) ||
        fail_setup "the directory's name is too long for a Unix socket in it: $directory" 'Choose a shorter one with --dir.'
    echo "$store $base" >"$directory/.matriarch-quickstart"
    chmod 755 "$directory"
    if ((EUID == 0)); then chown "$MATRIARCH_ACCOUNT:" "$directory"; fi
    as_account test -w "$directory" ||
        fail_setup "the account $MATRIARCH_ACCOUNT cannot use $directory" \
            'A directory above it is closed to it; choose another with --dir.'
}

require_free_ports() {
    local port taken=() wanted=()
    for m in "${members[@]}"; do wanted+=("$(postgres_port "$m")" "$(rest_port "$m")"); done
    wanted+=(${store_ports[@]+"${store_ports[@]}"})
    for port in "${wanted[@]}"; do ! port_taken "$port" || taken+=("$port"); done
    ((${#taken[@]} == 0)) || fail_setup "ports in use: ${taken[*]}" 'Choose others with --port-base.'
}

# Writes a file that only the account can read; the text comes from standard input.
write_private() { as_account bash -c 'umask 077; cat >"$1"' - "$1"; }

random_password() { od -An -N 16 -t x1 /dev/urandom | tr -d ' \n'; }

write_configuration() {
    local m superuser replicator rewinder section
    if [[ -e $directory/pg1.yml && -e $directory/pgpass ]]; then return; fi
    superuser=$(random_password) replicator=$(random_password) rewinder=$(random_password)
    for m in "${members[@]}"; do
        printf '127.0.0.1:%s:*:postgres:%s\n' "$(postgres_port "$m")" "$superuser"
    done | write_private "$directory/pgpass"
    case $store in
    embedded)
        section=$(printf 'embedded:\n  path: %s' "$directory/store/cluster.db")
        as_account mkdir -p "$directory/store"
        ;;
    zookeeper) section=$(printf 'zookeeper:\n  hosts: 127.0.0.1:%s' "$store_port") ;;
    etcd) section=$(printf 'etcd3:\n  hosts: 127.0.0.1:%s' "$store_port") ;;
    consul) section=$(printf 'consul:\n  host: 127.0.0.1:%s' "$store_port") ;;
    esac
    for m in "${members[@]}"; do
        write_private "$directory/$m.yml" <<YAML
scope: demo
name: $m

restapi:
  listen: 127.0.0.1:$(rest_port "$m")
  connect_address: 127.0.0.1:$(rest_port "$m")

$section

bootstrap:
  dcs:
    ttl: 5
    loop_wait: 1
    retry_timeout: 2
    postgresql:
      use_pg_rewind: true
      parameters:
        max_connections: 50
  initdb:
    - encoding: UTF8
    - data-checksums
  pg_hba:
    - host all all 127.0.0.1/32 scram-sha-256
    - host replication replicator 127.0.0.1/32 scram-sha-256

postgresql:
  listen: 127.0.0.1:$(postgres_port "$m")
  connect_address: 127.0.0.1:$(postgres_port "$m")
  data_dir: $directory/$m/data
  bin_dir: $pg_bin
  pgpass: $directory/$m/pgpass
  authentication:
    superuser:
      username: postgres
      password: $superuser
    replication:
      username: replicator
      password: $replicator
    rewind:
      username: rewinder
      password: $rewinder
  parameters:
    unix_socket_directories: $directory/$m
    shared_buffers: 32MB
YAML
        as_account mkdir -p -m 700 "$directory/$m"
    done
}

# -------------------------------------------------------------------------------------------------------- processes

# first_line FILE: the pid that a pid file begins with, if that process is there.
running_pid() {
    local pid
    pid=$(head -n 1 "$1" 2>/dev/null | tr -cd '0-9')
    [[ -n $pid && -d /proc/$pid ]] || return 1
    # A zombie is no process that runs.
    [[ $(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null) != Z ]] || return 1
    case $2 in
    agent) tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q "matriarch run $directory/" || return 1 ;;
    guard) [[ $(cat "/proc/$pid/comm" 2>/dev/null) == matriarch-guar* ]] || return 1 ;;
    postgres) [[ $(readlink "/proc/$pid/cwd" 2>/dev/null) == "$directory/"* ]] || return 1 ;;
    store) tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q "$directory/store/" || return 1 ;;
    esac
    echo "$pid"
}

agent_pid() { running_pid "$directory/$1.pid" agent; }
guard_pid() { running_pid "$directory/$1/data.matriarch/guard.lock" guard; }
postgres_pid() { running_pid "$directory/$1/data/postmaster.pid" postgres; }
store_pid() { running_pid "$directory/store.pid" store; }

something_runs() {
    local m
    for m in "${members[@]}"; do
        if agent_pid "$m" || guard_pid "$m" || postgres_pid "$m"; then return 0; fi
    done >/dev/null
    store_pid >/dev/null
}

# A process of its own session: Ctrl-C in this terminal is for this script alone, which stops the rest in order.
# Shells start background commands with SIGINT and SIGQUIT ignored; that must not be inherited.
launch() {
    local pid_file=$1 log=$2
    shift 2
    (
        cd "$directory" || exit 1
        if ((EUID == 0)); then
            exec setsid env --default-signal=INT,QUIT setpriv --reuid="$MATRIARCH_ACCOUNT" \
                --regid="$MATRIARCH_ACCOUNT" --init-groups -- "$@"
        fi
        exec setsid env --default-signal=INT,QUIT "$@"
    ) </dev/null >>"$log" 2>&1 &
    echo $! >"$pid_file"
    # What becomes of it is seen by its pid; the shell need not report it.
    disown $!
}

start_agent() {
    launch "$directory/$1.pid" "$directory/$1.log" "$directory/bin/matriarch" run "$directory/$1.yml"
}

# The store's server, with whatever it keeps in $directory/store.
start_store() {
    local place=$directory/store
    as_account mkdir -p "$place/data"
    case $store in
    zookeeper)
        as_account bash -c 'cat >"$1"' - "$place/zoo.cfg" <<CFG
tickTime=500
dataDir=$place/data
clientPort=$store_port
clientPortAddress=127.0.0.1
admin.enableServer=false
4lw.commands.whitelist=srvr,ruok,mntr
CFG
        launch "$directory/store.pid" "$directory/store.log" java -Xmx256m -XX:+UseSerialGC \
            -cp /usr/share/java/zookeeper.jar org.apache.zookeeper.server.quorum.QuorumPeerMain "$place/zoo.cfg"
        ;;
    etcd)
        local own=http://127.0.0.1:$store_port peer=http://127.0.0.1:$((store_port + 1))
        # The shortest lease is one and a half times the election timeout.
        launch "$directory/store.pid" "$directory/store.log" /usr/bin/etcd --name quickstart \
            --data-dir "$place/data" --listen-client-urls "$own" --advertise-client-urls "$own" \
            --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "quickstart=$peer" \
            --heartbeat-interval 100 --election-timeout 1000 --logger zap --log-outputs stderr --log-level warn
        ;;
    consul)
        as_account bash -c 'cat >"$1"' - "$place/consul.json" <<CFG
{"data_dir": "$place/data", "server": true, "bootstrap_expect": 1, "node_name": "quickstart",
 "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "disable_update_check": true, "log_level": "warn",
 "performance": {"raft_multiplier": 1}, "session_ttl_min": "1s",
 "ports": {"http": $store_port, "serf_lan": $((store_port + 1)), "server": $((store_port + 2)), "dns": -1,
           "grpc": -1, "serf_wan": -1}}
CFG
        launch "$directory/store.pid" "$directory/store.log" consul agent -config-file="$place/consul.json"
        ;;
    esac
    wait_until 'the store answers' 60 store_answers ||
        fail_run "the store ($store) does not answer; see $directory/store.log"
}

store_answers() {
    store_pid >/dev/null || return 1
    local answer
    case $store in
    zookeeper)
        answer=$(
            exec 3<>"/dev/tcp/127.0.0.1/$store_port" || exit 1
            printf ruok >&3
            timeout 1 cat <&3
        ) 2>/dev/null
        [[ $answer == imok ]]
        ;;
    etcd) http_get "$store_port" /health | grep -q '"health":"true"' ;;
    # There is no such key; who knows that for sure has a leader.
    consul) [[ $(status_code "$store_port" '/v1/kv/none?consistent') == 404 ]] ;;
    esac
}

# wait_until WHAT SECONDS COMMAND...: asks five times a second; after two seconds shows that it is alive. A command's
# status 3 means that there is no hope.
wait_until() {
    local what=$1 limit=$2 started=$SECONDS next=2 status
    shift 2
    while true; do
        "$@" >/dev/null 2>&1 && return 0
        status=$?
        if ((status == 3 || stopping_requested || SECONDS - started >= limit)); then return 1; fi
        if ((SECONDS - started >= next)); then
            printf '  ... waiting until %s: %d s\n' "$what" $((SECONDS - started))
            next=$((SECONDS - started + (next < 10 ? 2 : 5)))
        fi
        sleep 0.2
    done
}

# ------------------------------------------------------------------------------------------------- looking at it

# GET http://127.0.0.1:PORT/PATH with nothing but the shell (curl may not be there): the whole answer.
http_get() {
    local port=$1 path=$2
    (
        exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
        printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$path" >&3
        timeout 2 cat <&3
    ) 2>/dev/null
}

status_code() { http_get "$1" "$2" | sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p'; }

leader() {
    local m
    for m in "${members[@]}"; do
        if [[ $(status_code "$(rest_port "$m")" /primary) == 200 ]]; then
            echo "$m"
            return
        fi
    done
    return 1
}

query() {
    local m=$1
    shift
    PGPASSFILE=$directory/pgpass PGCONNECT_TIMEOUT=3 timeout 10 "$pg_bin/psql" -X -q -A -t -w -v ON_ERROR_STOP=1 \
        -h 127.0.0.1 -p "$(postgres_port "$m")" -U postgres -d postgres -c "$1" 2>>"$directory/psql.log"
}

is_writable() { [[ $(query "$1" 'select not pg_is_in_recovery()') == t ]]; }
is_streaming() { [[ $(query "$1" "select count(*) from pg_stat_wal_receiver where status = 'streaming'") == 1 ]]; }
row_is_on() { [[ $(query "$1" "select count(*) from quickstart where what = '$2'") == 1 ]]; }

all_up() {
    local m lead
    for m in "${members[@]}"; do agent_pid "$m" || return 3; done
    lead=$(leader) || return 1
    is_writable "$lead" || return 1
    for m in "${members[@]}"; do [[ $m == "$lead" ]] || is_streaming "$m" || return 1; done
}

show_list() { "$directory/bin/matriarch" list --url "$api_urls" 2>&1; }

# ------------------------------------------------------------------------------------------------------- stopping

stopping_requested=0 stopped=0 result=0
launched=0

fail_run() {
    printf 'error: %s\n' "$*" >&2
    result=1
    stop_everything
    exit 1
}

stop_member() {
    local pid m=$1 limit=$((SECONDS + 40))
    if pid=$(agent_pid "$m"); then
        kill -TERM "$pid" 2>/dev/null
    elif pid=$(postgres_pid "$m"); then
        # Its agent was killed: PostgreSQL's fast shutdown; the guard goes when its PostgreSQL has gone.
        kill -INT "$pid" 2>/dev/null
    fi
    local said=$SECONDS
    while { agent_pid "$m" || postgres_pid "$m"; } >/dev/null; do
        if ((SECONDS >= limit)); then
            printf 'error: %s did not stop within 40 s and is killed; see %s\n' "$m" "$directory/$m.log" >&2
            result=1
            local file_pid
            for file_pid in "$(agent_pid "$m")" "$(guard_pid "$m")" "$(postgres_pid "$m")"; do
                [[ -z $file_pid ]] || kill -KILL "$file_pid" 2>/dev/null
            done
            sleep 0.5
            break
        fi
        if ((SECONDS - said >= 2)); then
            printf '  ... %s is stopping\n' "$m"
            said=$SECONDS
        fi
        sleep 0.1
    done
    # A guard without agent and PostgreSQL has nothing left to do.
    local grace=$((SECONDS + 5))
    while pid=$(guard_pid "$m"); do
        if ((SECONDS >= grace)); then
            printf 'error: the guard of %s (pid %s) outlived its PostgreSQL and is killed\n' "$m" "$pid" >&2
            result=1
            kill -KILL "$pid" 2>/dev/null
            sleep 0.2
            break
        fi
        sleep 0.1
    done
}

stop_everything() {
    ((launched && !stopped)) || return 0
    stopped=1
    trap '' INT TERM HUP
    say 'Stopping: the replicas, then the leader'
    local m last
    last=$(leader) || last=''
    for m in "${members[@]}"; do [[ $m == "$last" ]] || stop_member "$m"; done
    [[ -z $last ]] || stop_member "$last"
    local pid
    if pid=$(store_pid); then
        kill -TERM "$pid" 2>/dev/null
        local limit=$((SECONDS + 10))
        while store_pid >/dev/null; do
            if ((SECONDS >= limit)); then
                kill -KILL "$pid" 2>/dev/null
                break
            fi
            sleep 0.1
        done
    fi
    local left
    left=$(left_over)
    if [[ -n $left ]]; then
        printf 'error: still running: %s\n' "$left" >&2
        result=1
    fi
    if ((keep || result)); then
        if ((keep && !result)); then touch "$directory/.kept"; fi
        say "Kept: $directory (logs: $directory/pg*.log)"
    else
        rm -rf "${directory:?}"
        say "Stopped; nothing is left of it."
    fi
}

# Every process that works in the directory or was started from it, as far as this user may see.
left_over() {
    local process pid
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [[ $pid != "$$" && $pid != "$BASHPID" ]] || continue
        if [[ $(readlink "$process/cwd" 2>/dev/null) == "$directory/"* || $(readlink "$process/exe" 2>/dev/null) == "$directory/bin/"* ]]; then
            printf '%s(%s) ' "$(cat "$process/comm" 2>/dev/null)" "$pid"
        fi
    done
}

# --------------------------------------------------------------------------------------------------------- the start

build_programs
needs=("${NEEDS_POSTGRES[@]}")
case $store in
zookeeper) needs+=("${NEEDS_ZOOKEEPER[@]}") ;;
etcd) needs+=("${NEEDS_ETCD[@]}") ;;
consul) needs+=("${NEEDS_CONSUL[@]}") ;;
esac
ensure_installed "${needs[@]}"
pg_bin=$(postgres_bin)
ensure_account
prepare_directory
require_free_ports
stage_programs "$ROOT/.build/$configuration" "$directory/bin"
write_configuration

started=$SECONDS
launched=1
trap 'stopping_requested=1' INT TERM HUP
trap 'stop_everything; exit $result' EXIT

say "Starting three members in $directory (store: $store)"
if [[ $store != embedded ]]; then start_store; fi
for m in "${members[@]}"; do start_agent "$m"; done
if ! wait_until 'one member leads and two follow' 120 all_up; then
    if ((stopping_requested)); then exit 0; fi
    why='the cluster did not come up within 120 s'
    for m in "${members[@]}"; do
        agent_pid "$m" >/dev/null || why="the agent of $m has ended; see $directory/$m.log"
        printf -- '--- the end of %s.log\n' "$m" >&2
        tail -n 15 "$directory/$m.log" >&2
    done
    fail_run "$why"
fi
say "The cluster is up after $((SECONDS - started)) s."

# --------------------------------------------------------------------------------------------------------- the check

# Everything that a member runs, agent, guard, postmaster and its children, in one blow.
kill_member() {
    local m=$1 postmaster pids
    postmaster=$(postgres_pid "$m")
    pids=("$(agent_pid "$m")" "$(guard_pid "$m")" "$postmaster")
    if [[ -n $postmaster ]]; then
        local child
        for child in $(cat "/proc/$postmaster/task/$postmaster/children" 2>/dev/null); do pids+=("$child"); done
    fi
    local pid alive=()
    for pid in "${pids[@]}"; do [[ -z $pid ]] || alive+=("$pid"); done
    kill -KILL "${alive[@]}" 2>/dev/null
    say "Killed $m: ${#alive[@]} processes (agent, guard, PostgreSQL)"
}

new_leader() {
    local now
    now=$(leader) || return 1
    [[ $now != "$old" ]] && is_writable "$now"
}

run_check() {
    show_list
    old=$(leader)
    say "$old leads. A row is written there and waited for on the replicas."
    query "$old" "create table quickstart (what text primary key); insert into quickstart values ('before')" ||
        fail_run "$old does not take a row; see $directory/psql.log"
    local m
    for m in "${members[@]}"; do
        wait_until "$m has the row" 20 row_is_on "$m" before || fail_run "the row does not reach $m"
    done
    kill_member "$old"
    local killed=$SECONDS
    wait_until 'another member leads' 60 new_leader || fail_run 'no other member became leader within 60 s'
    local now
    now=$(leader)
    say "$now leads after $((SECONDS - killed)) s."
    query "$now" "insert into quickstart values ('after')" || fail_run "$now does not take a row"
    [[ $(query "$now" 'select string_agg(what, $$,$$ order by what desc) from quickstart') == before,after ]] ||
        fail_run 'the rows from before and after the failure are not both there'
    say 'The row from before the failure and the one from after are there.'
    start_agent "$old"
    wait_until "$old streams again" 90 is_streaming "$old" || {
        tail -n 20 "$directory/$old.log" >&2
        fail_run "$old did not come back as a replica within 90 s"
    }
    wait_until "$old has both rows" 20 row_is_on "$old" after || fail_run "the new row does not reach $old"
    say "$old is back as a replica."
    show_list
}

if ((check)); then
    run_check
    if ((stopping_requested)); then result=1; fi
    stop_everything
    if ((result == 0)); then say 'The check passed.'; else say 'The check failed.'; fi
    exit "$result"
fi

# ---------------------------------------------------------------------------------------------------------- the show

lead=$(leader)
config=$directory/$lead.yml
cat <<TEXT

  Connect:      export PGPASSFILE=$directory/pgpass
                $pg_bin/psql "host=127.0.0.1,127.0.0.1,127.0.0.1 port=$(postgres_port pg1),$(postgres_port pg2),$(postgres_port pg3) user=postgres dbname=postgres target_session_attrs=read-write"
  Look:         $directory/bin/matriarch list -c $config
                $directory/bin/matriarch explain -c $config
  Hand over:    $directory/bin/matriarch switchover -c $config
  Break it:     kill -9 \$(cat $directory/$lead.pid) \$(head -n 1 $directory/$lead/data.matriarch/guard.lock) \$(head -n 1 $directory/$lead/data/postmaster.pid)
                That is $lead with its guard and its PostgreSQL. When its lease has run out (5 s) another member
                leads; after 10 s $lead is started again here and comes back as a replica.
                kill -9 \$(head -n 1 $directory/$lead/data/postmaster.pid) ends PostgreSQL alone: it is started again at once.
  Logs:         $directory/pg1.log, pg2.log, pg3.log
  Stop:         Ctrl-C

TEXT

declare -A gone_since=()
shown='' lines=0 last_shown=$SECONDS
while ((!stopping_requested)); do
    for m in "${members[@]}"; do
        if agent_pid "$m" >/dev/null; then
            unset "gone_since[$m]"
        elif [[ -z ${gone_since[$m]:-} ]]; then
            gone_since[$m]=$SECONDS
            lines=0
            say "$m: its agent is gone; it is started again in 10 s."
        elif ((SECONDS - gone_since[$m] >= 10)); then
            start_agent "$m"
            lines=0
            say "$m: started again."
            unset "gone_since[$m]"
        fi
    done
    table=$(show_list)
    if [[ -t 1 ]]; then
        ((lines == 0)) || printf '\033[%dA\033[J' "$lines"
        printf '%s\n%s\n' "$(date +%H:%M:%S)" "$table"
        lines=$(($(wc -l <<<"$table") + 1))
    elif [[ $table != "$shown" ]] || ((SECONDS - last_shown >= 30)); then
        printf '%s\n%s\n' "$(date +%H:%M:%S)" "$table"
        shown=$table last_shown=$SECONDS
    fi
    sleep 1 &
    wait $! 2>/dev/null
done
exit "$result"
