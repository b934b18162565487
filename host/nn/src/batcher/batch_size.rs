//! How many rows a batch had better have, by measuring: stacking brings a lot where weights are read once for all
//! rows, and costs where eight rows no longer fit into a cache. A pure function of what batches took.
//!
//! Sizes are looked at in powers of two. Each is tried for a while, the largest first; then the smallest one that no
//! larger one clearly beats is kept, and from time to time compared with its neighbours.

use std::collections::VecDeque;
use std::time::Duration;

/// Batches of a size whose median counts, and that a trial takes.
const WINDOW: usize = 16;
/// Batches between two trials.
const PERIOD: usize = 256;
/// A larger batch must take this part or less of a smaller one's time for a row: it costs memory, and whoever comes
/// first waits for the whole of it.
const CLEARLY: f64 = 0.97;

/// The sizes of one model's batches.
#[derive(Debug)]
pub(super) struct BatchSizeTuner {
    /// By size, from 1 to the most that the card allows.
    levels: Vec<Level>,
    kept: usize,
    /// Levels to be tried, the last one now.
    trials: Vec<usize>,
    /// Batches of the level in question since it was chosen.
    ran: usize,
}

#[derive(Debug)]
struct Level {
    rows: usize,
    /// Seconds for a row, of the last batches of more rows than the level before has.
    times: VecDeque<f64>,
}

impl BatchSizeTuner {
    /// Every size up to `max_rows` is still to be tried.
    pub(super) fn new(max_rows: usize) -> BatchSizeTuner {
        let sizes = std::iter::successors(Some(1), |size| Some(size * 2)).take_while(|&size| size < max_rows);
        let levels: Vec<_> = sizes.chain([max_rows]).map(|rows| Level { rows, times: VecDeque::new() }).collect();
        BatchSizeTuner { trials: (0..levels.len()).collect(), levels, kept: 0, ran: 0 }
    }

    /// The most rows that the next batch should have.
    pub(super) fn rows(&self) -> usize {
        self.levels[self.level()].rows
    }

    /// A batch ended.
    pub(super) fn ran(&mut self, rows: usize, took: Duration) {
        // A client's own batch may be larger than what is stacked.
        let Some(level) = self.levels.iter().position(|level| rows <= level.rows) else { return };
        #[expect(clippy::cast_precision_loss, reason = "rows are few")]
        self.levels[level].add(took.as_secs_f64() / rows.max(1) as f64);
        self.ran += usize::from(level == self.level());
        let due = if self.trials.is_empty() { PERIOD } else { WINDOW };
        if self.ran >= due {
            self.ran = 0;
            self.go_on();
        }
    }

    fn level(&self) -> usize {
        self.trials.last().copied().unwrap_or(self.kept)
    }

    /// From one trial to the next, from the last one to what is kept, and from there to new trials.
    fn go_on(&mut self) {
        if self.trials.pop().is_none() {
            let neighbours = self.kept.saturating_sub(1)..=(self.kept + 1).min(self.levels.len() - 1);
            self.trials = neighbours.filter(|&level| level != self.kept).collect();
        }
        if self.trials.is_empty() {
            self.kept = self.best();
        }
    }

    fn best(&self) -> usize {
        let known = self.levels.iter().enumerate().filter_map(|(n, level)| Some((n, level.median()?)));
        let better = |best: (usize, f64), next: (usize, f64)| if next.1 < best.1 * CLEARLY { next } else { best };
        known.reduce(better).map_or(self.kept, |(level, _)| level)
    }
}

impl Level {
    fn add(&mut self, time: f64) {
        if self.times.len() == WINDOW {
            self.times.pop_front();
        }
        self.times.push_back(time);
    }

    fn median(&self) -> Option<f64> {
        let mut times: Vec<_> = self.times.iter().copied().collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs full batches whose time is `cost(rows)` in microseconds; gives how many there were of each size.
    fn run(pace: &mut BatchSizeTuner, batches: usize, cost: impl Fn(usize) -> usize) -> Vec<(usize, usize)> {
        let mut sizes = std::collections::BTreeMap::new();
        for _ in 0..batches {
            let rows = pace.rows();
            pace.ran(rows, Duration::from_micros(cost(rows) as u64));
            *sizes.entry(rows).or_default() += 1;
        }
        sizes.into_iter().collect()
    }

    /// Weights are read once for all rows.
    fn bound_by_memory(rows: usize) -> usize {
        6000 + 400 * rows
    }

    /// Rows cost the same each, and a little more once they leave the cache.
    fn bound_by_sums(rows: usize) -> usize {
        10_000 * rows + if rows > 2 { 500 * rows } else { 0 }
    }

    #[test]
    fn the_largest_batch_comes_first() {
        let pace = BatchSizeTuner::new(6);
        assert_eq!(pace.rows(), 6);
        assert_eq!(pace.levels.iter().map(|level| level.rows).collect::<Vec<_>>(), [1, 2, 4, 6]);
        assert_eq!(BatchSizeTuner::new(1).rows(), 1);
    }

    #[test]
    fn what_pays_is_kept_and_the_rest_is_seldom() {
        for (cost, kept) in [(bound_by_memory as fn(usize) -> usize, 16), (bound_by_sums, 1)] {
            let mut pace = BatchSizeTuner::new(16);
            let tried = run(&mut pace, 5 * WINDOW, cost);
            assert_eq!(tried, [1, 2, 4, 8, 16].map(|rows| (rows, WINDOW)));
            let sizes = run(&mut pace, 10 * (PERIOD + WINDOW), cost);
            assert_eq!(pace.kept, pace.levels.iter().position(|level| level.rows == kept).unwrap());
            assert!(sizes.contains(&(kept, 10 * PERIOD)), "{sizes:?}");
            assert_eq!(sizes.len(), 2, "only its neighbour is compared: {sizes:?}");
        }
    }

    #[test]
    fn a_size_that_no_longer_pays_is_left() {
        let mut pace = BatchSizeTuner::new(8);
        run(&mut pace, 4 * WINDOW, bound_by_memory);
        assert_eq!(pace.rows(), 8);
        run(&mut pace, 4 * (PERIOD + 2 * WINDOW), bound_by_sums);
        assert_eq!(pace.levels[pace.kept].rows, 1);
        run(&mut pace, 4 * (PERIOD + 2 * WINDOW), bound_by_memory);
        assert_eq!(pace.levels[pace.kept].rows, 8);
    }

    #[test]
    fn batches_that_load_does_not_fill_decide_nothing() {
        let mut pace = BatchSizeTuner::new(8);
        for _ in 0..1000 {
            pace.ran(1, Duration::from_millis(1));
        }
        assert_eq!(pace.rows(), 8, "it was not tried yet");
        pace.ran(100, Duration::from_millis(1));
    }
}
