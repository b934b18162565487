"""Compares functions that make vectors of texts: of single ones, as searches are, and of lists, as indexing sends."""

import json
import math

from clients import Requests, closed_loop
from contenders import Modelfn, peers, running
from sidebyside import CONNECTIONS, in_turns, turn
from system import ROOT, SCRATCH, folder

TEXTS = ROOT / "bench/texts.txt"
# For each workload the texts of a request, and how many clients ask at once.
WORKLOADS = {"single": (1, CONNECTIONS), "lists": (32, 4)}
# Seconds that each server is asked before it is measured: modelfn tries batches of all sizes first.
WARM_UP = 6
# How far a number of a vector may be from that of the first server that was asked.
TOLERANCE = 1e-4


class TextWork:
    """The model, and the requests of a workload."""

    component = "embed"

    def __init__(self, kind):
        self.kind, self.folder = kind, folder("minilm")
        texts, (count, self.connections) = TEXTS.read_text().splitlines(), WORKLOADS[kind]
        self.count, self.files, self.vectors = count, {}, {}
        for n in range(0, len(texts), count):
            path = SCRATCH / f"texts-{kind}-{n}.json"
            path.write_text(json.dumps({"input": texts[n : n + count]}))
            self.files[path] = self.folder.name

    def requests(self, _form=None):
        return TextRequests(self)


class TextRequests(Requests):
    """Requests whose responses name the model; before and after a run their vectors are compared, too."""

    path, key = "/embed", "model"

    def __init__(self, work):
        self.content_type, self.bodies, self.work = "application/json", work.files, work

    def is_correct(self, response, body):
        if response.status != 200:
            return False
        found = json.loads(response.body)["embeddings"]
        expected = self.work.vectors.setdefault(body, found)
        return len(found) == self.work.count and all(
            math.isclose(one, other, rel_tol=0, abs_tol=TOLERANCE)
            for ours, theirs in zip(found, expected, strict=True)
            for one, other in zip(ours, theirs, strict=True)
        )


def embed(quick):
    """Measures vectors/s in a closed loop for each of WORKLOADS."""
    cells, (ready, missing) = [], peers("embed")
    missing = dict(missing)
    for kind in WORKLOADS:
        work = TextWork(kind)
        with running([Modelfn(), *ready], work, missing) as started:
            for server in started.values():
                closed_loop(server.port, work.requests(), work.connections, WARM_UP)
            seconds = (4 if quick else 8) if work.count > 1 else (3 if quick else 5)
            turns = {
                each.title: turn(server, work.requests(), work.connections, seconds) for each, server in started.items()
            }
            cells += in_turns(turns, 3 if quick else 5, {"texts": kind, "connections": work.connections})
    return {"cells": cells, "missing": missing}
