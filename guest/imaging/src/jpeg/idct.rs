//! The inverse discrete cosine transform: 64 dequantized coefficients become 8 x 8 samples (ITU-T T.81 A.3.3), or 4 x 4,
//! 2 x 2 or one where a reduced picture suffices, which take the lowest frequencies only. Samples are shifted to unsigned
//! ones by adding 128 (A.3.1).
//!
//! The transform of 8 x 8 is here twice: in WebAssembly's SIMD, which functions use, and as plain loops, which other
//! targets use and tests compare with a reference.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use crate::fixed::{BITS, fixed};

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(super) use plain::whole;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) use simd::whole;

/// Coefficients by column: that of horizontal frequency `u` and vertical frequency `v` is at `u * 8 + v`.
pub(super) type Block = [i16; 64];

/// Fractional bits of the values between the two passes.
const BETWEEN: u32 = 2;

/// cos(k * pi / 16) * sqrt(2), and sums of them: the factors of Loeffler, Ligtenberg and Moschytz' algorithm (ICASSP
/// 1989) for eight points, as pairs for two coefficients each.
const C1: i32 = fixed(0.541_196_100);
const ALL: i32 = fixed(1.175_875_602);
const P: i32 = fixed(-0.899_976_223);
const Q: i32 = fixed(-2.562_915_447);
const EVEN: [(i32, i32); 2] = [(C1, C1 + fixed(-1.847_759_065)), (C1 + fixed(0.765_366_865), C1)];
const SUMS: [(i32, i32); 2] = [(fixed(-1.961_570_560) + ALL, ALL), (ALL, fixed(-0.390_180_644) + ALL)];
const ODD: [(i32, i32); 4] = [
    (fixed(1.501_321_110) + P, P),
    (fixed(3.072_711_026) + Q, Q),
    (fixed(2.053_119_869) + Q, Q),
    (fixed(0.298_631_336) + P, P),
];

#[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
mod plain {
    use super::{BETWEEN, BITS, Block, EVEN, ODD, SUMS, sample};

    /// Eight rows of eight samples.
    pub(in crate::jpeg) fn whole(block: &Block, quantization: &Block) -> [[u8; 8]; 8] {
        let mut half = [[0; 8]; 8];
        for v in 0..8 {
            half[v] = pass::<{ BITS - BETWEEN }>(std::array::from_fn(|u| {
                block[u * 8 + v].wrapping_mul(quantization[u * 8 + v])
            }));
        }
        let mut samples = [[0; 8]; 8];
        for x in 0..8 {
            let column = pass::<{ BITS + BETWEEN + 3 }>(std::array::from_fn(|v| half[v][x]));
            for (row, value) in samples.iter_mut().zip(column) {
                row[x] = sample(value.into());
            }
        }
        samples
    }

    /// Values beyond what encoders write wrap and saturate as in SIMD. No sum of 32 bits overflows.
    fn pass<const SHIFT: u32>(x: [i16; 8]) -> [i16; 8] {
        let dot = |a: i16, b: i16, (f, g): (i32, i32)| i32::from(a) * f + i32::from(b) * g;
        let wide = |a: i16| (i32::from(a) << BITS) + (1 << (SHIFT - 1));
        let (a, b) = (dot(x[2], x[6], EVEN[0]), dot(x[2], x[6], EVEN[1]));
        let (sum, difference) = (wide(x[0].wrapping_add(x[4])), wide(x[0].wrapping_sub(x[4])));
        let even = [sum + b, difference + a, difference - a, sum - b];
        let (r, s) = (x[7].wrapping_add(x[3]), x[5].wrapping_add(x[1]));
        let (r, s) = (dot(r, s, SUMS[0]), dot(r, s, SUMS[1]));
        let odd = [
            dot(x[1], x[7], ODD[0]) + s,
            dot(x[3], x[5], ODD[1]) + r,
            dot(x[5], x[3], ODD[2]) + s,
            dot(x[7], x[1], ODD[3]) + r,
        ];
        std::array::from_fn(|n| {
            let whole = if n < 4 { even[n] + odd[n] } else { even[7 - n] - odd[7 - n] };
            (whole >> SHIFT).clamp(i16::MIN.into(), i16::MAX.into()) as i16
        })
    }
}

