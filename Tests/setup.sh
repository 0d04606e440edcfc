# Shared by Tests/run.sh and examples/quickstart.sh, which source it: what must be installed, the build, the ordinary
# account, and a directory with the programs which that account can read. Bash; needs ROOT (the repository's directory).
#
# Every function that cannot do its work ends the script with status 2 and says what to do about it.

MATRIARCH_ACCOUNT=${MATRIARCH_ACCOUNT:-matriarch}

fail_setup() {
    printf 'error: %s\n' "$1" >&2
    shift
    printf '       %s\n' "$@" >&2
    exit 2
}

say() { printf '%s\n' "$*"; }

# Runs a command whose output is worth seeing, and shows after two seconds of silence that it is alive.
# heartbeat TITLE COMMAND...; the status is the command's.
heartbeat() {
    local title=$1 status_file line='' part quiet=0 shown=0 started=$SECONDS
    shift
    status_file=$(mktemp "${TMPDIR:-/tmp}/matriarch-step.XXXXXX")
    while true; do
        if IFS= read -r -t 2 part; then
            if ((shown)); then printf '\r\033[K'; shown=0; fi
            printf '%s%s\n' "$line" "$part"
            line='' quiet=0
        elif (($? > 128)); then
            line+=$part
            quiet=$((quiet + 1))
            if [[ -t 1 ]]; then
                printf '\r\033[K  ... %s: %d s' "$title" $((SECONDS - started))
                shown=1
            elif ((quiet == 1 || quiet % 5 == 0)); then
                printf '  ... %s: %d s\n' "$title" $((SECONDS - started))
            fi
        else
            [[ -z $line$part ]] || printf '%s%s\n' "$line" "$part"
            break
        fi
    done < <(
        "$@" 2>&1 </dev/null
        echo $? >"$status_file"
    )
    if ((shown)); then printf '\r\033[K'; fi
    local status
    status=$(cat "$status_file")
    rm -f "$status_file"
    return "${status:-1}"
}

# The same for a command whose output matters only when it fails: kept in a log, its end shown on failure.
quiet_heartbeat() {
    local title=$1 log status
    shift
    log=$(mktemp "${TMPDIR:-/tmp}/matriarch-log.XXXXXX")
    heartbeat "$title" bash -c '"$@" >"$0" 2>&1' "$log" "$@"
    status=$?
    ((status == 0)) || tail -n 40 "$log" >&2
    rm -f "$log"
    return "$status"
}

# The newest PostgreSQL of Debian's layout, or the one that is on PATH.
postgres_bin() {
    if [[ -n ${MATRIARCH_PG_BIN:-} ]]; then
        printf '%s\n' "$MATRIARCH_PG_BIN"
        return
    fi
    local directory
    for directory in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5,5nr); do
        if [[ -x $directory/postgres && -x $directory/initdb ]]; then
            printf '%s\n' "$directory"
            return
        fi
    done
    if command -v initdb >/dev/null && command -v postgres >/dev/null; then
        dirname "$(command -v initdb)"
    fi
}

has_header() { [[ -e /usr/include/$1 || -e /usr/local/include/$1 ]]; }

# Each need as "package|test": the package of Debian that satisfies it, and how to see that it is there.
NEEDS_TO_BUILD=(
    'libzookeeper-mt-dev|has_header zookeeper/zookeeper.h'
    'libyaml-dev|has_header yaml.h'
    'libsqlite3-dev|has_header sqlite3.h'
    'libpq-dev|has_header postgresql/libpq-fe.h || has_header libpq-fe.h'
    'pkg-config|command -v pkg-config'
)
NEEDS_POSTGRES=('postgresql-15|[[ -n $(postgres_bin) ]]')
NEEDS_ZOOKEEPER=(
    'default-jre-headless|command -v java'
    'libzookeeper-java|[[ -e /usr/share/java/zookeeper.jar ]]'
)
NEEDS_ETCD=('etcd-server|[[ -x /usr/bin/etcd ]]')
NEEDS_CONSUL=('consul|command -v consul')
NEEDS_TO_TEST=(
    "${NEEDS_ETCD[@]}"
    "${NEEDS_CONSUL[@]}"
    'openssl|command -v openssl'
    'iproute2|command -v ip'
    'openssl|command -v openssl'
    'python3-venv|python3 -c "import venv, ensurepip"'
)

# Networks that are cut (root only).
NEEDS_TO_CUT=('iptables|PATH=$PATH:/usr/sbin command -v iptables-restore')

