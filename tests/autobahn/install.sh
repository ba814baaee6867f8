#!/bin/sh
# Make a private environment for the Autobahn WebSocket test suite.
#
#     tests/autobahn/install.sh DIR
#
# The suite (autobahntestsuite on PyPI) runs on Python 2.7 only. This script
# looks for a Python 2.7, in this order:
#
#   1. the program that AUTOBAHN_PYTHON names (nothing else is tried then),
#   2. python2.7 on PATH,
#   3. the 2.7 versions that pyenv has installed.
#
# It makes an environment in DIR/env and installs the suite there, at fixed
# versions. Afterwards DIR/env/bin/wstest is the suite's program. A second run
# with the same DIR and the same Python does nothing.
#
# Needed besides Python 2.7: a Python 3 with the venv module (PYTHON3 names
# another than python3), PyPI, and, for one small package that PyPI has as
# source only, a C compiler and the headers of Python 2.7.
#
# Exit status: 0 the environment is there, 2 wrong usage, 3 no Python 2.7 was
# found, 1 anything else.

set -u

# Settings meant for another Python, or for building another extension (flags
# of a sanitizer, for one), would break this one.
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP CFLAGS CPPFLAGS LDFLAGS LD_PRELOAD

say() { printf '%s\n' "autobahn install: $*"; }
fail() { say "$*" >&2; exit 1; }

if [ $# -ne 1 ] || [ -z "$1" ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
case $1 in
    -*) echo "usage: $0 DIR" >&2; exit 2 ;;
esac

# What the suite needs to run as a fuzzing client: the last versions that
# still support Python 2.7, or the ones the suite asks for. What only its
# other modes import (klein, Werkzeug, ujson) is left out, and so pip is
# told not to follow dependencies.
PACKAGES="
autobahntestsuite==0.8.2
autobahn==0.10.9
txaio==2.1.0
six==1.17.0
Twisted==20.3.0
zope.interface==5.4.0
constantly==15.1.0
incremental==22.10.0
Automat==22.10.0
hyperlink==21.0.0
idna==2.10
typing==3.10.0.0
attrs==21.4.0
PyHamcrest==1.9.0
pyOpenSSL==21.0.0
cryptography==3.3.2
cffi==1.15.1
pycparser==2.21
enum34==1.1.10
ipaddress==1.0.23
service-identity==21.1.0
pyasn1==0.5.1
pyasn1-modules==0.3.0
Jinja2==2.11.3
MarkupSafe==1.1.1
unittest2==1.1.0
traceback2==1.4.0
linecache2==1.0.0
"
# Masking and UTF-8 validation in C. Without it the suite itself is so slow
# that the large-message cases (9.*) run into their own time limits. This one
# is compiled; Cython is named because the build asks for no version.
COMPILED="wsaccel==0.6.6"
CYTHON="Cython==3.0.12"
VIRTUALENV="virtualenv==20.21.1"

# True when $1 is a Python 2.7 that starts. Being on PATH is not enough:
# pyenv puts a python2.7 there that refuses to run unless 2.7 was selected.
is_python27() {
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' >/dev/null 2>&1
}

find_python27() {
    if [ -n "${AUTOBAHN_PYTHON:-}" ]; then
        if is_python27 "$AUTOBAHN_PYTHON"; then
            echo "$AUTOBAHN_PYTHON"
            return 0
        fi
        say "AUTOBAHN_PYTHON=$AUTOBAHN_PYTHON is not a Python 2.7 that runs" >&2
        return 1
    fi
    if is_python27 python2.7; then
        command -v python2.7
        return 0
    fi
    if command -v pyenv >/dev/null 2>&1; then
        for candidate in "$(pyenv root)"/versions/2.7*/bin/python; do
            if is_python27 "$candidate"; then
                echo "$candidate"
                return 0
            fi
        done
    fi
    return 1
}

if ! python27=$(find_python27); then
    say "no Python 2.7: the Autobahn test suite runs on nothing newer." >&2
    say "Install one (for example 'pyenv install 2.7.18', or python2.7 and" >&2
    say "python2.7-dev where the system has them), or name one in AUTOBAHN_PYTHON." >&2
    exit 3
