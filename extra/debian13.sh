#!/usr/bin/env bash
# Debian 13 in a folder, with RabbitMQ 4 in it, for the integration tests to start nodes from:
#
#     extra/debian13.sh [FOLDER [MIRROR]]
#     AMQP_TEST_RABBITMQ_ROOT=FOLDER make integration
#
# Needs root, for the chroot. FOLDER lies outside the project, by default in the user's cache; it
# takes about half a gigabyte, and `rm -r` removes all of it. MIRROR is by default the one that this
# machine's apt uses, if it is Debian's, else debootstrap's own. Nothing is started in the folder.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/amqp-rabbitmq-4}")
mirror=${2:-}

die() {
    echo "debian13: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || die 'must be root'
case "$folder/" in "${here%/*}"/*) die "$folder is inside the project" ;; esac
if compgen -G "$folder/usr/lib/rabbitmq/lib/rabbitmq_server-*" >/dev/null && [ ! -d "$folder/debootstrap" ]; then
    echo "$folder is ready"
    exit
fi
[ ! -e "$folder" ] || [ -z "$(ls -A "$folder")" ] || die "$folder is not empty; remove it first"

"$here/bootstrap.sh" debootstrap
if [ -z "$mirror" ]; then
    # shellcheck disable=SC2016 # apt's variables
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 2>/dev/null | sed -n 1p)
fi

mkdir -p "$folder"
debootstrap --foreign --variant=minbase --include=rabbitmq-server trixie "$folder" ${mirror:+"$mirror"}
# Before anything is configured: what would start a service is told not to.
printf '#!/bin/sh\nexit 101\n' >"$folder/usr/sbin/policy-rc.d"
chmod 755 "$folder/usr/sbin/policy-rc.d"
# /proc in a mount namespace that ends with the command: nothing stays mounted.
# shellcheck disable=SC2016 # expanded by the inner shell
unshare --mount sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" /debootstrap/debootstrap --second-stage' \
    "$folder"
rm -rf "$folder"/var/cache/apt/archives/*.deb
echo "AMQP_TEST_RABBITMQ_ROOT=$folder"
