//! The formulas of a plan, and how their coefficients are fitted. Pure.

/// Cores that are busy: `alpha` (cores that one row keeps busy while it is computed) × rows of a request × seconds that
/// one row takes alone × requests per second.
pub fn cores(alpha: f64, batch: usize, seconds_per_row: f64, rate: f64) -> f64 {
    alpha * batch as f64 * seconds_per_row * rate
}

/// Bytes that a process has resident: `beta` (bytes of working memory for each byte of weights) × bytes of weights +
/// `gamma` (bytes of everything else).
pub fn memory(beta: f64, model_bytes: f64, gamma: f64) -> f64 {
    beta * model_bytes + gamma
}

/// The factor of the line `y = factor × x` that fits points (x, y) best, by least squares. 0 without points.
pub fn fit_factor(points: &[(f64, f64)]) -> f64 {
    let (xy, xx) = points.iter().fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + x * y, xx + x * x));
    if xx > 0.0 { xy / xx } else { 0.0 }
}

/// Slope and intercept of the line through two points of different `x`.
pub fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> (f64, f64) {
    let slope = (y2 - y1) / (x2 - x1);
    (slope, y1 - slope * x1)
}

/// Requests in flight by Little's law, where `rate` arrive per second and each stays for `seconds`.
pub fn in_flight(rate: f64, seconds: f64) -> f64 {
    rate * seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal but for rounding.
    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * b.abs()
    }

    #[test]
    fn half_a_core_batches_of_32_and_10_ms_need_0_16_cores() {
        assert!(close(cores(0.5, 32, 0.010, 1.0), 0.16));
        assert!(close(cores(0.5, 32, 0.010, 10.0), 1.6));
    }

    #[test]
    fn twice_100_mb_and_a_gigabyte_are_1_2_gigabytes() {
        assert!(close(memory(2.0, 100e6, 1e9), 1.2e9));
    }

    #[test]
    fn the_fitted_line_goes_through_the_origin_and_between_the_points() {
        assert!(close(fit_factor(&[(1.0, 2.0), (2.0, 4.0)]), 2.0));
        assert!(close(fit_factor(&[(1.0, 1.0), (1.0, 3.0)]), 2.0));
        assert!(close(fit_factor(&[(1.0, 0.0), (3.0, 3.0)]), 0.9), "large points weigh more");
        assert!(close(fit_factor(&[]), 0.0));
    }

    #[test]
    fn two_points_make_a_line() {
        let (slope, intercept) = line((1.0, 150.0), (3.0, 250.0));
        assert!(close(slope, 50.0) && close(intercept, 100.0));
    }

    #[test]
    fn littles_law() {
        assert!(close(in_flight(200.0, 0.05), 10.0));
    }
}
