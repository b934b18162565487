//! CPU time by what the system counts: of a process, of this one with all that it started, and of the whole machine.

use std::fs;
use std::io;
use std::time::Instant;

/// Seconds of CPU that a process has used: proc_pid_stat(5), fields 14 and 15.
pub(super) fn process_seconds(pid: u32) -> io::Result<f64> {
    ticks(&pid.to_string(), &[14, 15])
}

/// A stretch of time in which other programs may have disturbed.
pub(super) struct Stretch {
    from: Instant,
    before: f64,
}

impl Stretch {
    pub(super) fn start() -> io::Result<Stretch> {
        Ok(Stretch { from: Instant::now(), before: others_seconds()? })
    }

    /// Cores that others kept busy meanwhile, on average. What this program started must have ended.
    pub(super) fn others_cores(&self) -> io::Result<f64> {
        Ok(((others_seconds()? - self.before) / self.from.elapsed().as_secs_f64()).max(0.0))
    }
}

/// Of the machine, less of this process and of the ones that it has waited for (fields 16 and 17).
fn others_seconds() -> io::Result<f64> {
    Ok(machine_seconds(&fs::read_to_string("/proc/stat")?)? / per_second() - ticks("self", &[14, 15, 16, 17])?)
}

/// proc_stat(5): user, nice, system, irq, softirq and steal are time that was not there for us.
fn machine_seconds(stat: &str) -> io::Result<f64> {
    let fields: Vec<f64> = stat.lines().next().unwrap_or("").split_whitespace().skip(1).flat_map(str::parse).collect();
    let busy = [0, 1, 2, 5, 6, 7].map(|field| fields.get(field).copied());
    busy.into_iter()
        .sum::<Option<f64>>()
        .ok_or_else(|| io::Error::other("/proc/stat does not tell the machine's CPU time"))
}

fn ticks(process: &str, fields: &[usize]) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    Ok(sum(&stat, fields).ok_or_else(|| io::Error::other("/proc does not tell a process's CPU time"))? / per_second())
}

/// Of fields behind the name, which is in brackets and may contain anything.
fn sum(stat: &str, fields: &[usize]) -> Option<f64> {
    let behind: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    fields.iter().map(|field| behind.get(field - 3)?.parse::<f64>().ok()).sum()
}

fn per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_manual() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 140 15 16 17 20 0 1";
        assert_eq!(sum(stat, &[14, 15]), Some(155.0));
        assert_eq!(sum(stat, &[14, 15, 16, 17]), Some(188.0));
        assert_eq!(sum("42 (a) S 1", &[14]), None);
        assert_eq!(machine_seconds("cpu  1 2 4 1000 1000 8 16 32 500 500\ncpu0 9 9").unwrap(), 63.0);
        assert!(machine_seconds("cpu 1 2").is_err());
    }

    #[test]
    fn what_this_process_uses_is_not_others() {
        let stretch = Stretch::start().unwrap();
        let cores = stretch.others_cores().unwrap();
        assert!((0.0..1e6).contains(&cores), "{cores}");
        assert!(process_seconds(std::process::id()).unwrap() >= 0.0);
    }
}
