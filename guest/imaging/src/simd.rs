//! The few operations on eight or sixteen lanes that decoding, scaling and converting are made of.
//!
//! Compiled for WebAssembly's SIMD only. Elsewhere, where only tests run, plain loops say what these compute.

use std::arch::wasm32::*;

use crate::fixed::BITS;

/// Interleaves the lower four lanes of both.
#[inline(always)]
pub(crate) fn low(a: v128, b: v128) -> v128 {
    i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(a, b)
}

/// Interleaves the upper four lanes of both.
#[inline(always)]
pub(crate) fn high(a: v128, b: v128) -> v128 {
    i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(a, b)
}

/// Interleaves the lower eight bytes of both.
#[inline(always)]
pub(crate) fn low_bytes(a: v128, b: v128) -> v128 {
    i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(a, b)
}

/// Interleaves the upper eight bytes of both.
#[inline(always)]
pub(crate) fn high_bytes(a: v128, b: v128) -> v128 {
    i8x16_shuffle::<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(a, b)
}

/// Two factors of 16 bits, for [`dot`].
#[inline(always)]
pub(crate) fn factors(f: i32, g: i32) -> v128 {
    i32x4_splat((g << 16) | (f & 0xFFFF))
}

/// `a * f + b * g` in 32 bits, for each of eight lanes.
#[inline(always)]
pub(crate) fn dot(a: v128, b: v128, factors: v128) -> [v128; 2] {
    [i32x4_dot_i16x8(low(a, b), factors), i32x4_dot_i16x8(high(a, b), factors)]
}

#[inline(always)]
pub(crate) fn add(a: [v128; 2], b: [v128; 2]) -> [v128; 2] {
    [i32x4_add(a[0], b[0]), i32x4_add(a[1], b[1])]
}

#[inline(always)]
pub(crate) fn sub(a: [v128; 2], b: [v128; 2]) -> [v128; 2] {
    [i32x4_sub(a[0], b[0]), i32x4_sub(a[1], b[1])]
}

/// Eight lanes as 32 bits with [`BITS`] fractional bits, plus the half that makes [`narrow`] round its `SHIFT` bits.
#[inline(always)]
pub(crate) fn wide<const SHIFT: u32>(a: v128) -> [v128; 2] {
    let round = i32x4_splat(1 << (SHIFT - 1));
    let lift = |half| i32x4_add(i32x4_shl(half, BITS), round);
    [lift(i32x4_extend_low_i16x8(a)), lift(i32x4_extend_high_i16x8(a))]
}

/// Shifts lanes of 32 bits right by `SHIFT` and narrows them to 16 bits, saturated.
#[inline(always)]
pub(crate) fn narrow<const SHIFT: u32>([low, high]: [v128; 2]) -> v128 {
    i16x8_narrow_i32x4(i32x4_shr(low, SHIFT), i32x4_shr(high, SHIFT))
}

/// Samples around 0 as bytes around 128, saturated.
///
/// Without the sum, which compilers don't look through, what [`narrow`] gave and this would become one worse thing.
#[inline(always)]
pub(crate) fn from_middle(low: v128, high: v128) -> v128 {
    let middle = i16x8_splat(128);
    u8x16_narrow_i16x8(i16x8_add_sat(low, middle), i16x8_add_sat(high, middle))
}

/// Sixteen bytes, the first of them in the lowest lane.
#[inline(always)]
pub(crate) fn load(bytes: &[u8; 16]) -> v128 {
    let (halves, _) = bytes.as_chunks::<8>();
    u64x2(u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1]))
}

#[inline(always)]
pub(crate) fn bytes(lanes: v128) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (halves, _) = bytes.as_chunks_mut::<8>();
    halves[0] = u64x2_extract_lane::<0>(lanes).to_le_bytes();
    halves[1] = u64x2_extract_lane::<1>(lanes).to_le_bytes();
    bytes
}
