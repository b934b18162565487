//! Scales planes of bytes by a separable convolution, antialiased when it shrinks, as Pillow's `resize` with a box does.
//!
//! One pass computes weighted sums of rows, which suits SIMD, and writes each resulting row as a column. So the same pass,
//! run twice, scales both axes.

use std::ops::Range;

use modelfn_card::image::Filter;

use crate::types::{CropBox, Plane, Raster};

/// Fractional bits of a weight. Weights are below 2.
const BITS: u32 = 14;

/// Bytes in a SIMD register.
const LANES: usize = 16;

/// The filter's weights along one axis.
struct Taps {
    /// For each sample of the result, the first sample of the source that contributes to it.
    starts: Vec<usize>,
    /// For each sample of the result, `each` weights with [`BITS`] fractional bits; unused ones at the end are 0.
    weights: Vec<i16>,
    /// Weights of one sample of the result: an even number.
    each: usize,
}

/// Rows of bytes, and which part of each row is looked at.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bytes: &'a [u8],
    /// Bytes from one row to the next.
    stride: usize,
    /// Bytes that are looked at, from the start of a row on.
    width: usize,
}

/// The part of one axis that is scaled, and to how many samples.
#[derive(Clone, Copy)]
struct AxisCrop {
    /// Where the crop starts, in samples of the source.
    start: f64,
    /// How many samples of the source it covers.
    length: f64,
    /// Samples that the source has.
    available: usize,
    /// Samples of the result.
    count: usize,
}

/// An interleaved picture, and which part of it is looked at.
#[derive(Clone, Copy)]
pub(crate) struct PixelView<'a> {
    pub(crate) samples: &'a [u8],
    /// Samples of a pixel.
    pub(crate) channels: usize,
    /// Width and height in pixels.
    pub(crate) size: (usize, usize),
    pub(crate) crop: CropBox,
}

impl<'a> From<&'a Raster> for PixelView<'a> {
    fn from(raster: &'a Raster) -> Self {
        let Raster { samples, channels, width, height, crop } = raster;
        Self { samples, channels: *channels, size: (*width, *height), crop: *crop }
    }
}

/// Scales the crop of each plane to the size `to`, which is width and height; row-major.
pub(crate) fn resize(planes: &[Plane], to: (usize, usize), filter: Filter) -> Vec<Vec<u8>> {
    let shape = |plane: &Plane| (plane.width, plane.height, plane.crop);
    let mut last = None;
    let one = |plane: &Plane| {
        if (plane.width, plane.height) == to && plane.crop.is_all_of(to) {
            return Some(plane.samples.clone());
        }
        // All planes often have the same shape, or at least the two of color.
        if last.as_ref().is_none_or(|(of, _)| *of != shape(plane)) {
            last = Some((shape(plane), Scaling::new(plane.crop, (plane.width, plane.height), to, filter)));
        }
        let (_, scaling) = last.as_ref()?;
        scaling.apply(&plane.samples, 1)
    };
    planes.iter().filter_map(one).collect()
}

/// Scales the crop of an interleaved picture to the size `to`, and returns a plane for each of its channels; no plane
/// where the number of samples contradicts the size.
pub(crate) fn resize_interleaved(picture: PixelView<'_>, to: (usize, usize), filter: Filter) -> Vec<Vec<u8>> {
    let PixelView { samples, channels, size, crop } = picture;
    if samples.len() != size.0 * size.1 * channels {
        return Vec::new();
    }
    let scaling = Scaling::new(crop, size, to, filter);
    // The first pass writes the columns of all channels as rows; the second one turns those of each channel into a plane.
    let planes = scaling.apply(samples, channels).unwrap_or_default();
    planes.chunks_exact(to.0 * to.1).map(<[u8]>::to_vec).collect()
}

/// How the crop of a picture becomes one of another size.
struct Scaling {
    down: Taps,
    across: Taps,
    /// The columns that contribute to the result. What costs time and memory is these, not the picture's width.
    columns: Range<usize>,
    width: usize,
    to: (usize, usize),
}

impl Scaling {
    fn new(crop: CropBox, (width, height): (usize, usize), to: (usize, usize), filter: Filter) -> Self {
        let rows = AxisCrop { start: crop.top, length: crop.height, available: height, count: to.1 };
        let columns = AxisCrop { start: crop.left, length: crop.width, available: width, count: to.0 };
        let (down, mut across) = (Taps::new(rows, filter), Taps::new(columns, filter));
        let columns = across.reach(width);
        across.starts.iter_mut().for_each(|start| *start -= columns.start);
        Self { down, across, columns, width, to }
    }