# Debian 11 was the last one with Consul. Its package is taken from the mirror that this machine uses already, by lists of
# packages of its own: that suite is never added to the system's sources, so nothing else can come from it.
# fetch_consul DIRECTORY: what is fetched lies there, and its removal is the caller's.
fetch_consul() {
    local place=$1 key=/usr/share/keyrings/debian-archive-keyring.gpg mirror options
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n -E -e 's/^URIs:[[:space:]]*([^[:space:]]+\/debian)\/?([[:space:]].*)?$/\1/p' \
            -e 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+\/debian)\/?[[:space:]].*$/\2/p' | head -n 1)
    [[ -n $mirror ]] || {
        echo 'no mirror of Debian is among the package sources of this machine' >&2
        return 1
    }
    mkdir -p "$place/lists/partial" "$place/archives/partial"
    echo "deb [signed-by=$key] $mirror bullseye main" >"$place/sources.list"
    options=(-q -o Dir::Etc::sourcelist="$place/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists="$place/lists" -o Dir::Cache="$place" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update && (cd "$place" && apt-get "${options[@]}" download consul)
}
# The heartbeat runs it in another shell.
export -f fetch_consul

# Installs it (root), without its service: the tests start servers of their own.
install_consul() {
    local place policy=/usr/sbin/policy-rc.d made=0 status=0
    place=$(mktemp -d "${TMPDIR:-/tmp}/matriarch-consul.XXXXXX")
    if quiet_heartbeat 'fetching consul from Debian 11' fetch_consul "$place"; then
        if [[ ! -e $policy ]]; then
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
            made=1
        fi
        quiet_heartbeat 'installing consul' apt-get -q -y install --no-install-recommends "$place"/consul_*.deb ||
            status=$?
        if ((made)); then rm -f "$policy"; fi
        if [[ -d /run/systemd/system ]]; then systemctl disable --now consul.service >/dev/null 2>&1 || true; fi
    else
        status=1
    fi
    rm -rf "$place"
    ((status == 0)) || fail_setup 'consul could not be installed (see above)' \
        'Debian 12 has no package of it: put any consul program, 1.8 or later, on PATH, then start again.'
}

