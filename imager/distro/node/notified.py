"""notified.py SOCKET SECONDS: wait for the datagram `READY=1` (sd_notify(3))."""

import socket
import sys
import time

place, seconds = sys.argv[1], float(sys.argv[2])
end = time.monotonic() + seconds
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
    channel.bind(place)
    while (left := end - time.monotonic()) > 0:
        channel.settimeout(left)
        try:
            if b"READY=1" in channel.recv(4096).split(b"\n"):
                sys.exit(0)
        except TimeoutError:
            break
sys.exit(1)