    /// All channels of a picture, one after the other; `None` where it has fewer samples than it should.
    fn apply(&self, samples: &[u8], channels: usize) -> Option<Vec<u8>> {
        let bytes = samples.get(self.columns.start * channels..)?;
        let width = self.columns.len() * channels;
        let narrow = self.down.convolve(Rows { bytes, stride: self.width * channels, width });
        let width = self.to.1 * channels;
        Some(self.across.convolve(Rows { bytes: &narrow, stride: width, width }))
    }
}

impl Taps {
    /// As in Pillow's `Resample.c`, the filter is centred on each sample of the result, and stretched where the picture
    /// shrinks.
    fn new(axis: AxisCrop, filter: Filter) -> Self {
        let AxisCrop { start, length, available, count } = axis;
        let (support, weight): (f64, fn(f64) -> f64) = match filter {
            Filter::Bicubic => (2.0, bicubic),
            Filter::Bilinear => (1.0, |x| (1.0 - x.abs()).max(0.0)),
        };
        let scale = length / count as f64;
        let stretch = scale.max(1.0);
        let each = ((2.0 * support * stretch).ceil() as usize + 1).next_multiple_of(2);
        let mut taps = Self { starts: Vec::with_capacity(count), weights: vec![0; count * each], each };
        let mut raw = vec![0.0; each];
        for (n, weights) in taps.weights.chunks_exact_mut(each).enumerate() {
            let middle = start + (n as f64 + 0.5) * scale;
            let end = ((middle + support * stretch + 0.5) as usize).min(available);
            let first = ((middle - support * stretch + 0.5).max(0.0) as usize).min(end.saturating_sub(1));
            let raw = &mut raw[..(end - first).min(each)];
            for (at, raw) in (first..).zip(&mut *raw) {
                *raw = weight((at as f64 + 0.5 - middle) / stretch);
            }
            let unit = f64::from(1 << BITS) / raw.iter().sum::<f64>();
            // The error of rounding a weight is carried to the next one, so that the errors of many do not add up.
            let mut left = 0.0;
            for (weight, raw) in weights.iter_mut().zip(raw) {
                let exact = *raw * unit + left;
                let whole = exact.round_ties_even();
                (*weight, left) = (whole as i16, exact - whole);
            }
            taps.starts.push(first);
        }
        taps
    }

    /// The samples of the source that contribute to the result, of as many as there are.
    fn reach(&self, available: usize) -> Range<usize> {
        let (first, last) = (self.starts.iter().min(), self.starts.iter().max());
        let start = first.copied().unwrap_or(0);
        start..(last.copied().unwrap_or(0) + self.each).min(available).max(start)
    }

    /// Computes weighted sums of the source's rows, and writes each as a column.
    fn convolve(&self, source: Rows<'_>) -> Vec<u8> {
        let (count, width) = (self.starts.len(), source.width);
        let mut result = vec![0; count * width];
        let taps = |n: usize| {
            let rows = Rows { bytes: &source.bytes[self.starts[n] * source.stride..], ..source };
            (rows, &self.weights[n * self.each..][..self.each])
        };
        if count < LANES || width < LANES {
            for (x, n) in (0..width).flat_map(|x| (0..count).map(move |n| (x, n))) {
                let (rows, weights) = taps(n);
                result[x * count + n] = convolve_one(&rows.bytes[x..], rows.stride, weights);
            }
            return result;
        }
        let mut strip = vec![0; LANES * width];
        for start in steps(count) {
            for (n, row) in (start..).zip(strip.chunks_exact_mut(width)) {
                let (rows, weights) = taps(n);
                convolve_row(rows, weights, row);
            }
            for x in steps(width) {
                let mut half = [[0; LANES]; LANES];
                for n in 0..4 {
                    let row = |n: usize| strip[n * width + x..].first_chunk().copied().unwrap_or_default();
                    half[4 * n..][..4].copy_from_slice(&interleave([row(n), row(n + 4), row(n + 8), row(n + 12)]));
                }
                for n in 0..4 {
                    let columns = interleave([half[n], half[n + 4], half[n + 8], half[n + 12]]);
                    for (x, column) in (x + 4 * n..).zip(columns) {
                        result[x * count + start..][..LANES].copy_from_slice(&column);
                    }
                }
            }
        }
        result
    }
}

/// The starts of steps of [`LANES`] that cover `length`. The last step may overlap the one before.
fn steps(length: usize) -> impl Iterator<Item = usize> {
    let last = length - LANES;
    (0..last).step_by(LANES).chain([last])
}

/// Keys' cubic convolution with a = -0.5 (IEEE Trans. ASSP 29, 1981), which is Catmull and Rom's spline.
fn bicubic(x: f64) -> f64 {
    cubic(x, -0.5)
}

