//! How many replicas a rate and a latency need.
//!
//! Each replica is an M/G/c queue: `servers` engine instances with one queue. The probability that a request waits is
//! Erlang's C. The time that it then waits is exponentially distributed, and its mean is that of M/M/c times
//! (1 + cs²) / 2, where cs is the coefficient of variation of the service time (standard deviation / mean). That is the
//! approximation of Allen and Cunneen (A. O. Allen, Probability, Statistics, and Queueing Theory, 2nd ed., 1990, 5.3). It
//! is exact for cs = 1. Inference takes nearly constant time, so that its requests wait half as long. Requests arrive at
//! random times (Poisson) and are spread evenly over replicas that don't know each other's queues.

/// The most replicas that a plan may have; beyond that something else is wrong.
const MAX_REPLICAS: usize = 10_000;

/// One replica as a queueing model: an M/G/c queue.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ReplicaQueue {
    /// Requests that are computed at the same time: c.
    pub servers: usize,
    /// Requests per second at full load.
    pub capacity: f64,
    /// Mean time of a request that finds an idle server while the others are busy, in seconds.
    pub mean_seconds: f64,
    /// The 99th percentile of that time.
    pub p99_seconds: f64,
    /// The squared coefficient of variation of that time: (standard deviation / mean)².
    pub variation: f64,
}

/// What all replicas together must achieve.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Requests per second.
    pub rate: f64,
    /// The 99th percentile of their time, in seconds, if there is a limit.
    pub p99_seconds: Option<f64>,
    /// How busy the servers may be, 0 to 1.
    pub utilisation: f64,
}

/// All replicas under the planned load.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Fleet {
    /// How many replicas there are.
    pub replicas: usize,
    /// Share of time that a server of the queue is busy, 0 to 1.
    pub utilisation: f64,
    /// Mean time of a request, waiting and computing, in seconds.
    pub mean_seconds: f64,
    /// The 99th percentile of that time, in seconds.
    pub p99_seconds: f64,
    /// Requests in flight in all replicas, by Little's law.
    pub in_flight: f64,
}

/// Why no number of replicas meets a demand.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Unreachable {
    /// Computing alone takes too long.
    #[error(
        "no number of replicas answers 99 of 100 requests in {limit:.1} ms: computing alone takes {least:.1} ms \
         without any wait; allow a longer --p99, fewer rows (--batch), or take a smaller model"
    )]
    TooSlow {
        /// What was asked for, in milliseconds.
        limit: f64,
        /// What computing takes, in milliseconds.
        least: f64,
    },
    /// The rate is beyond reason.
    #[error("it would take more than {MAX_REPLICAS} replicas; check --rate and --batch")]
    TooMany,
}

impl ReplicaQueue {
    /// Mean and 99th percentile of the time that requests wait, in seconds, where `rate` of them arrive per second.
    /// `None` at or beyond the capacity, where the queue grows without end.
    fn wait(&self, rate: f64) -> Option<(f64, f64)> {
        let spare = self.capacity - rate;
        if spare <= 0.0 {
            return None;
        }
        let waits = erlang_c(self.servers, self.servers as f64 * rate / self.capacity);
        let mean_of_waiting = (1.0 + self.variation) / 2.0 / spare;
        Some((waits * mean_of_waiting, (waits / 0.01).ln().max(0.0) * mean_of_waiting))
    }
}

/// The fewest replicas that satisfy `demand`.
///
/// # Errors
///
/// See [`Unreachable`].
pub fn fleet(service: ReplicaQueue, demand: Demand) -> Result<Fleet, Unreachable> {
    let share = highest_rate(service, demand)?;
    // A rounding error of the division must not cost a replica.
    let replicas = (demand.rate / share - 1e-9).ceil().max(1.0);
    if replicas > MAX_REPLICAS as f64 {
        return Err(Unreachable::TooMany);
    }
    fleet_of(service, demand.rate, replicas as usize).ok_or(Unreachable::TooMany)
}

/// The highest rate, in requests per second, at which one replica satisfies `demand`.
///
/// # Errors
///
/// [`Unreachable::TooSlow`].
pub fn highest_rate(service: ReplicaQueue, demand: Demand) -> Result<f64, Unreachable> {
    let highest = demand.utilisation * service.capacity;
    let Some(limit) = demand.p99_seconds else { return Ok(highest) };
    if limit < service.p99_seconds {
        return Err(Unreachable::TooSlow { limit: limit * 1e3, least: service.p99_seconds * 1e3 });
    }
    let fits = |rate| service.wait(rate).is_some_and(|(_, wait)| service.p99_seconds + wait <= limit);
    if fits(highest) {
        return Ok(highest);
    }
    // The wait grows with the rate, so that bisection finds the rate at which it reaches the limit.
    let (mut good, mut bad) = (0.0, highest);
    for _ in 0..50 {
        let middle = f64::midpoint(good, bad);
        if fits(middle) { good = middle } else { bad = middle }
    }
    Ok(good)
}

