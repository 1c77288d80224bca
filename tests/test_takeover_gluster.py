"""Two hosts that share a queue over a real network filesystem (GlusterFS, TCP between client and
server): the second one looks, works, is refused, and takes over from a manager that is paused.

Everything runs in namespaces of its own, and ends with them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from needs import need

SCRIPT = r"""
set -u
D=$1; PY=$2; cd $D
mkdir -p brick A B; mount -t tmpfs tmpfs brick
ip link set lo up; ip addr add 10.77.0.1/24 dev lo; hostname host-a
cat > s.vol <<X
volume posix
  type storage/posix
  option directory $D/brick
end-volume
volume brick
  type features/locks
  subvolumes posix
end-volume
volume server
  type protocol/server
  option transport-type tcp
  option transport.socket.bind-address 10.77.0.1
  option transport.socket.listen-port 24100
  option auth.addr.brick.allow *
  subvolumes brick
end-volume
X
cat > c.vol <<X
volume client
  type protocol/client
  option transport-type tcp
  option remote-host 10.77.0.1
  option remote-port 24100
  option remote-subvolume brick
end-volume
volume behind
  type performance/write-behind
  subvolumes client
end-volume
volume cache
  type performance/md-cache
  subvolumes behind
end-volume
X
glusterfsd -N -f $D/s.vol -l $D/s.log -p $D/s.pid &
until (: < /dev/tcp/10.77.0.1/24100) 2>/dev/null; do sleep 0.1; done
for M in A B; do
    glusterfs -N -f $D/c.vol -l $D/$M.log $D/$M &
    until mountpoint -q $D/$M; do sleep 0.1; done
done
ran() { echo "$1: $2"; }
b() { unshare -u sh -c 'hostname host-b; cd "$0"/B && exec "$@"' $D "$@"; }
cd $D/A
echo '{"small": {"experiment": "small:measure", "output_dir": "results",
       "combinations": [{"seed": [1, 2, 3, 4]}]}}' > small.yaml
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
    need(os.geteuid() == 0, "root, for hosts of its own")
    need(shutil.which("glusterfsd") is not None, "glusterfs-server, for a network filesystem")
    own = ["unshare", "-n", "-u", "-m", "-p", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*own, "bash", "-c", SCRIPT, "two-hosts", str(tmp_path), sys.executable],
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state"), "NO_COLOR": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    for each in ("init: 0", "status: 0", "verify: 0", "second: 1", "work: 0", "paused: 1",
                 "verify-after: 0", "verify-alone: 0"):  # fmt: skip
        assert f"\n{each}\n" in f"\n{said}", said
    assert "on host-a" in said and "--take-over" in said
    assert "queue.db-journal" in said and "-wal" not in said and "-shm" not in said
    assert "4 of 4 tasks completed" in said
    assert all(f"small,small_{n}_{n + 1}," in said for n in range(4)), said