/// The same transform for all columns at once: one instruction computes two products and their sum.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd {
    use std::arch::wasm32::*;

    use super::{BETWEEN, BITS, Block, EVEN, ODD, SUMS};
    use crate::simd::{add, dot, factors, from_middle, high, low, narrow, sub, wide};

    /// Eight rows of eight samples.
    #[inline(always)]
    pub(in crate::jpeg) fn whole(block: &Block, quantization: &Block) -> [[u8; 8]; 8] {
        let (columns, factors) = (block.as_chunks::<8>().0, quantization.as_chunks::<8>().0);
        let columns = std::array::from_fn(|u| i16x8_mul(load(&columns[u]), load(&factors[u])));
        let half = transposed(pass::<{ BITS - BETWEEN }>(columns));
        let rows = pass::<{ BITS + BETWEEN + 3 }>(half);
        let [a, b, c, d]: [[[u8; 8]; 2]; 4] = std::array::from_fn(|n| {
            let pair = from_middle(rows[2 * n], rows[2 * n + 1]);
            [u64x2_extract_lane::<0>(pair).to_le_bytes(), u64x2_extract_lane::<1>(pair).to_le_bytes()]
        });
        [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]
    }

    #[inline(always)]
    fn load(&[a, b, c, d, e, f, g, h]: &[i16; 8]) -> v128 {
        i16x8(a, b, c, d, e, f, g, h)
    }

    #[inline(always)]
    fn pass<const SHIFT: u32>(x: [v128; 8]) -> [v128; 8] {
        let dot = |a, b, (f, g)| dot(a, b, factors(f, g));
        let (a, b) = (dot(x[2], x[6], EVEN[0]), dot(x[2], x[6], EVEN[1]));
        let (sum, difference) = (wide::<SHIFT>(i16x8_add(x[0], x[4])), wide::<SHIFT>(i16x8_sub(x[0], x[4])));
        let even = [add(sum, b), add(difference, a), sub(difference, a), sub(sum, b)];
        let (r, s) = (i16x8_add(x[7], x[3]), i16x8_add(x[5], x[1]));
        let (r, s) = (dot(r, s, SUMS[0]), dot(r, s, SUMS[1]));
        let odd = [
            add(dot(x[1], x[7], ODD[0]), s),
            add(dot(x[3], x[5], ODD[1]), r),
            add(dot(x[5], x[3], ODD[2]), s),
            add(dot(x[7], x[1], ODD[3]), r),
        ];
        std::array::from_fn(|n| {
            narrow::<SHIFT>(if n < 4 { add(even[n], odd[n]) } else { sub(even[7 - n], odd[7 - n]) })
        })
    }

    #[inline(always)]
    fn transposed(x: [v128; 8]) -> [v128; 8] {
        // Three rounds of interleaving transpose 8 x 8 lanes.
        let round = |x: [v128; 8]| {
            let pairs: [(v128, v128); 4] = std::array::from_fn(|n| (x[n], x[n + 4]));
            std::array::from_fn(|n| {
                let (a, b) = pairs[n / 2];
                if n % 2 == 0 { low(a, b) } else { high(a, b) }
            })
        };
        round(round(round(x)))
    }
}

/// The basis of the transform that makes `SIDE` x `SIDE` samples, 2 or 4, of the lowest frequencies of a block.
pub(super) struct Reduced<const SIDE: usize>([[f32; SIDE]; SIDE]);

impl<const SIDE: usize> Reduced<SIDE> {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|frequency| {
            std::array::from_fn(|place| {
                let angle = (2 * place + 1) as f32 * frequency as f32 * PI / (2 * SIDE) as f32;
                // The orthonormal basis of SIDE points, times the factor between its coefficients and those of eight.
                if frequency == 0 { FRAC_1_SQRT_2 / 2.0 } else { angle.cos() / 2.0 }
            })
        }))
    }

    /// `SIDE` rows of samples.
    #[inline(always)]
    pub(super) fn samples(&self, block: &Block, quantization: &Block) -> [[u8; SIDE]; SIDE] {
        let Self(basis) = self;
        let mut samples = [[128.5; SIDE]; SIDE];
        for (u, across) in basis.iter().enumerate() {
            let mut column = [0.0; SIDE];
            for (v, down) in basis.iter().enumerate() {
                let coefficient = f32::from(block[u * 8 + v].wrapping_mul(quantization[u * 8 + v]));
                column = std::array::from_fn(|y| column[y] + coefficient * down[y]);
            }
            for (row, factor) in samples.iter_mut().zip(column) {
                *row = std::array::from_fn(|x| row[x] + factor * across[x]);
            }
        }
        samples.map(|row| row.map(|value| value as u8))
    }
}

/// The one sample of a block that is reduced to its DC coefficient.
#[inline(always)]
pub(super) fn flat(dc: i16) -> u8 {
    sample((i32::from(dc) + 4) >> 3)
}

/// Shifts a sample around 0 to 0..=255 (T.81 A.3.1), clamped.
#[inline(always)]
fn sample(value: i32) -> u8 {
    (value + 128).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests;