fi
# Where it really is: a relative name would lose its meaning below.
python27=$("$python27" -c 'import sys; print(sys.executable)') || fail "$python27 does not start"

mkdir -p "$1" || fail "cannot make the directory $1"
dir=$(cd "$1" && pwd) || fail "cannot enter the directory $1"
env=$dir/env
maker=$dir/maker
log=$dir/install.log
stamp=$dir/installed

# The environment is taken as it is when it was finished by the same list of
# packages and the same Python.
wanted=$(printf '%s\n' "$python27" "$dir" $PACKAGES $COMPILED)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -x "$env/bin/wstest" ]; then
    say "already there: $env/bin/wstest"
    exit 0
fi

python3=${PYTHON3:-python3}
"$python3" -c 'import sys; sys.exit(sys.version_info < (3, 7))' >/dev/null 2>&1 ||
    fail "no Python 3.7 or newer as '$python3' (name one in PYTHON3): it makes the environment"
"$python3" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
    fail "'$python3' has no venv module with pip (on Debian: the package python3-venv)"
"$python27" -c 'import ssl, zlib, sqlite3' >/dev/null 2>&1 ||
    fail "$python27 was built without ssl, zlib or sqlite3: $("$python27" -c 'import ssl, zlib, sqlite3' 2>&1 | tail -n 1)"
include=$("$python27" -c 'from distutils.sysconfig import get_python_inc as i; print(i())' 2>/dev/null)
[ -f "$include/Python.h" ] ||
    fail "no Python.h for $python27 (on Debian: the package python2.7-dev): wsaccel is compiled"
command -v "${CC:-cc}" >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 ||
    fail "no C compiler (cc or gcc): wsaccel is compiled"

# Run one step, its output in the log; show the end of the log when it fails.
step() {
    what=$1
    shift
    say "$what"
    printf '\n== %s: %s\n' "$what" "$*" >>"$log"
    if ! "$@" >>"$log" 2>&1; then
        tail -n 25 "$log" >&2
        fail "failed: $what (everything it said is in $log)"
    fi
}

# Nothing is removed that an earlier run of this script did not make.
if [ -e "$env" ] && [ ! -f "$log" ]; then
    fail "$env is there and is not this script's: give another directory"
fi
rm -rf "$env" "$maker" "$stamp"
: >"$log" || fail "cannot write $log"

# pip and its packages remind on every start that Python 2 is old.
PYTHONWARNINGS=ignore
PIP_DISABLE_PIP_VERSION_CHECK=1
PIP_NO_PYTHON_VERSION_WARNING=1
export PYTHONWARNINGS PIP_DISABLE_PIP_VERSION_CHECK PIP_NO_PYTHON_VERSION_WARNING

say "Python 2.7 is $python27"
step "making a Python 3 environment for virtualenv" "$python3" -m venv "$maker"
step "installing $VIRTUALENV" "$maker/bin/python" -m pip install -q "$VIRTUALENV"
step "making the Python 2.7 environment" \
    "$maker/bin/python" -m virtualenv -q --no-download -p "$python27" "$env"
step "installing the test suite" \
    "$env/bin/python" -m pip install --no-deps $PACKAGES
step "installing $CYTHON, which wsaccel is built with" \
    "$env/bin/python" -m pip install --no-deps "$CYTHON"
step "compiling $COMPILED" \
    "$env/bin/python" -m pip install --no-deps --no-build-isolation "$COMPILED"
step "starting the test suite once" "$env/bin/wstest" --autobahnversion
step "checking that the C parts are in use" "$env/bin/python" -c '
import wsaccel.utf8validator, wsaccel.xormask
from autobahn.websocket import utf8validator, xormasker
assert utf8validator.Utf8Validator is wsaccel.utf8validator.Utf8Validator
assert xormasker.XorMaskerNull is wsaccel.xormask.XorMaskerNull
'
rm -rf "$maker"

printf '%s\n' "$wanted" >"$stamp" || fail "cannot write $stamp"
say "done: $env/bin/wstest"
