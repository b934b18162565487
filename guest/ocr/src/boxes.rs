//! From the network's map of probabilities to boxes around lines of text: the postprocessing of differentiable
//! binarization (Liao et al., *Real-time Scene Text Detection with Differentiable Binarization*, AAAI 2020).

use serde::Deserialize;

use crate::components::{HeatMap, components};
use crate::geometry::{Point, Quad, Rectangle, in_reading_direction};

/// The shorter side of the core of a line, in pixels of the map, at least.
const MIN_CORE: f64 = 3.0;
/// The same of a box.
const MIN_BOX: f64 = 5.0;
/// A box has more than so many pixels of the picture a side.
const MIN_SIDE: f64 = 3.0;

/// `[postprocessing]` of the card of a detection model.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BoxRules {
    /// From this probability on a pixel is one of text.
    pub(crate) threshold: f32,
    /// The average probability of the pixels of a core, at least.
    pub(crate) box_threshold: f64,
    /// By how much a box is larger than the core: times area divided by circumference, on each side.
    pub(crate) unclip_ratio: f64,
}

/// The boxes of `map` in a picture of `size`, which is width and height; each in whole pixels, in the order in which they
/// are read.
pub(crate) fn text_boxes(map: HeatMap<'_>, rules: &BoxRules, size: (u32, u32)) -> Vec<Quad> {
    let components = components(map, rules.threshold);
    let mut boxes: Vec<Quad> = components
        .iter()
        .filter_map(|points| text_box(map, rules, points))
        .filter_map(|at| in_picture(map, at, size))
        .collect();
    sort_for_reading(&mut boxes);
    boxes
}

/// The box of one component, in pixels of the map.
fn text_box(map: HeatMap<'_>, rules: &BoxRules, component: &[Point]) -> Option<Quad> {
    let core = Rectangle::around(component).filter(|core| core.shorter_side() >= MIN_CORE)?;
    if mean_within(map, &core.corners()) < rules.box_threshold {
        return None;
    }
    let grown = core.grown(core.area() * rules.unclip_ratio / core.circumference());
    (grown.shorter_side() >= MIN_BOX).then(|| grown.corners())
}

/// The average of the map's pixels within a convex quadrilateral.
fn mean_within(map: HeatMap<'_>, corners: &Quad) -> f64 {
    let heights = corners.map(|corner| corner.y.floor());
    let last = map.height.saturating_sub(1) as f64;
    let top = heights.into_iter().fold(f64::INFINITY, f64::min).clamp(0.0, last);
    let bottom = heights.into_iter().fold(0.0, f64::max).clamp(0.0, last);
    let (mut sum, mut count) = (0.0, 0);
    for row in top as usize..=bottom as usize {
        let Some((left, right)) = span(corners, row as f64) else { continue };
        let edge = map.width.saturating_sub(1) as f64;
        let (left, right) = (left.round().clamp(0.0, edge) as usize, right.round().clamp(0.0, edge) as usize);
        let values = &map.values[row * map.width..][left..=right];
        sum += values.iter().map(|&value| f64::from(value)).sum::<f64>();
        count += values.len();
    }
    if count == 0 { 0.0 } else { sum / f64::from(count as u32) }
}

/// The first and the last place of a row within a convex quadrilateral, whose corners are taken as whole pixels.
fn span(corners: &Quad, row: f64) -> Option<(f64, f64)> {
    let whole = corners.map(|corner| Point::new(corner.x.floor(), corner.y.floor()));
    let within_side = |(start, end): (Point, Point)| {
        if row < start.y.min(end.y) || row > start.y.max(end.y) {
            return None;
        }
        if start.y == end.y {
            return Some((start.x.min(end.x), start.x.max(end.x)));
        }
        let x = start.x + (row - start.y) / (end.y - start.y) * (end.x - start.x);
        Some((x, x))
    };
    let sides = whole.into_iter().zip([whole[1], whole[2], whole[3], whole[0]]);
    sides.filter_map(within_side).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// A box of the map in whole pixels of the picture that the map shows; `None` for one that is next to nothing there.
fn in_picture(map: HeatMap<'_>, corners: Quad, (width, height): (u32, u32)) -> Option<Quad> {
    let scaled = |value: f64, from: usize, to: u32| {
        (value / from as f64 * f64::from(to)).round_ties_even().clamp(0.0, f64::from(to - 1))
    };
    let place = |corner: Point| Point::new(scaled(corner.x, map.width, width), scaled(corner.y, map.height, height));
    let corners = in_reading_direction(corners.map(place));
    let is_seen = [corners[1], corners[3]].iter().all(|end| corners[0].distance(*end).floor() > MIN_SIDE);
    is_seen.then_some(corners)
}

/// Sorts boxes from top to bottom, and those of one line from left to right.
pub(crate) fn sort_for_reading(boxes: &mut [Quad]) {
    boxes.sort_by(|a, b| a[0].y.total_cmp(&b[0].y).then(a[0].x.total_cmp(&b[0].x)));
    for end in 1..boxes.len() {
        let mut at = end;
        while at > 0 && is_before_in_line(&boxes[at], &boxes[at - 1]) {
            boxes.swap(at, at - 1);
            at -= 1;
        }
    }
}

/// Whether `a` is on the left of `b` and begins at about the same height: by less than half of the lower one.
fn is_before_in_line(a: &Quad, b: &Quad) -> bool {
    let height = |corners: &Quad| corners[0].distance(corners[3]);
    (a[0].y - b[0].y).abs() < height(a).min(height(b)) / 2.0 && a[0].x < b[0].x
}

#[cfg(test)]
mod tests;
