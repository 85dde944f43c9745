#!/usr/bin/env bash
# CPython without its global lock (PEP 703) in a folder, for the tests to run on:
#
#     extra/build_freethreaded.sh [FOLDER [VERSION [SUITE]]]
#     PYTHON=FOLDER/bin/python3 make clean unit integration
#
# The source is the one that Debian has of VERSION, by default 3.13, in SUITE, by default trixie, as
# CPython's authors released it, from the mirror that this machine's apt uses, configured with
# --disable-gil. FOLDER lies outside the project, by default in the user's cache; it takes about 0.3
# gigabytes, and `rm -r` removes all of it. Compiling takes five to ten minutes of one processor:
# JOBS=4 uses four.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
version=${2:-3.13}
suite=${3:-trixie}
folder=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/amqp-freethreaded-$version}")
package=python$version
# Without these, CPython builds as well, but has no ssl, no ctypes, no zlib: no pip.
libraries=(libssl-dev libffi-dev zlib1g-dev libbz2-dev liblzma-dev libsqlite3-dev)

die() {
    echo "build_freethreaded: $*" >&2
    exit 1
}

free_threaded() {
    "$folder/bin/python3" -c 'import sys, ssl, pip; sys.exit(sys._is_gil_enabled())' 2>/dev/null
}

case "$folder/" in "${here%/*}"/*) die "$folder is inside the project" ;; esac
if free_threaded; then
    echo "$folder is ready"
    exit
fi
[ ! -e "$folder" ] || [ -z "$(ls -A "$folder")" ] || die "$folder is not empty; remove it first"

# What is missing is a package that apt has to install, as root.
missing=()
for library in "${libraries[@]}" dpkg-dev gcc make pkg-config xz-utils; do
    dpkg-query -W -f '${Status}\n' "$library" 2>/dev/null | grep -q ' installed$' || missing+=("$library")
done
if [ ${#missing[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || die "please install, as root: apt-get install --no-install-recommends ${missing[*]}"
    "$here/bootstrap.sh" --install "${missing[@]}"
fi

# shellcheck disable=SC2016 # apt's variables
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 2>/dev/null | sed -n 1p)
[ -n "$mirror" ] || die "apt on this machine knows no mirror of Debian's"

# An apt of its own, that knows sources only, and leaves this machine's lists alone.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/source" "$work/tree"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
    >"$work/sources.list"
chmod -R a+rX "$work"
apt=(apt-get -qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache::SrcPkgCache=" -o "Dir::Cache::PkgCache="
    -o APT::Sandbox::User=root)
"${apt[@]}" update
(cd "$work/source" && "${apt[@]}" source --download-only "$package")

# Debian's patches move pip and the libraries to places of Debian's: left out.
tar -xf "$work"/source/"${package}"_*.orig.tar.[gx]z -C "$work/tree" --strip-components=1
cd "$work/tree"
echo "building $package without its lock in $folder" >&2
./configure -q --disable-gil --prefix="$folder" --with-ensurepip=install >"$work/configure.log" 2>&1 ||
    { tail -n 20 "$work/configure.log" >&2; die 'configure failed'; }
nice -n 19 make -s -j"${JOBS:-1}" >"$work/make.log" 2>&1 ||
    { tail -n 20 "$work/make.log" >&2; die 'make failed'; }
nice -n 19 make -s install >"$work/install.log" 2>&1 ||
    { tail -n 20 "$work/install.log" >&2; die 'make install failed'; }
rm -rf "$folder"/lib/python3*/test
free_threaded || die 'what was built is not as it should be: no ssl, no pip, or a lock'
echo "PYTHON=$folder/bin/python3"
