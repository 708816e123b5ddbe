"""S3 servers and a fault-injecting proxy, for tests and benchmarks of anything that speaks S3::

with seaweedfs() as server, FaultProxy(server.endpoint) as proxy:
    client = server.through(proxy.url).client()
"""

from bucketboard.testing import answers
from bucketboard.testing.counts import NO_REPLY, Counts, Recorded, Tally
from bucketboard.testing.faults import Fault, FaultKind, Injection
from bucketboard.testing.gateway import Gateway
from bucketboard.testing.operations import Request, classify
from bucketboard.testing.process import ServerError
from bucketboard.testing.proxy import FaultProxy
from bucketboard.testing.servers import SERVERS, Server, juicefs, moto, rclone, seaweedfs

__all__ = [
    "NO_REPLY",
    "SERVERS",
    "Counts",
    "Fault",
    "FaultKind",
    "FaultProxy",
    "Gateway",
    "Injection",
    "Recorded",
    "Request",
    "Server",
    "ServerError",
    "Tally",
    "answers",
    "classify",
    "juicefs",
    "moto",
    "rclone",
    "seaweedfs",
]
