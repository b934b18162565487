"""Steady load on an HTTP address, which counts lost requests."""

import collections
import http.client
import threading
import time

CLIENTS = 3
# Seconds; longer than the server's own deadline, so that the server reports a late response itself.
TIMEOUT = 60


class Load:
    """Clients that each send the next request 50 ms after a response.

    All but one open a new connection for each request; that one keeps its connection as long as the server does. Such a
    closed loop never exceeds the machine's capacity, so that lost requests are due to what the test does meanwhile. A
    request is lost if it has no response, or a status other than 200.
    """

    def __init__(self, address, body, pause=0.05):
        self.address, self.body, self.pause = address, body, pause
        self.responses, self.lost = collections.Counter(), []
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._send_on_new_connections) for _ in range(CLIENTS)]
        self.threads.append(threading.Thread(target=self._send_on_one_connection))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def sent(self):
        return sum(self.responses.values()) + len(self.lost)

    def reach(self, number):
        """Waits until this many requests have been sent."""
        deadline = time.monotonic() + 300
        while self.sent() < number:
            assert time.monotonic() < deadline, f"only {self.sent()} of {number} requests were sent"
            time.sleep(0.05)

    def check(self):
        assert not self.lost, f"{len(self.lost)} of {self.sent()} requests were lost: {self.lost[:5]}"

    def _send_on_new_connections(self):
        while not self.ending.is_set():
            connection = http.client.HTTPConnection(self.address, 80, timeout=TIMEOUT)
            self._send(connection, "new")
            connection.close()
            time.sleep(self.pause)

    def _send_on_one_connection(self):
        connection = http.client.HTTPConnection(self.address, 80, timeout=TIMEOUT)
        while not self.ending.is_set():
            # After a response with `Connection: close`, http.client reconnects by itself.
            if not self._send(connection, "kept"):
                connection.close()
            time.sleep(self.pause)
        connection.close()

    def _send(self, connection, kind):
        started = time.monotonic()
        try:
            connection.request("POST", "/classify?top_k=1", self.body)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(f"{kind}: {error!r} after {time.monotonic() - started:.2f} s")
            return False
        if response.status == 200:
            self.responses[kind] += 1
        else:
            self.lost.append(f"{kind}: {response.status} {text[:200]!r}")
        return True
