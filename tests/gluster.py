"""A real network filesystem (GlusterFS, TCP between client and server) for hosts that are
namespaces: its server, and how a script about such hosts is run.

Everything runs in namespaces of its own, and ends with them.  What is not here: the hosts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from needs import need

STORAGE = r"""
set -u
D=$1; PY=$2; cd $D
mkdir -p brick A B; mount -t tmpfs tmpfs brick
ran() { echo "$1: $2"; }
storage() {
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
  option ping-timeout $1
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
}
mounted() {
    local M=$1; shift
    "$@" glusterfs -N -f $D/c.vol -l $D/$M.log $D/$M &
    until mountpoint -q $D/$M; do sleep 0.1; done
}
sweep() {
    echo '{"small": {"experiment": "small:measure", "output_dir": "results",
           "combinations": [{"seed": [1, 2, 3, 4]}]}}'
}
"""
"""`storage SECONDS`: a server at 10.77.0.1 that a client gives up on after so long.  `mounted A
[COMMAND...]`: it is mounted there, by that command's host.  `sweep`: a file with four tasks."""


def about_hosts(script: str, folder: Path, *arguments: str, seconds: float) -> str:
    """What a script said that runs in namespaces of its own, after `STORAGE`."""
    need(os.geteuid() == 0 and shutil.which("ip") is not None, "root and `ip`, for hosts")
    need(shutil.which("glusterfsd") is not None, "glusterfs-server, for a network filesystem")
    own = ["unshare", "-n", "-u", "-m", "-p", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*own, "bash", "-c", STORAGE + script, "hosts", str(folder), sys.executable, *arguments],
        env=os.environ | {"XDG_STATE_HOME": str(folder / "state"), "NO_COLOR": "1"},
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def all_came_of_it(said: str, *statuses: str) -> None:
    """Each status was told, the manager was named, and each of the four tasks has its row."""
    for each in statuses:
        assert f"\n{each}\n" in f"\n{said}", said
    assert "on host-a" in said, said
    assert "4 of 4 tasks completed" in said, said
    assert all(f"small,small_{n}_{n + 1}," in said for n in range(4)), said
