#!/bin/sh
# Makes ready what only `make bench` needs, after tools/setup.sh: matplotlib in `.venv`, and the
# peers that sqlqueue is measured beside in `.venv-peers`, an environment of their own.
#
# A peer that cannot be installed does not stop it: why stands in .venv-peers/missing/NAME, and
# the page says so.  Does nothing when what is there is what is asked for.
set -eu
cd "$(dirname "$0")/.."

asked=benchmarks/peers/requirements.txt
venv=.venv-peers
stamp=$venv/.asked

say() { printf '%s\n' "setup: $*"; }

if ! .venv/bin/python -c 'import matplotlib' 2>/dev/null; then
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --quiet \
        --constraint constraints.txt --editable '.[bench]' ||
        say "NOTICE: no matplotlib to be had here; the page comes without pictures"
fi

if cmp -s "$asked" "$stamp" && "$venv/bin/python" -c pass 2>/dev/null; then exit 0; fi
say "creating $venv with the peers of $asked"
.venv/bin/python -m venv --clear "$venv"
mkdir "$venv/missing"
grep -v '^#' "$asked" | while read -r each; do
    name=${each%%[<>=~!]*}
    if "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --quiet \
        "$each" 2>"$venv/missing/$name"; then
        rm "$venv/missing/$name"
    else
        say "NOTICE: $name cannot be installed: $(tail -n 1 "$venv/missing/$name")"
    fi
done
cp "$asked" "$stamp"
