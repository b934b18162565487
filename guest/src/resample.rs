//! Scales a plane of bytes: a convolution along each axis, antialiased when it shrinks, as Pillow's `resize` with a box.
//!
//! Pure. Rows are weighed and summed, which suits SIMD; columns are made rows for it, and back.

use crate::card::Filter;
use crate::picture::Plane;
use crate::preprocess::CropBox;

/// Fractional bits of a weight. Weights are below 2.
const BITS: u32 = 14;

/// Bytes that are computed together.
const LANES: usize = 16;

/// What the samples of a result along one axis are made of.
struct Taps {
    /// The first sample of the source, for each of the result.
    starts: Vec<usize>,
    /// `each` weights for each, the last of them perhaps 0.
    weights: Vec<i16>,
    /// An even number.
    each: usize,
}

/// The crops of planes at size `to`, row-major.
pub(crate) fn resize(planes: &[Plane], to: (usize, usize), filter: Filter) -> Vec<Vec<u8>> {
    let shape = |plane: &Plane| (plane.width, plane.height, plane.crop);
    let mut last = None;
    let one = |plane: &Plane| {
        // Often all planes, or both of color, are alike.
        if last.as_ref().is_none_or(|(of, _)| *of != shape(plane)) {
            let (Plane { width, height, .. }, CropBox { left, top, width: wide, height: high }) = (plane, plane.crop);
            let taps = (Taps::new((top, high), *height, to.1, filter), Taps::new((left, wide), *width, to.0, filter));
            last = Some((shape(plane), taps));
        }
        let (_, (down, across)) = last.as_ref()?;
        let flat = transpose(&down.weigh_rows(&plane.samples, plane.width), plane.width);
        Some(transpose(&across.weigh_rows(&flat, to.1), to.1))
    };
    planes.iter().filter_map(one).collect()
}

impl Taps {
    /// By Pillow's `Resample.c`: the filter, stretched where the picture shrinks, around the middle of each sample.
    fn new((start, length): (f64, f64), have: usize, count: usize, filter: Filter) -> Self {
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
            let end = ((middle + support * stretch + 0.5) as usize).min(have);
            let first = ((middle - support * stretch + 0.5).max(0.0) as usize).min(end.saturating_sub(1));
            let raw = &mut raw[..(end - first).min(each)];
            for (at, raw) in (first..).zip(&mut *raw) {
                *raw = weight((at as f64 + 0.5 - middle) / stretch);
            }
            let unit = f64::from(1 << BITS) / raw.iter().sum::<f64>();
            for (weight, raw) in weights.iter_mut().zip(raw) {
                *weight = (*raw * unit).round() as i16;
            }
            taps.starts.push(first);
        }
        taps
    }

    /// A row of the result is the weighed sum of some rows of `source`.
    fn weigh_rows(&self, source: &[u8], width: usize) -> Vec<u8> {
        let mut result = vec![0; self.starts.len() * width];
        let taps = self.starts.iter().zip(self.weights.chunks_exact(self.each));
        for (target, (start, weights)) in result.chunks_exact_mut(width).zip(taps) {
            let rows = &source[start * width..];
            let (chunks, rest) = target.as_chunks_mut::<LANES>();
            for (n, chunk) in chunks.iter_mut().enumerate() {
                *chunk = weigh(&rows[n * LANES..], width, weights);
            }
            let rest = rest.len();
            if rest > 0 && width >= LANES {
                // Some are computed twice.
                let last = width - LANES;
                target[last..].copy_from_slice(&weigh(&rows[last..], width, weights));
            } else {
                for (x, sample) in target.iter_mut().enumerate().skip(width - rest) {
                    *sample = weigh_one(&rows[x..], width, weights);
                }
            }
        }
        result
    }
}

/// Keys' cubic convolution with a = -0.5 (IEEE Trans. ASSP 29, 1981), which is Catmull and Rom's spline.
fn bicubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// One column of `rows`, each `stride` behind the one before. A weight behind the last row is 0.
fn weigh_one(rows: &[u8], stride: usize, weights: &[i16]) -> u8 {
    let samples = rows.iter().step_by(stride).zip(weights);
    let sum: i32 = samples.map(|(&sample, &weight)| i32::from(sample) * i32::from(weight)).sum();
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn weigh(rows: &[u8], stride: usize, weights: &[i16]) -> [u8; LANES] {
    std::array::from_fn(|x| weigh_one(&rows[x..], stride, weights))
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn weigh(rows: &[u8], stride: usize, weights: &[i16]) -> [u8; LANES] {
    use std::arch::wasm32::*;

    use crate::simd::{bytes, factors, high_bytes, load, low_bytes, narrow};
    let mut sums = [i32x4_splat(1 << (BITS - 1)); 4];
    let (pairs, _) = weights.as_chunks::<2>();
    let mut rows = rows;
    for &[f, g] in pairs {
        let row = |rows: &[u8]| rows.first_chunk().map_or(i8x16_splat(0), load);
        let a = row(rows);
        let next = rows.get(stride..).unwrap_or_default();
        let b = row(next);
        rows = next.get(stride..).unwrap_or_default();
        let factors = factors(i32::from(f), i32::from(g));
        let (low, high) = (low_bytes(a, b), high_bytes(a, b));
        for (sum, pairs) in sums.iter_mut().zip([
            u16x8_extend_low_u8x16(low),
            u16x8_extend_high_u8x16(low),
            u16x8_extend_low_u8x16(high),
            u16x8_extend_high_u8x16(high),
        ]) {
            *sum = i32x4_add(*sum, i32x4_dot_i16x8(pairs, factors));
        }
    }
    let [a, b, c, d] = sums;
    bytes(u8x16_narrow_i16x8(narrow::<BITS>([a, b]), narrow::<BITS>([c, d])))
}

/// Columns become rows.
fn transpose(source: &[u8], width: usize) -> Vec<u8> {
    let height = source.len() / width.max(1);
    let mut result = vec![0; source.len()];
    // In squares, so that both sides stay in the cache.
    for y in (0..height).step_by(LANES) {
        for x in (0..width).step_by(LANES) {
            let (rows, columns) = ((height - y).min(LANES), (width - x).min(LANES));
            if (rows, columns) == (LANES, LANES) {
                let square =
                    std::array::from_fn(|n| *source[(y + n) * width + x..].first_chunk().unwrap_or(&[0; LANES]));
                for (n, column) in turn(square).iter().enumerate() {
                    result[(x + n) * height + y..][..LANES].copy_from_slice(column);
                }
                continue;
            }
            for (x, y) in (x..x + columns).flat_map(|x| (y..y + rows).map(move |y| (x, y))) {
                result[x * height + y] = source[y * width + x];
            }
        }
    }
    result
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn turn(square: [[u8; LANES]; LANES]) -> [[u8; LANES]; LANES] {
    std::array::from_fn(|x| std::array::from_fn(|y| square[y][x]))
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn turn(square: [[u8; LANES]; LANES]) -> [[u8; LANES]; LANES] {
    use crate::simd::{bytes, high_bytes, load, low_bytes};
    let mut rows = square.each_ref().map(load);
    // Each round brings half of what was apart together; four bring all.
    for _ in 0..4 {
        rows = std::array::from_fn(|n| {
            let (a, b) = (rows[n / 2], rows[n / 2 + LANES / 2]);
            if n % 2 == 0 { low_bytes(a, b) } else { high_bytes(a, b) }
        });
    }
    rows.map(bytes)
}

#[cfg(test)]
mod tests;
