//! Fixed-point factors for integer arithmetic.

/// Fractional bits.
pub(crate) const BITS: u32 = 13;

/// `factor`, rounded to the nearest.
pub(crate) const fn fixed(factor: f64) -> i32 {
    (factor * (1 << BITS) as f64 + if factor < 0.0 { -0.5 } else { 0.5 }) as i32
}
