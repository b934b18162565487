"""A steady load on an address, and what was lost of it."""

import collections
import http.client
import threading
import time

CLIENTS = 3
# Slower than the server's own deadline, so that a late answer is one of the server's.
TIMEOUT = 60


class Load:
    """Clients that each ask again 50 ms after an answer: each request on a new connection, but for one client, which
    keeps its connection as long as the server does.

    How much that is depends on the machine, but never more than it can do: what is lost then was lost by an update.
    A request is lost if it has no answer, or another one than 200.
    """

    def __init__(self, address, body, pause=0.05):
        self.address, self.body, self.pause = address, body, pause
        self.answers, self.lost = collections.Counter(), []
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._ask_anew) for _ in range(CLIENTS)]
        self.threads.append(threading.Thread(target=self._keep_alive))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def sent(self):
        return sum(self.answers.values()) + len(self.lost)

    def reach(self, number):
        """Goes on until so many requests have been sent."""
        deadline = time.monotonic() + 300
        while self.sent() < number:
            assert time.monotonic() < deadline, f"only {self.sent()} of {number} requests were sent"
            time.sleep(0.05)

    def check(self):
        assert not self.lost, f"{len(self.lost)} of {self.sent()} requests were lost: {self.lost[:5]}"

    def _ask_anew(self):
        while not self.ending.is_set():
            connection = http.client.HTTPConnection(self.address, 80, timeout=TIMEOUT)
            self._ask(connection, "new")
            connection.close()
            time.sleep(self.pause)

    def _keep_alive(self):
        connection = http.client.HTTPConnection(self.address, 80, timeout=TIMEOUT)
        while not self.ending.is_set():
            # After an answer with `Connection: close`, the next request makes a new connection by itself.
            if not self._ask(connection, "kept"):
                connection.close()
            time.sleep(self.pause)
        connection.close()

    def _ask(self, connection, kind):
        started = time.monotonic()
        try:
            connection.request("POST", "/classify?top_k=1", self.body)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(f"{kind}: {error!r} after {time.monotonic() - started:.2f} s")
            return False
        if answer.status == 200:
            self.answers[kind] += 1
        else:
            self.lost.append(f"{kind}: {answer.status} {text[:200]!r}")
        return True