# ensure_installed NEED...: installs what is missing (root), or prints the command and ends with 2.
ensure_installed() {
    local need missing=()
    for need in "$@"; do
        eval "${need#*|}" >/dev/null 2>&1 || missing+=("${need%%|*}")
    done
    ((${#missing[@]})) || return 0
    if ! command -v apt-get >/dev/null; then
        fail_setup "missing: ${missing[*]} (Debian's package names)" \
            "This system has no apt-get: install the equivalents with its own package manager, then start again."
    fi
    if ((EUID != 0)); then
        fail_setup "missing: ${missing[*]}" "Install it, then start again:" \
            "  sudo apt-get install -y ${missing[*]}" \
            "(consul: Debian 11's package, or any consul program, 1.8 or later, on PATH)"
    fi
    say "Installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    quiet_heartbeat 'apt-get update' apt-get -q update ||
        fail_setup 'apt-get update failed (see above)' 'Repair the package sources, then start again.'
    local settings=/etc/postgresql-common/createcluster.conf status=0
    if [[ " ${missing[*]} " == *' postgresql'* ]]; then
        # Debian makes and starts a server of its own when PostgreSQL is installed: not wanted here.
        quiet_heartbeat 'installing postgresql-common' apt-get -q -y install --no-install-recommends postgresql-common ||
            fail_setup 'apt-get could not install postgresql-common (see above)'
        cp -p "$settings" "$settings.matriarch-saved"
        echo 'create_main_cluster = false' >>"$settings"
    fi
    # Nor the services that other packages would start, on ports that this system may use for others.
    local policy=/usr/sbin/policy-rc.d forbids=0
    if [[ " ${missing[*]} " == *' etcd-server '* && ! -e $policy ]]; then
        forbids=1
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    local package usual=()
    for package in "${missing[@]}"; do
        if [[ $package == consul ]]; then install_consul; else usual+=("$package"); fi
    done
    missing=(${usual[@]+"${usual[@]}"})
    if ((${#missing[@]})); then
        quiet_heartbeat 'installing' apt-get -q -y install --no-install-recommends "${missing[@]}" || status=$?
    fi
    if ((forbids)); then
        rm -f "$policy"
        # It would still be started with the system.
        command -v systemctl >/dev/null && systemctl disable etcd.service >/dev/null 2>&1
    fi
    if [[ -e $settings.matriarch-saved ]]; then mv "$settings.matriarch-saved" "$settings"; fi
    ((status == 0)) ||
        fail_setup "apt-get could not install ${missing[*]} (see above)" 'Repair that, then start again.'
    for need in "$@"; do
        eval "${need#*|}" >/dev/null 2>&1 ||
            fail_setup "${need%%|*} is installed, but not usable" "This is what is looked for: ${need#*|}"
    done
}

ensure_swift() {
    if ! command -v swift >/dev/null; then
        # sudo shortens PATH: look where toolchains usually lie, and where its user has one.
        local home place
        home=$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)
        for place in /opt/swift/usr/bin /usr/local/swift/usr/bin /usr/libexec/swift/bin "$home/.local/share/swiftly/bin" \
            "$home/swift/usr/bin"; do
            if [[ -x $place/swift ]]; then
                PATH=$PATH:$place
                break
            fi
        done
    fi
    command -v swift >/dev/null ||
        fail_setup 'no swift on PATH' 'Install a Swift toolchain, 6.2 or later, and put it on PATH.'
    local version
    version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p' | head -n 1)
    local major=${version% *} minor=${version#* }
    if [[ -z $version ]] || ((major < 6 || (major == 6 && minor < 2))); then
        fail_setup "Swift ${version/ /.} is too old" 'Install Swift 6.2 or later.'
    fi
}

# The account that runs the cluster: PostgreSQL refuses root. Prints nothing; makes it when it is missing (root only).
ensure_account() {
    ((EUID == 0)) || return 0
    getent passwd "$MATRIARCH_ACCOUNT" >/dev/null && return 0
    say "Making the system account $MATRIARCH_ACCOUNT (PostgreSQL does not run as root)"
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin \
        "$MATRIARCH_ACCOUNT" ||
        fail_setup "cannot make the account $MATRIARCH_ACCOUNT" \
            'Make one, then start again with its name in MATRIARCH_ACCOUNT.'
}

# Runs a command as the ordinary account. setpriv becomes the command: the process started is the one wanted.
as_account() {
    if ((EUID == 0)); then
        setpriv --reuid="$MATRIARCH_ACCOUNT" --regid="$MATRIARCH_ACCOUNT" --init-groups -- "$@"
    else
        "$@"
    fi
}

# Puts `matriarch` and `matriarch-guard` where the account can read them: stage_programs BUILD_DIRECTORY TARGET.
stage_programs() {
    local from=$1 to=$2 program
    mkdir -p "$to"
    chmod 755 "$to"
    for program in matriarch matriarch-guard; do
        [[ -x $from/$program ]] || fail_setup "$from/$program was not built" 'See the output of the build above.'
        # A new file each time: the old one may be running.
        if ! cmp -s "$from/$program" "$to/$program"; then
            cp "$from/$program" "$to/$program.new"
            chmod 755 "$to/$program.new"
            mv "$to/$program.new" "$to/$program"
        fi
    done
    if ! as_account "$to/matriarch" version >/dev/null 2>&1; then
        # The toolchain may lie in a directory of root's: its libraries go beside the program, which looks there first.
        local library
        ldd "$from/matriarch" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | grep -v -E '^/(usr/)?lib' |
            while read -r library; do cp -L "$library" "$to/"; done
        chmod 755 "$to"/*
    fi
    local complaint
    complaint=$(as_account "$to/matriarch" version 2>&1 >/dev/null) ||
        fail_setup "the account that runs the cluster cannot start $to/matriarch" "${complaint:-no message}" \
            'Is the directory on a file system mounted noexec? TMPDIR or --dir chooses another.'
}

# A stock Patroni with what it needs for each store, from the Python package index, kept between runs in a virtual
# environment that the account can use: ensure_patroni STAGE. Sets `venv`; its status tells whether it is there.
# STAGE is a directory for it where the account cannot enter the repository.
ensure_patroni() {
    local python='' candidate
    # A Python in somebody's home is of no use to the account.
    for candidate in /usr/bin/python3 "$(command -v python3)"; do
        if as_account "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            python=$candidate
            break
        fi
    done
    [[ -n $python ]] || {
        say 'The account that runs the cluster has no usable python3 with venv' >&2
        return 1
    }
    venv=$ROOT/.build/patroni
    usable_patroni && return
    as_account test -x "$ROOT" || venv=$1/patroni
    say 'Installing Patroni into a virtual environment' >&2
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    quiet_heartbeat 'making a virtual environment' "$python" -m venv "$venv" >&2 &&
        quiet_heartbeat 'installing patroni' "$venv/bin/pip" --disable-pip-version-check install -q \
            'patroni[zookeeper,etcd3,consul,psycopg2-binary]==4.1.*' >&2 && usable_patroni || {
        rm -rf "$venv"
        return 1
    }
}

usable_patroni() {
    as_account "$venv/bin/python3" -c 'import patroni, kazoo, psycopg2, etcd, consul' >/dev/null 2>&1
}

# Whether something listens on a port of 127.0.0.1.
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
