#!/usr/bin/env bash
# Install what this machine lacks of: python (venv), compiler (C compiler, Python's headers), broker,
# debootstrap.
#
#     extra/bootstrap.sh WHAT...
#
# What is there is left alone. The rest comes from Debian's or Ubuntu's packages, if this is root or
# sudo asks no password. No service is started by it, and RabbitMQ's not at the next boot either: the
# tests start nodes of their own.
set -euo pipefail

PYTHON=${PYTHON:-python3}
missing=()

need_python() {
    command -v "$PYTHON" >/dev/null || { missing+=(python3 python3-venv); return; }
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "$PYTHON is older than Python 3.10; set PYTHON to a newer one"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
}

need_compiler() {
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    "$PYTHON" - <<'END' || missing+=(python3-dev)
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')))
END
}

need_broker() {
    [ -z "${AMQP_TEST_RABBITMQ_HOME:-}${AMQP_TEST_RABBITMQ_ROOT:-}" ] || return 0
    compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*' >/dev/null || missing+=(rabbitmq-server)
}

need_debootstrap() {
    command -v debootstrap >/dev/null || missing+=(debootstrap debian-archive-keyring)
}

die() {
    echo "bootstrap: $*" >&2
    exit 1
}

# As root, with the packages as arguments. dpkg asks policy-rc.d before it starts a service: 101 is
# no. An administrator's own policy that says yes stays where it is; ours is laid over it, in a mount
# namespace that ends with apt.
install_packages() {
    local policy=/usr/sbin/policy-rc.d answer=0 ours
    local install=(apt-get install -qq -y --no-install-recommends "$@")
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    if [ -e "$policy" ]; then
        "$policy" rabbitmq-server start >/dev/null 2>&1 || answer=$?
        if [ "$answer" = 101 ]; then
            "${install[@]}"
        else
            ours=$(mktemp)
            trap "rm -f '$ours'" EXIT
            refuse_all "$ours"
            unshare --mount sh -c 'mount --bind "$0" "$1" && shift && exec "$@"' \
                "$ours" "$policy" "${install[@]}"
        fi
    else
        trap "rm -f '$policy'" EXIT
        refuse_all "$policy"
        "${install[@]}"
    fi
    case " $* " in *" rabbitmq-server "*)
        [ ! -d /run/systemd/system ] || systemctl disable -q rabbitmq-server epmd.service epmd.socket || :
    esac
}

refuse_all() {
    printf '#!/bin/sh\nexit 101\n' >"$1"
    chmod 755 "$1"
}

if [ "${1:-}" = --install ]; then
    shift
    install_packages "$@"
    exit
fi

for what in "$@"; do
    "need_$what"
done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || die "please install: ${missing[*]}"
echo "installing ${missing[*]}" >&2
if [ "$(id -u)" = 0 ]; then
    "$BASH" "$0" --install "${missing[@]}" </dev/null >&2
elif sudo -n true 2>/dev/null; then
    sudo -n "$BASH" "$0" --install "${missing[@]}" </dev/null >&2
else
    die "please install, as root: apt-get install --no-install-recommends ${missing[*]}"
fi
