# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154
# What the test server scripts share. Sourced with $me set to the script's name; needs `set -eu`.

say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() { say "$*"; exit 1; }

# Where templates and downloads are kept between runs.
cache_dir=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/rehome-tests

# need_packages PROGRAM PACKAGE...   installs the packages when PROGRAM is missing; their services stay off
need_packages() {
    need_program=$1
    shift
    if command -v "$need_program" > /dev/null 2>&1; then return 0; fi
    need_sudo=
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2> /dev/null ||
            die "'$need_program' is missing and can't be installed without root or sudo; run: apt-get install --no-install-recommends $*"
        need_sudo=sudo
    fi
    say "installing $*"
    need_policy=/usr/sbin/policy-rc.d
    need_ours=no
    if [ ! -e "$need_policy" ]; then
        need_ours=yes
        printf '#!/bin/sh\nexit 101\n' | $need_sudo tee "$need_policy" > /dev/null
        $need_sudo chmod 755 "$need_policy"
    fi
    need_rc=0
    need_apt="$need_sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
    $need_apt install -y --no-install-recommends "$@" > /dev/null 2>&1 ||
        { $need_apt update > /dev/null && $need_apt install -y --no-install-recommends "$@" >&2; } || need_rc=$?
    if [ "$need_ours" = yes ]; then $need_sudo rm -f "$need_policy"; fi
    [ "$need_rc" = 0 ] || die "installing $* failed"
    command -v "$need_program" > /dev/null 2>&1 || die "'$need_program' is still missing after installing $*"
}

# free_port [FILE...]   a TCP port of 127.0.0.1 that was free a moment ago, and none of those in the files; below those that
# the system gives to outgoing connections, which would take it before the server does.
# shellcheck disable=SC2120 # files are for those who need several ports
free_port() {
    python3 - "$@" << 'PYTHON'
import random, socket, sys
taken = {int(open(name).read()) for name in sys.argv[1:]}
while True:
    port = random.randrange(10000, 32768)
    if port in taken:
        continue
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
        print(port)
        break
    except OSError:
        pass
PYTHON
}

# pick_user NAME...   the account servers run as: "" when we aren't root, else the first that exists
pick_user() {
    [ "$(id -u)" = 0 ] || return 0
    for pick_name in "$@" nobody; do
        if id "$pick_name" > /dev/null 2>&1; then
            echo "$pick_name"
            return 0
        fi
    done
    die "no account to run the server as"
}

# as_user USER COMMAND...   runs it as USER ("" = as ourselves), for good
as_user() {
    as_name=$1
    shift
    if [ -n "$as_name" ]; then
        setpriv --reuid="$as_name" --regid="$(id -g "$as_name")" --clear-groups -- "$@"
    else
        "$@"
    fi
}

# alive PID
alive() { [ -n "${1:-}" ] && kill -0 "$1" 2> /dev/null; }

# wait_gone PID TENTHS   0 when the process has ended in time
wait_gone() {
    wait_left=$2
    while alive "$1"; do
        [ "$wait_left" -gt 0 ] || return 1
        wait_left=$((wait_left - 1))
        sleep 0.1
    done
}
