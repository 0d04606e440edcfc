#!/usr/bin/env bash
# Measures Matriarch beside the current Patroni: the same machine, ZooKeeper, PostgreSQL and clients, in turn.
#
#   Tests/Benchmarks/run.sh [--rounds N] [--only NAME]... [--no-patroni] [--store zookeeper|embedded] [--json] ...
#
# `Tests/Benchmarks/run.sh --help` tells all options and scenarios; README.md what the figures mean.
#
# It builds the release of Matriarch, installs what is missing (as root; otherwise it prints the command), makes a
# virtual environment with Patroni in .build/benchmarks, and runs everything as an ordinary account.
# Environment: MATRIARCH_BIN=DIR measures the programs in DIR instead of building; MATRIARCH_ACCOUNT the account.
# Status: 0 measured, 1 a measurement failed, 2 the set-up failed.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
# shellcheck source=../setup.sh
source "$ROOT/Tests/setup.sh"
export PYTHONDONTWRITEBYTECODE=1

with_zookeeper=1 keep='' previous=''
for argument in "$@"; do
    case $previous$argument in
    --help | -h) exec python3 "$HERE/benchmark.py" --help ;;
    --store=embedded | --store/embedded) with_zookeeper=0 ;;
    --keep=*) keep=${argument#*=} ;;
    --keep/*) keep=$argument ;;
    esac
    previous=
    case $argument in --store | --keep) previous=$argument/ ;; esac
done

ensure_installed "${NEEDS_POSTGRES[@]}" 'python3-venv|python3 -c "import venv, ensurepip"'
if ((with_zookeeper)); then ensure_installed "${NEEDS_ZOOKEEPER[@]}"; fi
ensure_account

[[ -z $keep || $keep == /* ]] || keep=$PWD/$keep
stage=$(mktemp -d "${TMPDIR:-/tmp}/mbench.XXXXXX") || fail_setup 'cannot make a directory in TMPDIR'
driver=
# The driver stops what it started; killing it here would leave that behind.
trap '[[ -z $driver ]] || { kill -TERM "$driver" 2>/dev/null; wait "$driver"; }; rm -rf "$stage"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 755 "$stage"

# ------------------------------------------------------------------------------------------------------ the programs

if [[ -n ${MATRIARCH_BIN:-} ]]; then
    stage_programs "$MATRIARCH_BIN" "$stage/bin"
else
    ensure_swift
    ensure_installed "${NEEDS_TO_BUILD[@]}"
    say 'Building Matriarch (release); the first time takes many minutes' >&2
    for product in matriarch-guard matriarch; do
        heartbeat "building $product" swift build --package-path "$ROOT" -c release --product "$product" >&2 ||
            fail_setup 'the build failed (see above)' 'Repair what the compiler complains about, then start again.'
    done
    programs=$(swift build --package-path "$ROOT" -c release --show-bin-path 2>/dev/null) ||
        fail_setup 'swift build --show-bin-path failed'
    stage_programs "$programs" "$stage/bin"
fi

# Patroni and the clients' library, kept between runs: where the account can read it.
usable_venv() { as_account "$1/bin/python3" -c 'import patroni, kazoo, psycopg2' >/dev/null 2>&1; }

ensure_venv() {
    # A Python in somebody's home is of no use to the account.
    local python= candidate
    for candidate in /usr/bin/python3 "$(command -v python3)"; do
        if as_account "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            python=$candidate
            break
        fi
    done
    [[ -n $python ]] ||
        fail_setup "the account that runs the benchmark has no usable python3 with venv" 'Install python3-venv.'
    venv=$ROOT/.build/benchmarks/venv
    usable_venv "$venv" && return
    as_account test -x "$ROOT" || venv=$stage/venv
    say 'Installing Patroni into a virtual environment' >&2
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    quiet_heartbeat 'making a virtual environment' "$python" -m venv "$venv" >&2 &&
        quiet_heartbeat 'installing patroni' "$venv/bin/pip" --disable-pip-version-check install -q \
            'patroni[zookeeper,psycopg2-binary]' >&2 ||
        fail_setup 'Patroni could not be installed (see above)' 'It comes from the Python package index.'
    usable_venv "$venv" || fail_setup "the account that runs the benchmark cannot use $venv"
}
ensure_venv

# ------------------------------------------------------------------------------------------------------------ run it

mkdir -p "$stage/driver" "$stage/work"
cp "$HERE"/*.py "$stage/driver/"
chmod -R a+rX "$stage/driver"
if ((EUID == 0)); then chown "$MATRIARCH_ACCOUNT:" "$stage/work"; fi
chmod 700 "$stage/work"

cd "$stage" || exit 2
as_account "$venv/bin/python3" -u "$stage/driver/benchmark.py" --bin "$stage/bin" --postgres "$(postgres_bin)" \
    --work "$stage/work" "$@" </dev/null &
driver=$!
wait "$driver"
status=$?
driver=
if [[ -n $keep && -d $stage/work/kept ]]; then
    cd "$HERE" && mkdir -p "$keep" && cp -r "$stage/work/kept/." "$keep/" && say "Logs: $keep" >&2
fi
exit "$status"
