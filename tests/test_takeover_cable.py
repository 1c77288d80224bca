"""Two hosts and a storage server (GlusterFS), each with a network of its own and a cable to a hub;
the cable of the host whose manager runs is cut, the other host takes over, the cable comes back.

Either the filesystem gives up on its server while the cable is out, and the first manager ends
with a clear message; or it waits, and what the first manager had begun goes on afterwards, when
the second one has the queue: it acks nothing and writes nothing.  The worker of the host that was
cut off keeps its result and hands it in to the second manager.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from gluster import about_hosts, all_came_of_it

SCRIPT = r"""
GIVE_UP=$3; mount -t tmpfs tmpfs /run/netns
ip link set lo up; ip link add hub type bridge; ip addr add 10.77.0.1/24 dev hub; ip link set hub up
for N in a b; do
    ip netns add $N; ip link add to-$N master hub type veth peer cable netns $N
    ip link set to-$N up; ip -n $N link set lo up; ip -n $N link set cable up
done
ip -n a addr add 10.77.0.2/24 dev cable; ip -n b addr add 10.77.0.3/24 dev cable
on() {
    H=$1; shift
    nsenter --net=/run/netns/$H unshare -u sh -c \
        'hostname host-$0; XDG_STATE_HOME=$2-$0; export XDG_STATE_HOME; cd $1; shift 2; exec "$@"' \
        $H $D/${H^^} $D/state "$@"
}
until_says() {
    for _ in $(seq 400); do grep -q "$1" $2 && return; sleep 0.1; done
    echo "never: $1 in $2"
}
storage $GIVE_UP
for H in a b; do
    mounted ${H^^} nsenter --net=/run/netns/$H
done
sweep > A/small.yaml
cat > A/small.py <<X
import os, socket, time
def measure(seed: int) -> dict:
    open(f"$D/began-{seed}", "a").close()
    while socket.gethostname() == "host-a" and not os.path.exists("$D/go"):
        time.sleep(0.1)
    return {"value": seed}
X
on a $PY -m sqlqueue init small.yaml; ran init $?
on a $PY -m sqlqueue serve --host 10.77.0.2 > serve-a 2>&1 & A=$!
until_says TLS serve-a
on b $PY -m sqlqueue status; ran status $?
on b $PY -m sqlqueue serve; ran second $?
on a $PY -m sqlqueue work --cpu > work-a 2>&1 & W=$!
until [ -e began-1 ]; do sleep 0.1; done
ip link set to-a down; touch go; ran cut $?
on b $PY -m sqlqueue serve --take-over --host 10.77.0.3 > serve-b 2>&1 &
until_says TLS serve-b
on b $PY -m sqlqueue work --cpu > work-b 2>&1 & V=$!
until_says "Result saved.*small_3_4" serve-b
ran acked-in-the-cut $(grep -c "Result saved" serve-a)
ip link set to-a up
wait $A; ran cut-off $?
wait $W; ran work-a $?
wait $V; ran work-b $?
ran acked $(grep -c "Result saved" serve-a)
ran lost $(grep -c LOST serve-b)
on b $PY -m sqlqueue verify; ran verify $?
on b $PY -m sqlqueue status
for EACH in serve-a work-a serve-b work-b; do sed "s/^/$EACH: /" $EACH; done
cat B/results/final_results.csv
"""


@pytest.mark.crash
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seconds", [2, 100], ids=["gives up", "waits"])
def test_the_cable_of_the_first_manager_is_cut(tmp_path: Path, seconds: int) -> None:
    """`seconds`: so long the filesystem waits for its server."""
    said = about_hosts(SCRIPT, tmp_path, str(seconds), seconds=220)
    all_came_of_it(
        said,
        *("init: 0", "status: 0", "second: 1", "cut: 0", "acked-in-the-cut: 0", "cut-off: 1"),
        *("work-a: 0", "work-b: 0", "acked: 0", "lost: 0", "verify: 0"),
    )
    assert "Traceback" not in said, said