fn fleet_of(service: ReplicaQueue, rate: f64, replicas: usize) -> Option<Fleet> {
    let share = rate / replicas as f64;
    let (mean_wait, p99_wait) = service.wait(share)?;
    let mean_seconds = service.mean_seconds + mean_wait;
    Some(Fleet {
        replicas,
        utilisation: share / service.capacity,
        mean_seconds,
        // The sum of both percentiles is a little more than the percentile of the sum.
        p99_seconds: service.p99_seconds + p99_wait,
        in_flight: super::formula::in_flight(rate, mean_seconds),
    })
}

/// Erlang's C, computed from Erlang's B: the probability that a request finds all `servers` busy, where `load` of them
/// are busy on average.
fn erlang_c(servers: usize, load: f64) -> f64 {
    let b = (1..=servers).fold(1.0, |b, n| load * b / (n as f64 + load * b));
    let utilisation = load / servers as f64;
    b / (1.0 - utilisation * (1.0 - b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9
    }

    fn service(servers: usize, variation: f64) -> ReplicaQueue {
        ReplicaQueue { servers, capacity: servers as f64 * 100.0, mean_seconds: 0.010, p99_seconds: 0.010, variation }
    }

    fn demand(rate: f64, p99_seconds: Option<f64>) -> Demand {
        Demand { rate, p99_seconds, utilisation: 0.7 }
    }

    #[test]
    fn erlang_c_gives_the_values_of_the_textbook() {
        assert!(close(erlang_c(1, 0.7), 0.7), "with one server it is the utilisation");
        assert!(close(erlang_c(3, 2.0), 4.0 / 9.0));
        assert!(close(erlang_c(2, 1.0), 1.0 / 3.0));
    }

    #[test]
    fn one_server_has_the_waiting_times_of_the_textbook() {
        let (mean, p99) = service(1, 1.0).wait(50.0).unwrap();
        assert!(close(mean, 0.010), "M/M/1 at 50 %: as long as it computes");
        assert!(close(p99, 50_f64.ln() / 50.0));
        let (constant, _) = service(1, 0.0).wait(50.0).unwrap();
        assert!(close(constant, 0.005), "M/D/1 waits half as long (Pollaczek and Khinchine)");
        assert_eq!(service(1, 0.0).wait(100.0), None);
    }

    #[test]
    fn without_a_latency_the_utilisation_decides() {
        // One server of 100/s; 70 % of it are 70/s.
        for (rate, replicas) in [(1.0, 1), (70.0, 1), (71.0, 2), (140.0, 2), (700.0, 10)] {
            assert_eq!(fleet(service(1, 0.0), demand(rate, None)).unwrap().replicas, replicas, "{rate}");
        }
        let two = fleet(service(1, 0.0), demand(100.0, None)).unwrap();
        assert!(close(two.utilisation, 0.5) && close(two.mean_seconds, 0.015) && close(two.in_flight, 1.5));
    }

    #[test]
    fn a_shorter_latency_takes_more_replicas_until_it_is_unreachable() {
        let loose = fleet(service(1, 1.0), demand(700.0, Some(1.0))).unwrap();
        let tight = fleet(service(1, 1.0), demand(700.0, Some(0.030))).unwrap();
        assert_eq!(loose.replicas, 10);
        assert!(tight.replicas > 10 && tight.p99_seconds <= 0.030, "{tight:?}");
        let fewer = fleet_of(service(1, 1.0), 700.0, tight.replicas - 1).unwrap();
        assert!(fewer.p99_seconds > 0.030, "one replica fewer must not do: {fewer:?}");
        let share = highest_rate(service(1, 1.0), demand(700.0, Some(0.030))).unwrap();
        let (_, wait) = service(1, 1.0).wait(share).unwrap();
        assert!(close(wait, 0.020), "{share} requests a second must use up the time");
        let error = fleet(service(1, 1.0), demand(700.0, Some(0.009))).unwrap_err();
        assert!(error.to_string().contains("computing alone takes 10.0 ms"), "{error}");
    }

    #[test]
    fn a_rate_beyond_reason_is_refused() {
        assert_eq!(fleet(service(1, 0.0), demand(1e9, None)), Err(Unreachable::TooMany));
        assert_eq!(fleet(service(1, 0.0), demand(700_000.0, None)).unwrap().replicas, 10_000);
    }
}
