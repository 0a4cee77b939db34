"""Port reservation: ports for servers that a program starts itself, as tests and the local system do."""

import random
import socket
from collections import deque

# Each socket is bound and does not listen, which reserves its port: a server that is asked for may bind it, because
# both set SO_REUSEADDR, and another `reserve_port` may not. So a server that is killed finds its port when it restarts.
_reservations: deque[socket.socket] = deque(maxlen=500)


def reserve_port() -> int:
    """A port without a listener. This process reserves the port, until it ends or has reserved 500 others.

    The port lies below the range from which the kernel takes the ports of outgoing connections: one of these may take
    a free port at any time.
    """
    while True:
        port = random.SystemRandom().randint(15_000, 32_000)  # not as a test has seeded it
        reservation = socket.socket()
        try:
            reservation.bind(("127.0.0.1", port))  # without SO_REUSEADDR: fails beside any other reservation
        except OSError:
            reservation.close()
            continue
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _reservations.append(reservation)
        return port
