//! CPU time and memory as the system counts them: of a server with its engine processes, of this process with its
//! children, and of the whole machine.

use std::cell::Cell;
use std::fs;
use std::io;
use std::rc::Rc;
use std::time::Instant;

/// CPU seconds that a process and its children have used: fields 14 (utime) and 15 (stime) of proc_pid_stat(5), and those
/// of children that have ended (16 and 17).
///
/// # Errors
///
/// The process is gone.
pub(super) fn process_seconds(pid: u32) -> io::Result<f64> {
    // A child that ends meanwhile counts as its parent's.
    let children = children_seconds(pid)?;
    Ok(seconds(&pid.to_string(), &[14, 15, 16, 17])? + children)
}

fn children_seconds(pid: u32) -> io::Result<f64> {
    Ok(children(pid)?.iter().flat_map(|child| seconds(&child.to_string(), &[14, 15])).sum())
}

/// The peak of the memory of a process and of its children so far, in bytes: their own (VmHWM of proc_pid_status(5)), but
/// files that they share, such as the program, once.
///
/// # Errors
///
/// The process is gone.
pub(super) fn peak_bytes(pid: u32) -> io::Result<f64> {
    let kibibytes = |file: &str, key: &str| {
        let text = fs::read_to_string(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix("kB")?.trim().parse().ok());
        line.ok_or_else(|| io::Error::other(format!("{file} has no {key}")))
    };
    let own: f64 = kibibytes(&format!("/proc/{pid}/status"), "VmHWM:")?;
    let of_child = |child: &u32| -> io::Result<f64> {
        let status = format!("/proc/{child}/status");
        let files = kibibytes(&status, "RssFile:")? - kibibytes(&format!("/proc/{child}/smaps_rollup"), "Pss_File:")?;
        Ok(kibibytes(&status, "VmHWM:")? - files)
    };
    Ok((own + children(pid)?.iter().flat_map(of_child).sum::<f64>()) * 1024.0)
}

/// The children of a process, started by any of its threads: field 4 of proc_pid_stat(5) names the parent.
fn children(parent: u32) -> io::Result<Vec<u32>> {
    let processes = fs::read_dir("/proc")?.flatten().flat_map(|entry| entry.file_name().to_string_lossy().parse());
    let is_child = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| sum(&stat, &[4]) == Some(f64::from(parent)))
    };
    Ok(processes.filter(is_child).collect())
}

/// How much CPU time other programs take during a measurement.
pub(super) struct CpuInterference {
    from: Instant,
    before: f64,
    /// What the children of servers used: nobody waits for them once their server was ended.
    engines: EngineSeconds,
}

/// Adds up the CPU seconds of processes that no process of ours waits for. Clones share the sum.
#[derive(Clone, Default)]
pub(super) struct EngineSeconds(Rc<Cell<f64>>);

impl EngineSeconds {
    /// Adds what the children of `server` have used so far, which is about to be ended with them.
    pub(super) fn add_children_of(&self, server: u32) {
        self.0.set(self.0.get() + children_seconds(server).unwrap_or(0.0));
    }
}

impl CpuInterference {
    /// Starts to measure.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub(super) fn start() -> io::Result<CpuInterference> {
        Ok(CpuInterference { from: Instant::now(), before: others_seconds()?, engines: EngineSeconds::default() })
    }

    /// Where servers that are ended say what their children used.
    pub(super) fn engines(&self) -> EngineSeconds {
        self.engines.clone()
    }

    /// Cores that other programs kept busy since the start, on average. The children of this process must have ended,
    /// since their CPU time counts as its own only then.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub(super) fn others_cores(&self) -> io::Result<f64> {
        Ok(((others_seconds()? - self.before - self.engines.0.get()) / self.from.elapsed().as_secs_f64()).max(0.0))
    }
}

/// CPU seconds of the whole machine, without those of this process and of the children that it has waited for (fields
/// 14 to 17).
fn others_seconds() -> io::Result<f64> {
    Ok(machine_seconds(&fs::read_to_string("/proc/stat")?)? / ticks_per_second() - seconds("self", &[14, 15, 16, 17])?)
}

/// Busy ticks of the machine, from proc_stat(5): user, nice, system, irq, softirq and steal.
fn machine_seconds(stat: &str) -> io::Result<f64> {
    let fields: Vec<f64> = stat.lines().next().unwrap_or("").split_whitespace().skip(1).flat_map(str::parse).collect();
    let busy = [0, 1, 2, 5, 6, 7].map(|field| fields.get(field).copied());
    busy.into_iter()
        .sum::<Option<f64>>()
        .ok_or_else(|| io::Error::other("/proc/stat does not tell the machine's CPU time"))
}

/// CPU seconds in `fields` of a process.
fn seconds(process: &str, fields: &[usize]) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    Ok(sum(&stat, fields).ok_or_else(|| io::Error::other("/proc does not tell a process's CPU time"))?
        / ticks_per_second())
}

/// The sum of fields of proc_pid_stat(5), by their numbers there. The name in brackets (field 2) may contain anything, so
/// that fields are counted from its end.
fn sum(stat: &str, fields: &[usize]) -> Option<f64> {
    let after_name: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    fields.iter().map(|field| after_name.get(field - 3)?.parse::<f64>().ok()).sum()
}

fn ticks_per_second() -> f64 {
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
    fn the_cpu_time_of_this_process_is_no_interference() {
        let interference = CpuInterference::start().unwrap();
        let cores = interference.others_cores().unwrap();
        let engines = interference.engines();
        engines.add_children_of(std::process::id());
        engines.0.set(engines.0.get() + 1e9);
        assert!(interference.others_cores().unwrap() < f64::EPSILON, "what engines used is no interference either");
        assert!((0.0..1e6).contains(&cores), "{cores}");
        assert!(process_seconds(std::process::id()).unwrap() >= 0.0);
    }

    #[test]
    fn the_children_of_a_process_count_with_it() {
        let alone = peak_bytes(std::process::id()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(children(std::process::id()).unwrap().contains(&child.id()));
        let together = peak_bytes(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(together.unwrap() > alone);
    }
}
