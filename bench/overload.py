"""Measures at and beyond full load: goodput, refusals, latency, memory, probes, and the correctness of responses."""

import threading
import time

import plot
from compare import check, inference_requests, probe_server
from system import EXAMPLE, PICTURES, ROOT, load, peak, say, server, variant

# A small picture, so that the client takes little CPU time, for the function with the default model.
REQUESTS = {"bodies": [PICTURES / "imagenet_14_129.jpg"], "headers": ["content-type: image/jpeg"]}
FACTORS = (0.5, 0.8, 1, 1.5, 2, 4, 7, 10)
# Seconds after which the clients of overload() give up.
CLIENT_TIMEOUT = 2


def overload(_quick, seconds=12):
    """Offers half to ten times the capacity in an open loop, from clients with a deadline."""
    impatient = REQUESTS | {"headers": [*REQUESTS["headers"], f"x-request-timeout: {CLIENT_TIMEOUT}s"]}
    rows = []
    with server([*EXAMPLE, "--log", "warn"]) as ours:
        load(ours.port, "/classify", connections=16, seconds=seconds, **REQUESTS)  # to warm up
        capacity = load(ours.port, "/classify", connections=16, seconds=seconds, **REQUESTS)[0]["goodput"]
        before = ours.resident()
        for factor in FACTORS:
            with peak(ours.resident) as most:
                run = load(
                    ours.port, "/classify", rate=factor * capacity, connections=3000, seconds=seconds, **impatient
                )[0]
            rows.append(
                {
                    "factor": factor,
                    "offered": run["sent"] / seconds,
                    "goodput": run["goodput"],
                    "refused": run["statuses"].get("503", 0) / seconds,
                    "late": run["statuses"].get("504", 0) / seconds,
                    "wrong": run["wrong"],
                    "lost": run["lost"],
                    "p50": run["accepted_ms"]["p50"],
                    "p99": run["accepted_ms"]["p99"],
                    "resident": most.value,
                }
            )
            say(" ".join(f"{key} {value:.4g}" for key, value in rows[-1].items() if value is not None))
        after = ours.resident()
    draw(capacity, rows)
    best = max(row["goodput"] for row in rows)
    result = {"capacity, closed loop of 16, requests/s": round(capacity)}
    for row in rows:
        result[f"at {row['factor']} times: goodput, refused, late /s; p99 ms; MB"] = (
            f"{row['goodput']:.0f}, {row['refused']:.0f}, {row['late']:.0f}; "
            f"{row['p99'] or 0:.0f}; {row['resident']:.0f}"
        )
    result["goodput at 10 times to the peak, times"] = round(rows[-1]["goodput"] / best, 2)
    result["p99 of accepted at 10 times, ms"] = round(rows[-1]["p99"])
    result["wrong or lost answers"] = sum(row["wrong"] + row["lost"] for row in rows)
    result["resident before, at most, after, MB"] = (
        f"{before:.0f}, {max(row['resident'] for row in rows):.0f}, {after:.0f}"
    )
    return result


def draw(capacity, rows):
    def line(key, unit=1):
        return [(row["factor"], (row[key] or 0) / unit) for row in rows]

    over, times = "offered load, times the capacity", lambda factor: f"{factor:g}×"
    plot.panels(
        ROOT / "bench/overload.svg",
        [
            plot.Panel(
                "Answered in time, refused, too late",
                (over, "times the capacity"),
                {key: line(key, capacity) for key in ("goodput", "refused", "late")},
                log_x=True,
                top=2,
                label=times,
            ),
            plot.Panel("p99 of what was accepted", (over, "ms"), {"p99": line("p99")}, log_x=True, label=times),
            plot.Panel("Resident memory", (over, "MB"), {"resident": line("resident")}, log_x=True, label=times),
        ],
    )


def probes(_quick, seconds=20, rate=100):
    """Measures `/livez` on the admin port while every core computes."""
    with server([*EXAMPLE, "--log", "warn"]) as ours:
        busy = threading.Thread(
            target=load, args=(ours.port, "/classify"), kwargs=REQUESTS | {"connections": 32, "seconds": seconds + 2}
        )
        busy.start()
        time.sleep(1)
        run = load(ours.admin, "/livez", rate=rate, connections=16, seconds=seconds)[0]
        busy.join()
    check([run])
    return {f"/livez {part} under full load, ms": round(run["accepted_ms"][part], 2) for part in ("p50", "p99", "max")}


def endurance(_quick, requests=100_000, warmup=5_000, connections=32):
    """Compares every response of a cheap model, and the memory before and after."""
    requests = inference_requests("cifar10", 20)
    name = variant("cifar10", "cifar10-endures", "")
    path = f"/v2/models/{name}/infer"
    with probe_server(name) as ours:
        check(load(ours.port, path, connections=connections, requests=warmup, **requests))
        before = ours.resident()
        with peak(ours.resident) as most:
            run = load(ours.port, path, connections=connections, requests=requests, **requests)[0]
        after = ours.resident()
    return {
        "requests": run["sent"],
        "right": run["good"],
        "wrong": run["wrong"],
        "lost": run["lost"],
        "requests/s": round(run["goodput"]),
        "resident before, MB": round(before, 1),
        "at most": round(most.value, 1),
        "after": round(after, 1),
        "after to before, times": round(after / before, 3),
    }
