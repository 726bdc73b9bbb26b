"""Two Ray nodes on this machine, of which the second one can be killed as if it lost power."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NODE_CPUS = 3
STORE_BYTES = 200 << 20


class TwoNodes:
    """A cluster of a head and a second node.

    Args:
        cluster: Ray's own test cluster.
    """

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._second = cluster.add_node(num_cpus=NODE_CPUS, object_store_memory=STORE_BYTES)
        cluster.wait_for_nodes()

    @property
    def address(self) -> str:
        """Return what a driver joins."""
        return str(self._cluster.address)

    def kill_second(self) -> None:
        """Kill the raylet of the second node; its workers notice and end."""
        self._second.kill_raylet()


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Start both nodes for a block."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": NODE_CPUS, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield TwoNodes(cluster)
    finally:
        cluster.shutdown()
