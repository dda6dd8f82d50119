"""Many processes that train one run together, on JAX's distributed runtime; without them every question has its answer.

Only process 0, the leader, touches the run's directory; what it finds there, the others are told. Imports JAX when a
run is joined and not before: the command line is read with this.
"""

from cnn.hosts.agreeing import Elsewhere, Unlike, agreement, check_same, from_leader, from_leader_with
from cnn.hosts.joining import Members, NotJoined, join, leads, leave, parse

__all__ = [
    "Elsewhere",
    "Members",
    "NotJoined",
    "Unlike",
    "agreement",
    "check_same",
    "from_leader",
    "from_leader_with",
    "join",
    "leads",
    "leave",
    "parse",
]
