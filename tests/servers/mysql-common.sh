# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# The body of tests/servers/mariadb and tests/servers/mysql. Sourced after lib.sh, with $me and $here; they define
#   prepare                gets the programs or dies; sets $user, the account to run as ("" = as ourselves)
#   server WORD...         runs the server's program
#   server_words           the words that start it, one a line
#   server_options TLS     its own options, one a line; TLS is yes or no
#   template_name          of the folder that keeps an empty data folder for what was asked for ($extra)
#   make_data DIR LOG      makes that folder
#   clean_accounts         prints SQL that leaves no account but root
#   own_option WORD        takes an option that only this server has; 1 when it is none
#   own_start              what has to be done before the first start
#   own_accounts           prints SQL for what only this server has
#   own_verb WORD...       does $verb, where only this server has it; 1 when it is none

usage() { die "usage: tests/servers/$me have|start|stop|kill|halt|restart|sql DIR [OPTION...]"; }

# As root over the socket; every server here understands this client.
admin() { mariadb --no-defaults -uroot --socket="$MYSQL_SOCKET" "$@"; }

# The template: an empty data folder, made once per version of the server.
make_template() {
    template=$cache_dir/$(template_name)
    [ ! -d "$template/mysql" ] || return 0
    mkdir -p "$cache_dir"
    making=$(mktemp -d /tmp/rh-tpl-XXXXXX)
    [ -z "$user" ] || chown "$user" "$making"
    make_data "$making/d" "$making/log" || die "making the data folder failed: $(tail -n 3 "$making/log")"
    rm -rf "$template.$$"
    cp -a --sparse=always "$making/d" "$template.$$"
    rm -rf "$making"
    mv -T "$template.$$" "$template" 2> /dev/null || rm -rf "$template.$$" # somebody else was quicker
}

# Where data and socket go: DIR, unless the server's user can't get there or the socket's path is too long.
choose_run() {
    run=$dir/run
    if [ ${#run} -gt 90 ] || { [ -n "$user" ] && ! as_user "$user" test -x "$dir"; }; then
        real=$(mktemp -d /tmp/rh-db-XXXXXX)
        ln -sfn "$real" "$dir/run"
        run=$real
    else
        mkdir -p "$run"
    fi
    chmod 711 "$run"
    [ -z "$user" ] || chown "$user" "$run"
}

# The server's own copies of certificate and key.
copy_tls() {
    mkdir -p "$run/tls"
    cp "$tls/ca.pem" "$run/tls/ca.pem"
    cp "$tls/$cert.pem" "$run/tls/cert.pem"
    cp "$tls/$cert.key" "$run/tls/key.pem"
    chmod 600 "$run/tls/key.pem"
    [ -z "$user" ] || chown -R "$user" "$run/tls"
}

# Starts what DIR/args describes and waits for an answer.
launch() {
    # shellcheck source=/dev/null
    . "$dir/env"
    run=$(dirname "$MYSQL_SOCKET")
    : > "$run/err.log"
    rm -f "$MYSQL_SOCKET" "$MYSQL_SOCKET.lock" # of one that was killed
    [ -z "$user" ] || chown "$user" "$run/err.log"
    # A shell that stayed as parent would hold our caller's pipes open, so everything here execs.
    (
        exec > /dev/null 2>&1 < /dev/null
        # shellcheck disable=SC2046 # one option a line, no blanks in them
        set -- setsid $(server_words) --no-defaults $(cat "$dir/args")
        if [ -n "$user" ]; then
            set -- setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- "$@"
        fi
        exec "$@"
    ) &
    pid=$!
    tries=600
    until admin -e 'select 1' > /dev/null 2>&1; do
        tries=$((tries - 1))
        if [ $tries = 0 ] || ! alive $pid; then
            kill -9 $pid 2> /dev/null || :
            die "the server doesn't come up: $(tail -n 5 "$run/err.log")"
        fi
        sleep 0.05
    done
    sed -i '/^MYSQL_PID=/d' "$dir/env"
    echo "MYSQL_PID=$(cat "$run/pid")" >> "$dir/env"
}

make_accounts() {
    need="REQUIRE SSL"
    [ "$with_tls" = yes ] || need="REQUIRE NONE"
    password=$(cat "$dir/password")
    admin << SQL
$(clean_accounts)
CREATE USER vault@'%' IDENTIFIED BY '$password' $need;
CREATE USER vaultx@'%' IDENTIFIED BY '$password' REQUIRE X509;
GRANT ALL ON vault.* TO vault@'%';
GRANT ALL ON vault.* TO vaultx@'%';
$(own_accounts)
SQL
}

# The options of a server in $run on $port.
write_args() {
    printf '%s\n' --datadir="$data" --tmpdir="$run/tmp" --socket="$run/s" --pid-file="$run/pid" --port="$port" \
        --bind-address=127.0.0.1 --skip-name-resolve --skip-log-bin --log-error="$run/err.log" \
        --innodb-buffer-pool-size=128M
    if [ "$with_tls" = yes ]; then
        printf '%s\n' --ssl-ca="$run/tls/ca.pem" --ssl-cert="$run/tls/cert.pem" --ssl-key="$run/tls/key.pem"
    fi
    server_options "$with_tls"
    for option in $extra; do printf '%s\n' "$option"; done
}

start() {
    [ ! -e "$dir/env" ] || die "$dir/env is there already; stop that server first"
    with_tls=yes cert=server data='' extra=''
    for option in "$@"; do
        case $option in
        --no-tls) with_tls=no ;;
        --cert=*) cert=${option#--cert=} ;;
        --data=*) data=${option#--data=} ;;
        --option=*) extra="$extra --${option#--option=}" ;;
        *) own_option "$option" || die "unknown option '$option'" ;;
        esac
    done
    make_template
    choose_run
    tls=$dir/tls
    "$here/tls" "$tls"
    [ -f "$tls/$cert.pem" ] || die "no certificate '$cert'"
    copy_tls
    data=${data:-$run/data}
    cp -a --sparse=always "$template" "$data"
    # a folder of its own for temporary tables: a starting server deletes what it finds there
    mkdir -p "$run/tmp"
    [ -z "$user" ] || chown "$user" "$run/tmp"
    # shellcheck disable=SC2119 # one port is enough
    port=$(free_port)
    (umask 077 && openssl rand -hex 16 > "$dir/password")
    write_args > "$dir/args"
    cat > "$dir/env" << ENV
