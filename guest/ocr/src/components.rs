//! Connected components of the pixels of a map that are likely enough to be text.

use crate::geometry::Point;

/// A map of numbers, row by row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeatMap<'a> {
    /// As many as `width` and `height` say.
    pub(crate) values: &'a [f32],
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Pixels beside each other in one row, from `start` to `end`, both included.
#[derive(Clone, Copy, Debug)]
struct Run {
    row: usize,
    start: usize,
    end: usize,
}

/// Sets of runs that touch each other: a forest in which each run knows one before it, or itself.
#[derive(Debug, Default)]
struct Forest(Vec<usize>);

/// The connected components (8 neighbours) of the pixels that are above `threshold`, after each of them was grown to the
/// right and downwards by one pixel, so that cracks close. Of each row of a component the first and the last pixel are
/// there at least, row by row.
pub(crate) fn components(map: HeatMap<'_>, threshold: f32) -> Vec<Vec<Point>> {
    let runs = runs(map, threshold);
    let mut forest = connect(&runs);
    // A component's number, by its root.
    let mut numbers = vec![usize::MAX; runs.len()];
    let mut components: Vec<Vec<Point>> = Vec::new();
    for (n, run) in runs.iter().enumerate() {
        let root = forest.root(n);
        if numbers[root] == usize::MAX {
            numbers[root] = components.len();
            components.push(Vec::new());
        }
        let ends = [run.start, run.end].map(|column| Point::new(column as f64, run.row as f64));
        components[numbers[root]].extend(ends);
    }
    components
}

/// The runs of the grown mask, row by row.
fn runs(map: HeatMap<'_>, threshold: f32) -> Vec<Run> {
    let mut runs = Vec::new();
    if map.width == 0 {
        return runs;
    }
    let mut above = vec![false; map.width];
    let mut grown = vec![false; map.width];
    for (row, values) in map.values.chunks_exact(map.width).enumerate() {
        let (mut left, mut above_left) = (false, false);
        for ((grown, above), &value) in grown.iter_mut().zip(&mut above).zip(values) {
            let here = value > threshold;
            *grown = here || left || *above || above_left;
            (left, above_left, *above) = (here, *above, here);
        }
        let mut start = 0;
        for stretch in grown.chunk_by(|a, b| a == b) {
            if stretch[0] {
                runs.push(Run { row, start, end: start + stretch.len() - 1 });
            }
            start += stretch.len();
        }
    }
    runs
}

/// Connects each run with those of the row above that it touches, also at a corner.
fn connect(runs: &[Run]) -> Forest {
    let mut forest = Forest((0..runs.len()).collect());
    // The first run that may touch the current one.
    let mut other = 0;
    for (n, run) in runs.iter().enumerate() {
        let is_past = |above: &Run| above.row + 1 < run.row || above.row + 1 == run.row && above.end + 1 < run.start;
        while is_past(&runs[other]) {
            other += 1;
        }
        let touching = runs[other..n].iter().take_while(|above| above.row < run.row && above.start <= run.end + 1);
        for above in other..other + touching.count() {
            forest.join(above, n);
        }
    }
    forest
}

impl Forest {
    fn root(&mut self, mut n: usize) -> usize {
        while self.0[n] != n {
            // Each visited run skips one, so that paths stay short.
            self.0[n] = self.0[self.0[n]];
            n = self.0[n];
        }
        n
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests;