/// Keys' cubic convolution, whose slope at 1 is `a`: the lower that is, the sharper.
pub(crate) fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// The weighted sum of one column of `rows`, which are `stride` samples apart. Weights behind the last row are 0.
fn convolve_one(rows: &[u8], stride: usize, weights: &[i16]) -> u8 {
    let samples = rows.iter().step_by(stride).zip(weights);
    let sum: i32 = samples.map(|(&sample, &weight)| i32::from(sample) * i32::from(weight)).sum();
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

/// The weighted sum of the first rows, each as long as `target`, which has at least [`LANES`] samples.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn convolve_row(rows: Rows<'_>, weights: &[i16], target: &mut [u8]) {
    for (x, sample) in target.iter_mut().enumerate() {
        *sample = convolve_one(&rows.bytes[x..], rows.stride, weights);
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
fn convolve_row(rows: Rows<'_>, weights: &[i16], target: &mut [u8]) {
    use crate::simd::factors;

    let Rows { bytes, stride, width } = rows;
    // A weight behind the last row is 0.
    let row = |n: usize| bytes.get(n * stride..).and_then(|rows| rows.get(..width)).unwrap_or(&bytes[..width]);
    let pair = |n: usize| ([row(2 * n), row(2 * n + 1)], factors(weights[2 * n].into(), weights[2 * n + 1].into()));
    match weights.len() / 2 {
        2 => convolve_pairs(&std::array::from_fn::<_, 2, _>(pair), target),
        3 => convolve_pairs(&std::array::from_fn::<_, 3, _>(pair), target),
        4 => convolve_pairs(&std::array::from_fn::<_, 4, _>(pair), target),
        5 => convolve_pairs(&std::array::from_fn::<_, 5, _>(pair), target),
        count => convolve_pairs(&(0..count).map(pair).collect::<Vec<_>>(), target),
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn convolve_pairs(pairs: &[([&[u8]; 2], std::arch::wasm32::v128)], target: &mut [u8]) {
    use std::arch::wasm32::*;

    use crate::simd::{bytes, from_middle, high_bytes, load, low_bytes, narrow};
    let width = target.len();
    for x in steps(width) {
        let add = |sums: [v128; 4], &([a, b], factors): &([&[u8]; 2], v128)| {
            let row = |row: &[u8]| row[..width][x..].first_chunk().map_or(i8x16_splat(0), load);
            let (a, b) = (row(a), row(b));
            let (low, high) = (low_bytes(a, b), high_bytes(a, b));
            let dot = |sum, samples| i32x4_add(sum, i32x4_dot_i16x8(samples, factors));
            [
                dot(sums[0], u16x8_extend_low_u8x16(low)),
                dot(sums[1], u16x8_extend_high_u8x16(low)),
                dot(sums[2], u16x8_extend_low_u8x16(high)),
                dot(sums[3], u16x8_extend_high_u8x16(high)),
            ]
        };
        let none = [i32x4_splat((1 << (BITS - 1)) - (128 << BITS)); 4];
        // Unrolled by hand, since the compiler keeps a loop even over so few.
        let sums = match pairs {
            [a, b] => add(add(none, a), b),
            [a, b, c] => add(add(add(none, a), b), c),
            [a, b, c, d] => add(add(add(add(none, a), b), c), d),
            [a, b, c, d, e] => add(add(add(add(add(none, a), b), c), d), e),
            _ => pairs.iter().fold(none, add),
        };
        let [a, b, c, d] = sums;
        target[x..x + LANES].copy_from_slice(&bytes(from_middle(narrow::<BITS>([a, b]), narrow::<BITS>([c, d]))));
    }
}

/// Interleaves four rows: the first lanes of all four, then their second lanes, and so on. Doing so with every fourth of
/// sixteen rows, and again with every fourth of the results, transposes a block of 16 x 16.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn interleave(rows: [[u8; LANES]; 4]) -> [[u8; LANES]; 4] {
    std::array::from_fn(|row| std::array::from_fn(|lane| rows[lane % 4][4 * row + lane / 4]))
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn interleave(rows: [[u8; LANES]; 4]) -> [[u8; LANES]; 4] {
    use crate::simd::{bytes, high_bytes, load, low_bytes};
    let [a, b, c, d] = rows.each_ref().map(load);
    let [(a, c), (b, d)] = [(a, c), (b, d)].map(|(a, b)| (low_bytes(a, b), high_bytes(a, b)));
    [low_bytes(a, b), high_bytes(a, b), low_bytes(c, d), high_bytes(c, d)].map(bytes)
}

#[cfg(test)]
mod tests;
