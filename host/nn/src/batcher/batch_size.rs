//! Tunes the batch size by measuring: stacking pays where the weights are read once for all rows, and costs where the
//! rows no longer fit into a cache. The decision is a pure function of the durations of past batches.
//!
//! Sizes are powers of two and the maximum. Each is tried for a while, the largest first. Then the smallest size that
//! no larger one clearly beats is kept, and compared with its neighbours from time to time.

use std::collections::VecDeque;
use std::time::Duration;

/// The number of batches that a trial takes, and of which the mean is taken.
const WINDOW: usize = 16;
/// How many of them are left out at either end, since something else may have held them up. Rows may differ, as texts of
/// different lengths do, so the others count with all that they took: their median would make single rows look cheap.
const LEFT_OUT: usize = WINDOW / 8;
/// The number of batches between two trials.
const PERIOD: usize = 256;
/// A larger batch is preferred only if its time for a row is below this share of the smaller one's, since it costs
/// memory and its first row waits for the whole batch.
const CLEARLY: f64 = 0.97;

/// Tunes the size of one model's batches.
#[derive(Debug)]
pub(super) struct BatchSizeTuner {
    /// The candidates, from 1 row to the most that the card allows.
    levels: Vec<Level>,
    /// The index of the level that is used between trials.
    kept: usize,
    /// Indices of the levels that are to be tried. The last one is being tried.
    trials: Vec<usize>,
    /// Batches of the current level since it was chosen.
    batches: usize,
}

#[derive(Debug)]
struct Level {
    rows: usize,
    /// The latest batches of at most `rows` rows and more than the previous level has.
    batches: VecDeque<Batch>,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    rows: f64,
    seconds: f64,
}

impl BatchSizeTuner {
    /// A tuner that has tried none of the sizes up to `max_rows` yet.
    pub(super) fn new(max_rows: usize) -> BatchSizeTuner {
        let sizes = std::iter::successors(Some(1), |size| Some(size * 2)).take_while(|&size| size < max_rows);
        let levels: Vec<_> = sizes.chain([max_rows]).map(|rows| Level { rows, batches: VecDeque::new() }).collect();
        BatchSizeTuner { trials: (0..levels.len()).collect(), levels, kept: 0, batches: 0 }
    }

    /// The most rows that the next batch should have.
    pub(super) fn rows(&self) -> usize {
        self.levels[self.level()].rows
    }

    /// Observes the duration of a batch of `rows` rows.
    pub(super) fn observe(&mut self, rows: usize, duration: Duration) {
        // A batch that a client sent as a whole may be larger than every level.
        let Some(level) = self.levels.iter().position(|level| rows <= level.rows) else { return };
        #[expect(clippy::cast_precision_loss, reason = "rows are few")]
        self.levels[level].add(Batch { rows: rows.max(1) as f64, seconds: duration.as_secs_f64() });
        self.batches += usize::from(level == self.level());
        let due = if self.trials.is_empty() { PERIOD } else { WINDOW };
        if self.batches >= due {
            self.batches = 0;
            self.advance();
        }
    }

    fn level(&self) -> usize {
        self.trials.last().copied().unwrap_or(self.kept)
    }

    /// Goes on from one trial to the next, from the last trial to the best level, and from there to new trials.
    fn advance(&mut self) {
        if self.trials.pop().is_none() {
            let neighbours = self.kept.saturating_sub(1)..=(self.kept + 1).min(self.levels.len() - 1);
            self.trials = neighbours.filter(|&level| level != self.kept).collect();
        }
        if self.trials.is_empty() {
            self.kept = self.best();
        }
    }

    fn best(&self) -> usize {
        let known = self.levels.iter().enumerate().filter_map(|(n, level)| Some((n, level.time_a_row()?)));
        let better = |best: (usize, f64), next: (usize, f64)| if next.1 < best.1 * CLEARLY { next } else { best };
        known.reduce(better).map_or(self.kept, |(level, _)| level)
    }
}

