//! When memory is freed that ONNX Runtime's arena would keep for good: it never shrinks below what the largest run needed.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The runs after which memory is freed that was not there before.
const FIRST_INTERVAL: usize = 64;

/// The runs after which memory is freed that came back again and again: runs need it.
const LONGEST_INTERVAL: usize = 64 * FIRST_INTERVAL;

/// Observes the memory of this process before each run of a session, and decides after which runs memory is freed.
#[derive(Debug, Default)]
pub(super) struct ArenaTrimmer {
    /// Runs since memory was freed, this one included.
    runs: usize,
    /// The runs between freeing memory and freeing it again; 0 before the first run.
    interval: usize,
    /// The memory in bytes before it was freed the last time.
    freed_at: usize,
}

/// The memory that is freed after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trim {
    Nothing,
    /// Free memory of the C library's heap.
    Heap,
    /// Free memory of the heap and of the engine's arena.
    Arena,
}

impl ArenaTrimmer {
    /// What is freed after the run that begins while the process has `memory` bytes: the garbage of loading after the
    /// first run, then what larger runs left. Memory that always comes back is freed ever more seldom.
    pub(super) fn before_run(&mut self, memory: usize) -> Trim {
        if self.interval == 0 {
            *self = Self { runs: 0, interval: FIRST_INTERVAL, freed_at: memory };
            return Trim::Heap;
        }
        self.runs += 1;
        let has_grown = memory / 2 > self.freed_at;
        if self.runs <= if has_grown { FIRST_INTERVAL } else { self.interval } {
            return Trim::Nothing;
        }
        let came_back = !has_grown && memory > self.freed_at / 2;
        let interval = if came_back { (self.interval * 2).min(LONGEST_INTERVAL) } else { FIRST_INTERVAL };
        *self = Self { runs: 0, interval, freed_at: memory };
        Trim::Arena
    }
}

/// The memory of this process that is not shared with others.
#[derive(Debug, Default)]
pub(super) struct ProcessMemory {
    statistics: Option<File>,
    page_size: usize,
}

impl ProcessMemory {
    /// Opens what the kernel says of this process, which may open no file later on.
    pub(super) fn open() -> Self {
        Self { statistics: File::open("/proc/self/statm").ok(), page_size: rustix::param::page_size() }
    }

    /// The size in bytes; 0 where the kernel does not say.
    pub(super) fn bytes(&self) -> usize {
        let mut text = [0; 128];
        let read = self.statistics.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        // The second and the third number of proc_pid_statm(5), in pages: resident, and resident shared.
        let text = String::from_utf8_lossy(&text[..read]);
        let mut pages = text.split(' ').skip(1).map(|number| number.parse::<usize>().unwrap_or(0));
        let resident = pages.next().unwrap_or(0);
        resident.saturating_sub(pages.next().unwrap_or(0)).saturating_mul(self.page_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runs with this memory until memory is freed.
    fn runs_until_freed(trimmer: &mut ArenaTrimmer, memory: usize) -> usize {
        (1..).find(|_| trimmer.before_run(memory) == Trim::Arena).unwrap_or(0)
    }

    #[test]
    fn memory_that_runs_need_is_freed_ever_more_seldom() {
        let mut trimmer = ArenaTrimmer::default();
        assert_eq!(trimmer.before_run(100), Trim::Heap, "what loading left");
        let intervals: Vec<_> = (0..9).map(|_| runs_until_freed(&mut trimmer, 100) - 1).collect();
        assert_eq!(intervals, [64, 128, 256, 512, 1024, 2048, 4096, 4096, 4096]);
    }

    #[test]
    fn memory_of_a_large_run_is_freed_soon() {
        let mut trimmer = ArenaTrimmer::default();
        trimmer.before_run(100);
        while trimmer.interval < LONGEST_INTERVAL {
            runs_until_freed(&mut trimmer, 100);
        }
        (0..10).for_each(|_| assert_eq!(trimmer.before_run(100), Trim::Nothing));
        assert_eq!(runs_until_freed(&mut trimmer, 1000), FIRST_INTERVAL + 1 - 10);
        assert_eq!(runs_until_freed(&mut trimmer, 100), FIRST_INTERVAL + 1, "it did not come back");
        assert_eq!(runs_until_freed(&mut trimmer, 100), FIRST_INTERVAL + 1);
        assert_eq!(runs_until_freed(&mut trimmer, 100), FIRST_INTERVAL * 2 + 1, "it came back");
    }

    #[test]
    fn the_memory_of_this_process_is_known() {
        let memory = ProcessMemory::open();
        let before = memory.bytes();
        let more = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(before > 0 && memory.bytes() > before + (32 << 20), "{before}");
        drop(more);
    }
}
