#!/bin/sh
# Runs the core's C tests and the fuzz corpus as programs of other machines, under qemu: arm64 for
# the NEON kernels, 32-bit ARM for a small size_t and 64-bit lengths that do not fit it, s390x for
# big-endian memory. Every program is static, and linked with that architecture's zlib.
#
# run_architectures.sh DIRECTORY [ARCHITECTURE …]   (Debian's names: arm64 armhf s390x)
#
# Without a cross compiler, qemu or zlib it says what is missing and exits 3. A failure makes it
# exit 1, after all tests of all architectures have run.
set -u

here=$(cd "$(dirname "$0")" && pwd) || exit 1
mkdir -p "$1" && build=$(cd "$1" && pwd) || exit 1
shift
[ $# -gt 0 ] || set -- arm64 armhf s390x
cd "$here/../.." || exit 1

warnings="-Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wvla -Wundef -Wpointer-arith -Werror"
flags="-std=c11 -O2 -g $warnings -static -Icsrc/core -Itests/core"

missing() {
    echo "$architecture: not run: $1" >&2
    exit 3
}

# Sets what differs: the prefix of the compiler's name, and qemu's name for the machine.
describe() {
    case $1 in
    arm64) triplet=aarch64-linux-gnu machine=aarch64 ;;
    armhf) triplet=arm-linux-gnueabihf machine=arm ;;
    s390x) triplet=s390x-linux-gnu machine=s390x ;;
    *) missing "no such architecture" ;;
    esac
    compiler=$triplet-gcc
    qemu=qemu-$machine
    packages=
    command -v "$compiler" >/dev/null 2>&1 ||
        packages="gcc-$triplet libc6-dev-$1-cross"
    command -v "$qemu" >/dev/null 2>&1 || packages="$packages qemu-user"
    [ -z "$packages" ] || missing "install the Debian packages $packages"
}

# The static library out of Debian's package of that architecture. apt's own directories and
# dpkg's list of architectures stay as they are. An update that fails in part may still have the
# package: the link decides.
fetch_zlib() {
    state=$directory/apt
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    apt_options="-qq -o APT::Architecture=$architecture -o APT::Architectures=$architecture \
        -o Dir::State=$state -o Dir::State::status=/dev/null -o Dir::Cache=$state/cache"
    # shellcheck disable=SC2086
    (apt-get $apt_options update; cd "$state" && apt-get $apt_options download zlib1g-dev) \
        >"$directory/zlib.log" 2>&1
    dpkg -x "$state"/zlib1g-dev_*.deb "$directory/zlib" >>"$directory/zlib.log" 2>&1
    rm -rf "$state"
}

has_zlib() {
    echo '#include <zlib.h>
    int main(void) { return zlibVersion() == 0; }' >"$directory/has_zlib.c"
    # shellcheck disable=SC2086
    "$compiler" $flags $zlib "$directory/has_zlib.c" -lz -o "$directory/has_zlib" 2>/dev/null
}

# Finds the library where the cross compiler looks by itself, or where this script put it.
find_zlib() {
    zlib=
    has_zlib && return
    zlib="-idirafter $directory/zlib/usr/include -idirafter $directory/zlib/usr/include/$triplet \
        -L$directory/zlib/usr/lib/$triplet"
    has_zlib && return
    fetch_zlib
    has_zlib || missing "no static zlib for it, and none from Debian: see $directory/zlib.log"
}

compile_core() {
    core=
    for source in csrc/core/*.c; do
        object=$directory/$(basename "$source" .c).o
        # shellcheck disable=SC2086
        "$compiler" $flags $zlib -c "$source" -o "$object" || failed=1
        core="$core $object"
    done
}

# run NAME ARGUMENTS SOURCES…: builds the program and runs it.
run() {
    name=$1 arguments=$2
    shift 2
    # shellcheck disable=SC2086
    if ! "$compiler" $flags $zlib "$@" $core -lz -o "$directory/$name"; then
        echo "$architecture $name: does not build"
        failed=1
    elif "$qemu" "$directory/$name" $arguments >"$directory/$name.log" 2>&1; then
        echo "$architecture $name: $(tail -n 1 "$directory/$name.log")"
    else
        tail -n 20 "$directory/$name.log"
        echo "$architecture $name: FAILED"
        failed=1
    fi
}

failed=0
for architecture in "$@"; do
    describe "$architecture"
    directory=$build/$architecture
    mkdir -p "$directory"
    find_zlib
    compile_core
    for source in tests/core/test_*.c; do
        run "$(basename "$source" .c)" "" "$source"
    done
    for source in tests/fuzz/fuzz_*.c; do
        target=$(basename "$source" .c)
        run "$target" "tests/fuzz/corpus/${target#fuzz_}" \
            "$source" tests/fuzz/reference.c tests/fuzz/replay.c
    done
done
exit "$failed"
