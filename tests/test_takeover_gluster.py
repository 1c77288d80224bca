"""Two hosts that share a queue over a real network filesystem: the second one looks, works, is
refused, and takes over from a manager that is paused.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from gluster import about_hosts, all_came_of_it

SCRIPT = r"""
ip link set lo up; ip addr add 10.77.0.1/24 dev lo; hostname host-a
storage 42; mounted A; mounted B
b() { unshare -u sh -c 'hostname host-b; cd "$0"/B && exec "$@"' $D "$@"; }
cd $D/A
sweep > small.yaml
printf 'def measure(seed: int) -> dict:\n    return {"value": seed}\n' > small.py
$PY -m sqlqueue init small.yaml; ran init $?
$PY -m sqlqueue serve --host 10.77.0.1 > $D/serve-a 2>&1 & A=$!
until grep -q TLS $D/serve-a; do sleep 0.1; done
b $PY -m sqlqueue status; ran status $?
b $PY -m sqlqueue verify; ran verify $?
b $PY -m sqlqueue serve; ran second $?
PORT=$(sed -n 's/.*"port": *\([0-9]*\).*/\1/p' .sqlqueue/manager.json)
SQLQUEUE_TOKEN="$($PY -m sqlqueue token)" b $PY -m sqlqueue work --cpu --manager 10.77.0.1:$PORT
ran work $?
ls -a .sqlqueue
kill -STOP $A
until flock -n .sqlqueue/manager.turn true; do  # in the middle of writing
    kill -CONT $A; sleep 0.05; kill -STOP $A; sleep 0.05
done
unshare -u sh -c 'hostname host-b; cd "$0"/B; exec "$@"' $D \
    $PY -m sqlqueue serve --take-over --host 10.77.0.1 > $D/serve-b 2>&1 & B=$!
until grep -q TLS $D/serve-b; do sleep 0.1; done
kill -CONT $A; wait $A; ran paused $?
b $PY -m sqlqueue verify; ran verify-after $?
kill -TERM $B; wait $B
$PY -m sqlqueue verify; ran verify-alone $?
$PY -m sqlqueue status
cat results/final_results.csv
"""


@pytest.mark.crash
def test_two_hosts_and_one_of_them_is_paused(tmp_path: Path) -> None:
    said = about_hosts(SCRIPT, tmp_path, seconds=120)
    all_came_of_it(
        said,
        *("init: 0", "status: 0", "verify: 0", "second: 1", "work: 0", "paused: 1"),
        *("verify-after: 0", "verify-alone: 0"),
    )
    assert "--take-over" in said
    assert "queue.db-journal" in said and "-wal" not in said and "-shm" not in said
