#!/bin/sh
# Runs the core's C tests as arm64 code under qemu, so that the NEON kernels are tested on any
# Linux machine. Without the cross compiler or qemu it says what to install and exits 3. Any
# failure makes it exit 1, after all tests have run.
#
# test_mask is linked with the mask units alone, every other test with the whole core. Without
# an arm64 zlib the units that include zlib.h, and their own tests, are left out by name.
set -u

compiler=${CC_AARCH64:-aarch64-linux-gnu-gcc}
qemu=${QEMU_AARCH64:-qemu-aarch64}
flags="-std=c11 -O2 -g -Wall -Wextra -Werror -static -Icsrc/core -Itests/core"

missing=
if ! command -v "$compiler" >/dev/null 2>&1; then
    missing="$missing gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
fi
if ! command -v "$qemu" >/dev/null 2>&1; then
    missing="$missing qemu-user"
fi
if [ -n "$missing" ]; then
    echo "arm64 tests not run: install the Debian packages$missing" >&2
    exit 3
fi

cd "$(dirname "$0")/../.." || exit 1
build=$(mktemp -d) || exit 1
trap 'rm -rf "$build"' EXIT
trap 'exit 1' HUP INT TERM

# Flags are lists of words; paths in this tree have no blanks.
# shellcheck disable=SC2086
cross() {
    "$compiler" $flags "$@"
}

# Linked, not only included: the cross compiler may see the host's headers.
libraries=
echo '#include <zlib.h>
int main(void) { return zlibVersion() == 0; }' >"$build/has_zlib.c"
if cross "$build/has_zlib.c" -lz -o "$build/has_zlib" 2>/dev/null; then
    libraries=-lz
fi

failed=0
left_out=
core_objects=
mask_objects=
for source in csrc/core/*.c; do
    unit=$(basename "$source" .c)
    if [ -z "$libraries" ] && grep -q 'include.*zlib\.h' "$source"; then
        echo "$unit: left out, no zlib for arm64 (Debian package zlib1g-dev:arm64)"
        left_out="$left_out $unit "
    elif cross -c "$source" -o "$build/$unit.o"; then
        core_objects="$core_objects $build/$unit.o"
        case $unit in
        mask*) mask_objects="$mask_objects $build/$unit.o" ;;
        esac
    else
        echo "$unit: does not compile"
        failed=1
    fi
done

for source in tests/core/test_*.c; do
    name=$(basename "$source" .c)
    case $left_out in
    *" ${name#test_} "*) continue ;;
    esac
    objects=$core_objects
    if [ "$name" = test_mask ]; then
        objects=$mask_objects
    fi
    # shellcheck disable=SC2086
    if ! cross "$source" $objects $libraries -o "$build/$name"; then
        echo "$name: does not build"
        failed=1
    elif "$qemu" "$build/$name" >"$build/output" 2>&1; then
        sed "s/^/$name: /" "$build/output"
    else
        sed "s/^/$name: /" "$build/output"
        echo "$name: FAILED"
        failed=1
    fi
done
exit "$failed"
