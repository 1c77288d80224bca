#!/bin/sh
# Makes `.venv` ready: the virtual environment, everything that sqlqueue needs, and sqlqueue
# itself, editable.  Run by make; does nothing when what is there is what is asked for.
#
# First the versions of constraints.txt, which the tests last passed with.  Where those are
# not to be had (another platform, a mirror that lags), the ranges of pyproject.toml.  torch
# and torchvision are always resolved in one step, since each torchvision fits one torch.
#
# PYTHON=...  which interpreter to build with (otherwise the first that is new enough).
set -eu
cd "$(dirname "$0")/.."

venv=.venv
stamp=$venv/.sqlqueue-setup
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

say() { printf '%s\n' "setup: $*"; }
fail() { printf '%s\n' "setup: $*" >&2; exit 1; }

# What the environment must match: the requirements, the constraints and this folder.
wanted() {
    { sed '/^\[tool\./,$d' pyproject.toml; cat constraints.txt; pwd -P; } | cksum
}

works() { "$1" -c "$new_enough" >/dev/null 2>&1; }

# Asks each candidate for its version: a name on the PATH need not be a Python that starts.
find_python() {
    for each in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
        if works "$each"; then echo "$each"; return; fi
    done
    if [ -n "${PYTHON:-}" ]; then
        fail "PYTHON=$PYTHON does not start or is older than 3.11; name a newer one"
    fi
    fail "no Python 3.11 or newer found (python3 here: $(python3 --version 2>/dev/null || echo none));" \
        "install one, or name it: make setup PYTHON=/path/to/python3.12"
}

make_venv() {
    if works "$venv/bin/python"; then return; fi
    python=$(find_python)
    say "creating $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv" ||
        fail "$python cannot make a virtual environment; on Debian and Ubuntu install the" \
            "package python3-venv, then run make again"
}

install() {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input \
        "$@" --editable '.[dev]'
}

if [ "$(cat "$stamp" 2>/dev/null || true)" = "$(wanted)" ] && works "$venv/bin/python"; then
    exit 0
fi
make_venv
rm -f "$stamp"
say "installing (torch is large: this can take minutes, once)"
if ! install --constraint constraints.txt; then
    say "NOTICE: the versions in constraints.txt are not to be had here;" \
        "installing the newest ones that pyproject.toml allows instead"
    install || fail "pip could not install what sqlqueue needs; its message is above." \
        "Once the cause is gone, run make again: it goes on from what is there"
fi
"$venv/bin/python" -c 'import torch, torchvision' ||
    fail "the torch and torchvision installed do not fit each other: remove $venv and run make again"
wanted >"$stamp"
say "done; activate it with: . $venv/bin/activate"
