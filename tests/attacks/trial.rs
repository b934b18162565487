//! One attack, with what the victim saw before, during and after it.

use std::fmt;
use std::time::Duration;

use crate::Attack;
use crate::harness::Server;
use crate::target::{MEMORY_MEBIBYTES, Target};
use crate::victim::Observation;

/// Gauges that are zero again after an attack.
const GAUGES: [&str; 4] = [
    "modelfn_requests_in_flight",
    "modelfn_requests_waiting",
    "modelfn_bodies_in_flight_bytes",
    "modelfn_memory_reserved_bytes",
];

/// What an attack may cost others.
pub struct Bounds {
    /// How much longer 99 of 100 requests of the victim may take than without the attack.
    victim: Duration,
    /// How long 99 of 100 probes may take.
    probes: Duration,
    /// How much more memory may be taken at rest, in per cent and in MiB.
    memory: (u64, u64),
}

/// What happened.
pub struct Trial {
    name: &'static str,
    before: Observation,
    during: Observation,
    after: Observation,
    peak_mebibytes: u64,
    rested_mebibytes: u64,
}

impl Bounds {
    /// What the project promises where `ATTACK_BOUNDS` is `strict`; otherwise what a busy machine can keep, too.
    pub fn of_environment() -> Bounds {
        if std::env::var("ATTACK_BOUNDS").is_ok_and(|bounds| bounds == "strict") {
            return Bounds { victim: Duration::from_millis(50), probes: Duration::from_millis(20), memory: (10, 2) };
        }
        Bounds { victim: Duration::from_secs(1), probes: Duration::from_secs(1), memory: (100, 50) }
    }

    /// What is wrong with this much memory at the end, if anything.
    pub fn memory_fault(&self, quiet: u64, end: u64) -> Option<String> {
        let (percent, mebibytes) = self.memory;
        (end > quiet + quiet * percent / 100 + mebibytes)
            .then(|| format!("memory at rest grew from {quiet} to {end} MiB"))
    }
}

impl Trial {
    pub async fn run(server: &Server, attack: &Attack, time: Duration) -> Trial {
        let before = Observation::during(server, time / 2).await;
        let tasks = (attack.start)(&Target::of(server));
        let during = Observation::during(server, time).await;
        let peak_mebibytes = memory(server, "VmHWM");
        drop(tasks);
        for gauge in GAUGES {
            server.wait_for_metric(gauge, |n| n < 0.5).await;
        }
        let after = Observation::during(server, time / 2).await;
        let rested_mebibytes = rest(server).await;
        Trial { name: attack.name, before, during, after, peak_mebibytes, rested_mebibytes }
    }

    /// Resident memory after the attack.
    pub fn rested_mebibytes(&self) -> u64 {
        self.rested_mebibytes
    }

    /// What the victim noticed beyond `bounds`.
    pub fn faults(&self, bounds: &Bounds) -> Vec<String> {
        let name = self.name;
        let mut faults = Vec::new();
        for observed in [&self.before, &self.during, &self.after] {
            faults.extend(observed.wrong.iter().take(3).map(|wrong| format!("{name}: {wrong}")));
        }
        let (before, during) = (self.before.victim.quantile(0.99), self.during.victim.quantile(0.99));
        if during > before + bounds.victim {
            faults.push(format!("{name}: the victim's p99 went from {before:?} to {during:?}"));
        }
        let probes = self.during.probes.quantile(0.99);
        if probes > bounds.probes {
            faults.push(format!("{name}: the p99 of probes was {probes:?}"));
        }
        if self.during.victim.count() == 0 || self.during.probes.count() == 0 {
            faults.push(format!("{name}: nobody was answered"));
        }
        if self.peak_mebibytes > MEMORY_MEBIBYTES {
            faults.push(format!("{name}: {} MiB were taken, of {MEMORY_MEBIBYTES}", self.peak_mebibytes));
        }
        faults
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:48}", self.name)?;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        for (when, observed) in [("before", &self.before), ("during", &self.during), ("after", &self.after)] {
            let [victim, probes] = [&observed.victim, &observed.probes].map(|seen| milliseconds(seen.quantile(0.99)));
            let answers = observed.victim.count();
            write!(f, "  {when}: {answers:4} answers, p99 {victim:6.1} ms, probes {probes:5.1} ms")?;
        }
        write!(f, "  peak {} MiB, at rest {} MiB", self.peak_mebibytes, self.rested_mebibytes)
    }
}

/// Lets the server take what it takes for every number of requests at once.
pub async fn warm(server: &Server) {
    let requests: Vec<_> = (0..16).map(|_| server.start_get("/allocate?bytes=4000000&hold=200")).collect();
    for request in requests {
        request.await.unwrap();
    }
}

/// What the process has in memory a moment after an attack: what it gives back it gives back every second.
async fn rest(server: &Server) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..8 {
        least = least.min(resident_mebibytes(server));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    least
}

/// What the process has in memory.
pub fn resident_mebibytes(server: &Server) -> u64 {
    memory(server, "VmRSS")
}

fn memory(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() >> 10
}