MYSQL_SERVER=$me
MYSQL_HOST=127.0.0.1
MYSQL_PORT=$port
MYSQL_SOCKET=$run/s
MYSQL_DATA=$data
MYSQL_LOG=$run/err.log
MYSQL_CA=$tls/ca.pem
MYSQL_TLS=$tls
MYSQL_USER=vault
MYSQL_X509_USER=vaultx
MYSQL_ROOT=root
MYSQL_PASSWORD_FILE=$dir/password
ENV
    own_start
    launch
    make_accounts
}

# Ends the server with the given signal, if it runs.
end() {
    MYSQL_PID=''
    # shellcheck source=/dev/null
    . "$dir/env"
    [ -n "$MYSQL_PID" ] && alive "$MYSQL_PID" || return 0
    # One that is just dying has no words any more.
    [ -n "$(tr -d '\0' < "/proc/$MYSQL_PID/cmdline" 2> /dev/null)" ] || wait_gone "$MYSQL_PID" 600 || :
    # The number may belong to another process after a restart of the machine.
    grep -q "$MYSQL_SOCKET" "/proc/$MYSQL_PID/cmdline" 2> /dev/null || return 0
    kill "-$1" "$MYSQL_PID"
    wait_gone "$MYSQL_PID" 600 || die "the server (process $MYSQL_PID) doesn't end"
}

[ $# -ge 1 ] || usage
verb=$1
shift
if [ "$verb" = have ]; then
    prepare
    exit 0
fi
[ $# -ge 1 ] || usage
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift
prepare
case $verb in
start) start "$@" ;;
stop)
    [ -e "$dir/env" ] || exit 0
    end TERM
    rm -rf "$MYSQL_DATA" "$(dirname "$MYSQL_SOCKET")"
    rm -rf "$dir/run" "$dir/env" "$dir/args" "$dir/password" "$dir/tls"
    ;;
kill) end KILL ;;
halt) end TERM ;;
restart)
    end TERM
    launch
    ;;
sql)
    # shellcheck source=/dev/null
    . "$dir/env"
    if [ $# -gt 0 ]; then
        admin -N -B -e "$*"
    else
        admin -N -B
    fi
    ;;
*) own_verb "$@" || usage ;;
esac
