#!/usr/bin/env bash
# Measures Matriarch beside the current Patroni: the same machine, store, PostgreSQL and clients, in turn.
#
#   Tests/Benchmarks/run.sh [--rounds N] [--only NAME]... [--no-patroni] [--store zookeeper|etcd|consul|embedded] ...
#
# `Tests/Benchmarks/run.sh --help` tells all options and scenarios; README.md what the figures mean.
#
# It builds the release of Matriarch, installs what is missing (as root; otherwise it prints the command), makes a
# virtual environment with Patroni in .build/patroni, and runs everything as an ordinary account.
# Environment: MATRIARCH_BIN=DIR measures the programs in DIR instead of building; MATRIARCH_ACCOUNT the account.
# Status: 0 measured, 1 a measurement failed, 2 the set-up failed.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
# shellcheck source=../setup.sh
source "$ROOT/Tests/setup.sh"
export PYTHONDONTWRITEBYTECODE=1

store=zookeeper keep='' previous=''
for argument in "$@"; do
    case $previous$argument in
    --help | -h) exec python3 "$HERE/benchmark.py" --help ;;
    --store=*) store=${argument#*=} ;;
    --store/*) store=$argument ;;
    --keep=*) keep=${argument#*=} ;;
    --keep/*) keep=$argument ;;
    esac
    previous=
    case $argument in --store | --keep) previous=$argument/ ;; esac
done

ensure_installed "${NEEDS_POSTGRES[@]}" 'python3-venv|python3 -c "import venv, ensurepip"'
case $store in
zookeeper) ensure_installed "${NEEDS_ZOOKEEPER[@]}" ;;
etcd) ensure_installed "${NEEDS_ETCD[@]}" ;;
consul) ensure_installed "${NEEDS_CONSUL[@]}" ;;
esac
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

ensure_patroni "$stage" ||
    fail_setup 'Patroni could not be installed (see above)' 'It comes from the Python package index.'

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