impl Level {
    fn add(&mut self, batch: Batch) {
        if self.batches.len() == WINDOW {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }

    /// Seconds a row; `None` while there are too few batches.
    fn time_a_row(&self) -> Option<f64> {
        let mut batches: Vec<_> = self.batches.iter().copied().collect();
        batches.sort_by(|one, other| (one.seconds / one.rows).total_cmp(&(other.seconds / other.rows)));
        let kept = batches.get(LEFT_OUT..batches.len().saturating_sub(LEFT_OUT)).filter(|kept| !kept.is_empty())?;
        let (rows, seconds) = kept.iter().fold((0.0, 0.0), |sum, batch| (sum.0 + batch.rows, sum.1 + batch.seconds));
        Some(seconds / rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs full batches that take `cost(rows)` microseconds each, and returns how many there were of each size.
    fn run(tuner: &mut BatchSizeTuner, batches: usize, cost: impl Fn(usize) -> usize) -> Vec<(usize, usize)> {
        let mut sizes = std::collections::BTreeMap::new();
        for _ in 0..batches {
            let rows = tuner.rows();
            tuner.observe(rows, Duration::from_micros(cost(rows) as u64));
            *sizes.entry(rows).or_default() += 1;
        }
        sizes.into_iter().collect()
    }

    /// The weights are read once for all rows.
    fn bound_by_memory(rows: usize) -> usize {
        6000 + 400 * rows
    }

    /// Each row costs the same, and a little more once they no longer fit into the cache.
    fn bound_by_sums(rows: usize) -> usize {
        10_000 * rows + if rows > 2 { 500 * rows } else { 0 }
    }

    #[test]
    fn the_largest_batch_comes_first() {
        let tuner = BatchSizeTuner::new(6);
        assert_eq!(tuner.rows(), 6);
        assert_eq!(tuner.levels.iter().map(|level| level.rows).collect::<Vec<_>>(), [1, 2, 4, 6]);
        assert_eq!(BatchSizeTuner::new(1).rows(), 1);
    }

    #[test]
    fn what_pays_is_kept_and_the_rest_is_seldom() {
        for (cost, kept) in [(bound_by_memory as fn(usize) -> usize, 16), (bound_by_sums, 1)] {
            let mut tuner = BatchSizeTuner::new(16);
            let tried = run(&mut tuner, 5 * WINDOW, cost);
            assert_eq!(tried, [1, 2, 4, 8, 16].map(|rows| (rows, WINDOW)));
            let sizes = run(&mut tuner, 10 * (PERIOD + WINDOW), cost);
            assert_eq!(tuner.kept, tuner.levels.iter().position(|level| level.rows == kept).unwrap());
            assert!(sizes.contains(&(kept, 10 * PERIOD)), "{sizes:?}");
            assert_eq!(sizes.len(), 2, "only its neighbour is compared: {sizes:?}");
        }
    }

    /// Texts of which one in four is long: a stacked batch costs less than its rows do alone, though most rows alone cost
    /// less than a row of the batch.
    #[test]
    fn rows_that_differ_do_not_make_single_ones_look_cheap() {
        let mut tuner = BatchSizeTuner::new(4);
        let (mut at, alone) = (0usize, |row: usize| if row % 4 == 3 { 14_000 } else { 3_000 });
        for _ in 0..3 * (PERIOD + 3 * WINDOW) {
            let rows = tuner.rows();
            let cost: usize = (at..at + rows).map(alone).sum::<usize>() * 8 / (7 + rows);
            at += rows;
            tuner.observe(rows, Duration::from_micros(cost as u64));
        }
        assert_eq!(tuner.levels[tuner.kept].rows, 4);
    }

    /// What holds a batch up now and then decides nothing.
    #[test]
    fn a_few_slow_batches_do_not_count() {
        let mut tuner = BatchSizeTuner::new(16);
        for n in 0..5 * WINDOW {
            let rows = tuner.rows();
            let held_up = if n % 16 == 0 { 500_000 } else { 0 };
            tuner.observe(rows, Duration::from_micros((bound_by_memory(rows) + held_up) as u64));
        }
        assert_eq!(tuner.levels[tuner.kept].rows, 16);
    }

    #[test]
    fn a_size_that_no_longer_pays_is_left() {
        let mut tuner = BatchSizeTuner::new(8);
        run(&mut tuner, 4 * WINDOW, bound_by_memory);
        assert_eq!(tuner.rows(), 8);
        run(&mut tuner, 4 * (PERIOD + 2 * WINDOW), bound_by_sums);
        assert_eq!(tuner.levels[tuner.kept].rows, 1);
        run(&mut tuner, 4 * (PERIOD + 2 * WINDOW), bound_by_memory);
        assert_eq!(tuner.levels[tuner.kept].rows, 8);
    }

    #[test]
    fn batches_that_load_does_not_fill_decide_nothing() {
        let mut tuner = BatchSizeTuner::new(8);
        for _ in 0..1000 {
            tuner.observe(1, Duration::from_millis(1));
        }
        assert_eq!(tuner.rows(), 8, "it was not tried yet");
        tuner.observe(100, Duration::from_millis(1));
    }
}
