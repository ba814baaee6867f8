#!/usr/bin/env bash
# Runs a command in a newer Debian than the machine's, for the CPythons that the machine has no packages of:
#     tests/newer_debian.sh DIRECTORY COMMAND…
# That Debian is in DIRECTORY, where debootstrap puts it if it is not there yet: what `make test-python` needs, and
# the interpreters named in PYTHONS. It sees this checkout at its own place, which the command runs in, the machine's
# devices and network. Needs root, debootstrap and unshare. SUITE and MIRROR say which Debian and where from.
set -euo pipefail

suite=${SUITE:-forky}
mirror=${MIRROR:-http://deb.debian.org/debian}
pythons=${PYTHONS:-python3.14 python3.15}
root=$(realpath -m "$1")
checkout=$(realpath "$(dirname "$0")/..")
shift

packages=gcc,libc6-dev,zlib1g-dev,make,git,openssl,procps,redis-server
for python in $pythons; do
    packages+=,$python,$python-dev,$python-venv
done

install_debian() {
    rm -rf "$root"
    debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" \
        /usr/share/debootstrap/scripts/sid >"$root.log"
}

if [ ! -e "$root/complete" ]; then
    # Twice, as a mirror may change in the middle.
    install_debian || install_debian || { tail "$root.log" >&2; exit 1; }
    # Names, and certificates that the machine's network may add to those of the world.
    cp /etc/hosts /etc/resolv.conf "$root/etc/"
    install -D /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    mkdir -p "$root$checkout"
    touch "$root/complete"
fi

# What is mounted, and what is started and left behind, ends with the command. The shell waits for orphans, as process 1.
exec unshare --mount --pid --fork --kill-child bash -euc '
    root=$1 checkout=$2
    shift 2
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind "$checkout" "$root$checkout"
    chroot "$root" env --chdir="$checkout" PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
' bash "$root" "$checkout" "$@"
