//! How many replicas a rate and a latency need.
//!
//! Each replica is a queue in front of `servers` engines (M/G/c). How likely a request waits is Erlang's C; how long, an
//! exponential time whose mean is that of M/M/c times (1 + cs²) / 2, where cs is the deviation of the service time by
//! its mean: the approximation of Allen and Cunneen (A. O. Allen, Probability, Statistics, and Queueing Theory, 2nd
//! ed., 1990, 5.3). With cs = 1 it is exact; inference takes nearly constant time, and so waits half as long. Requests
//! come at random times (Poisson) and are spread evenly over replicas that don't know of each other's queues.

/// The most replicas that a plan may have; beyond that something else is wrong.
const MAX_REPLICAS: usize = 10_000;

/// One replica at work.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Service {
    /// Requests that it computes at the same time.
    pub servers: usize,
    /// Requests a second that it can compute, and no more.
    pub capacity: f64,
    /// Mean time of a request that finds an idle server while the others are busy, in seconds.
    pub mean_seconds: f64,
    /// The 99th percentile of that time.
    pub p99_seconds: f64,
    /// The square of standard deviation by mean, of that time.
    pub variation: f64,
}

/// What is asked of all replicas.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Requests a second.
    pub rate: f64,
    /// The 99th percentile of their time, in seconds, if there is a limit.
    pub p99_seconds: Option<f64>,
    /// How busy the servers may be, 0 to 1.
    pub utilisation: f64,
}

/// Replicas at work.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Fleet {
    /// How many.
    pub replicas: usize,
    /// Share of time that a server is busy.
    pub utilisation: f64,
    /// Mean time of a request, waiting and computing, in seconds.
    pub mean_seconds: f64,
    /// The 99th percentile of it.
    pub p99_seconds: f64,
    /// Requests that are there at the same time, in all replicas: Little's law.
    pub in_flight: f64,
}

/// No number of replicas does it.
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

impl Service {
    /// Mean and 99th percentile of the time that requests wait, in seconds, if `rate` of them come a second.
    /// `None` at or beyond its capacity: the queue grows without end.
    fn wait(&self, rate: f64) -> Option<(f64, f64)> {
        let spare = self.capacity - rate;
        if spare <= 0.0 {
            return None;
        }
        let waits = erlang_c(self.servers, self.servers as f64 * rate / self.capacity);
        let mean_of_those = (1.0 + self.variation) / 2.0 / spare;
        Some((waits * mean_of_those, (waits / 0.01).ln().max(0.0) * mean_of_those))
    }
}

/// The fewest replicas that satisfy `demand`.
///
/// # Errors
///
/// See [`Unreachable`].
pub fn fleet(service: Service, demand: Demand) -> Result<Fleet, Unreachable> {
    let share = highest_rate(service, demand)?;
    // The division's own error must not cost a replica.
    let replicas = (demand.rate / share - 1e-9).ceil().max(1.0);
    if replicas > MAX_REPLICAS as f64 {
        return Err(Unreachable::TooMany);
    }
    fleet_of(service, demand.rate, replicas as usize).ok_or(Unreachable::TooMany)
}

/// The most requests a second that one replica may get, so that it satisfies `demand`.
///
/// # Errors
///
/// [`Unreachable::TooSlow`].
pub fn highest_rate(service: Service, demand: Demand) -> Result<f64, Unreachable> {
    let highest = demand.utilisation * service.capacity;
    let Some(limit) = demand.p99_seconds else { return Ok(highest) };
    if limit < service.p99_seconds {
        return Err(Unreachable::TooSlow { limit: limit * 1e3, least: service.p99_seconds * 1e3 });
    }
    let fits = |rate| service.wait(rate).is_some_and(|(_, wait)| service.p99_seconds + wait <= limit);
    if fits(highest) {
        return Ok(highest);
    }
    // The wait grows with the rate: halve the interval in which it reaches the limit.
    let (mut good, mut bad) = (0.0, highest);
    for _ in 0..50 {
        let middle = f64::midpoint(good, bad);
        if fits(middle) { good = middle } else { bad = middle }
    }
    Ok(good)
}

fn fleet_of(service: Service, rate: f64, replicas: usize) -> Option<Fleet> {
    let share = rate / replicas as f64;
    let (mean_wait, p99_wait) = service.wait(share)?;
    let mean_seconds = service.mean_seconds + mean_wait;
    Some(Fleet {
        replicas,
        utilisation: share / service.capacity,
        mean_seconds,
        // Both at their worst at once: a little more than the percentile of the sum.
        p99_seconds: service.p99_seconds + p99_wait,
        in_flight: super::formula::in_flight(rate, mean_seconds),
    })
}

/// How likely a request finds all `servers` busy, where `load` of them are on average: Erlang's C, by way of his B.
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

    fn service(servers: usize, variation: f64) -> Service {
        Service { servers, capacity: servers as f64 * 100.0, mean_seconds: 0.010, p99_seconds: 0.010, variation }
    }

    fn demand(rate: f64, p99_seconds: Option<f64>) -> Demand {
        Demand { rate, p99_seconds, utilisation: 0.7 }
    }

    #[test]
    fn erlangs_numbers() {
        assert!(close(erlang_c(1, 0.7), 0.7), "with one server it is the utilisation");
        assert!(close(erlang_c(3, 2.0), 4.0 / 9.0));
        assert!(close(erlang_c(2, 1.0), 1.0 / 3.0));
    }

    #[test]
    fn one_server_waits_as_the_textbook_says() {
        let (mean, p99) = service(1, 1.0).wait(50.0).unwrap();
        assert!(close(mean, 0.010), "M/M/1 at 50 %: as long as it computes");
        assert!(close(p99, 50_f64.ln() / 50.0));
        let (constant, _) = service(1, 0.0).wait(50.0).unwrap();
        assert!(close(constant, 0.005), "M/D/1 waits half as long (Pollaczek and Khinchine)");
        assert_eq!(service(1, 0.0).wait(100.0), None);
    }

    #[test]
    fn the_utilisation_decides_where_no_latency_does() {
        // One server of 100/s; 70 % of it are 70/s.
        for (rate, replicas) in [(1.0, 1), (70.0, 1), (71.0, 2), (140.0, 2), (700.0, 10)] {
            assert_eq!(fleet(service(1, 0.0), demand(rate, None)).unwrap().replicas, replicas, "{rate}");
        }
        let two = fleet(service(1, 0.0), demand(100.0, None)).unwrap();
        assert!(close(two.utilisation, 0.5) && close(two.mean_seconds, 0.015) && close(two.in_flight, 1.5));
    }

    #[test]
    fn a_latency_takes_more_replicas_and_one_that_is_too_short_has_none() {
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
    fn a_rate_without_reason_is_refused() {
        assert_eq!(fleet(service(1, 0.0), demand(1e9, None)), Err(Unreachable::TooMany));
        assert_eq!(fleet(service(1, 0.0), demand(700_000.0, None)).unwrap().replicas, 10_000);
    }
}
