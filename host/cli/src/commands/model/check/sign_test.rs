//! The sign test: whether two ways to do the same differ by more than chance.

/// The probability that of so many pictures, which only one of two ways gets right, as many or more are on one side although
/// both ways are equally good: the exact two-sided sign test, which is McNemar's.
pub(super) fn p_value(better: usize, worse: usize) -> f64 {
    let (count, fewer) = ((better + worse) as f64, better.min(worse));
    // Terms of the binomial distribution of probability 1/2, as logarithms, since the first is smaller than any number.
    let mut term = -count * std::f64::consts::LN_2;
    let mut sum = term.exp();
    for k in 0..fewer {
        term += ((count - k as f64) / (k as f64 + 1.0)).ln();
        sum += term.exp();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::p_value;

    /// By Python: `min(1, 2 * sum(math.comb(n, k) for k in range(min(b, w) + 1)) / 2**n)`, where `n = b + w`.
    #[test]
    fn probabilities_are_those_of_the_binomial_distribution() {
        for (better, worse, want) in [
            (0, 0, 1.0),
            (1, 0, 1.0),
            (6, 0, 0.03125),
            (16, 0, 3.0517578125e-05),
            (10, 3, 0.09228515625),
            (3, 10, 0.09228515625),
            (50, 50, 1.0),
            (700, 500, 8.535366081034334e-09),
            (2000, 2000, 1.0),
        ] {
            let have = p_value(better, worse);
            assert!((have - want).abs() <= want * 1e-9, "{better} {worse}: {have}");
        }
        assert!(p_value(5000, 0) < 1e-300, "too small for a number, and no error");
    }
}
