use super::*;
use crate::random::Random;

/// Far enough from the edge that its repetition plays no part.
const CORNERS: [(f32, f32); 4] = [(12.0, 9.0), (80.5, 14.25), (71.0, 60.0), (17.75, 49.5)];

/// A picture whose red is the column, whose green is the row and whose blue is a mix.
fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([2 * x as u8, 3 * y as u8, (x + y) as u8]))
}

/// The same map by another way: the eight unknowns of the projective map by Gauss elimination.
fn solved(corners: [(f32, f32); 4]) -> impl Fn(f64, f64) -> (f64, f64) {
    let mut rows: Vec<[f64; 9]> = Vec::new();
    for ((u, v), (x, y)) in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)].into_iter().zip(corners) {
        let (x, y) = (f64::from(x), f64::from(y));
        rows.push([u, v, 1.0, 0.0, 0.0, 0.0, -u * x, -v * x, x]);
        rows.push([0.0, 0.0, 0.0, u, v, 1.0, -u * y, -v * y, y]);
    }
    for pivot in 0..8 {
        let best = (pivot..8).max_by(|&a, &b| rows[a][pivot].abs().total_cmp(&rows[b][pivot].abs())).unwrap();
        rows.swap(pivot, best);
        for other in (0..8).filter(|&other| other != pivot) {
            let (factor, row) = (rows[other][pivot] / rows[pivot][pivot], rows[pivot]);
            rows[other].iter_mut().zip(row).for_each(|(value, from)| *value -= factor * from);
        }
    }
    let unknown: [f64; 8] = std::array::from_fn(|n| rows[n][8] / rows[n][n]);
    move |u, v| {
        let [a, b, c, d, e, f, g, h] = unknown;
        let denominator = g * u + h * v + 1.0;
        ((a * u + b * v + c) / denominator, (d * u + e * v + f) / denominator)
    }
}

/// Cubic convolution reproduces linear functions, up to 0.05 of their slope as sharp as it is here, so that each pixel of the
/// result tells its place in the picture.
#[test]
fn each_pixel_comes_from_its_place() {
    let picture = gradient(100, 80);
    for size in [(60, 40), (7, 90), (1, 1)] {
        let map = solved(CORNERS);
        for (x, y, pixel) in rectify(&picture, CORNERS, size).enumerate_pixels() {
            let (want_x, want_y) = map(f64::from(x) / f64::from(size.0), f64::from(y) / f64::from(size.1));
            let wanted = [(2.0 * want_x, 2.0), (3.0 * want_y, 3.0), (want_x + want_y, 2.0)];
            for (have, (want, slope)) in pixel.0.into_iter().zip(wanted) {
                // Besides half of a step between pixels, and rounding.
                let tolerance = slope * (0.05 + 1.0 / 64.0) + 0.51;
                assert!((f64::from(have) - want).abs() <= tolerance, "{size:?} {x} {y}: {have} {want}");
            }
        }
    }
}

#[test]
fn a_rectangle_of_whole_pixels_is_cut_out_unchanged() {
    let mut random = Random::new(8);
    let picture = RgbImage::from_fn(40, 30, |_, _| Rgb(std::array::from_fn(|_| random.next_u32() as u8)));
    let cut = |(left, top): (f32, f32), (width, height): (u32, u32)| {
        let (right, bottom) = (left + width as f32, top + height as f32);
        rectify(&picture, [(left, top), (right, top), (right, bottom), (left, bottom)], (width, height))
    };
    let wanted = imageops::crop_imm(&picture, 3, 5, 20, 10).to_image();
    assert_eq!(cut((3.0, 5.0), (20, 10)), wanted);
    assert_eq!(cut((0.0, 0.0), (40, 30)), picture);
    // The long way gives the same where it takes the same pixels.
    assert!(plain_crop(&picture, [(3.0, 5.0), (23.0, 5.0), (23.0, 15.0), (3.0, 15.001)], (20, 10)).is_none());
    let corners = [(3.0, 5.0), (23.0, 5.0), (23.0, 15.001), (3.0, 15.001)];
    assert_eq!(rectify(&picture, corners, (20, 10)), wanted);
}

#[test]
fn turned_corners_turn_the_picture() {
    let picture = gradient(40, 30);
    let upside_down = rectify(&picture, [(30.0, 20.0), (10.0, 20.0), (10.0, 8.0), (30.0, 8.0)], (20, 12));
    let wanted = imageops::rotate180(&imageops::crop_imm(&picture, 11, 9, 20, 12).to_image());
    assert_eq!(upside_down, wanted);
}

/// What is beyond the edge repeats it, however far, and corners that make no quadrilateral do no harm.
#[test]
fn corners_may_be_anywhere() {
    let picture = gradient(20, 10);
    let beyond = rectify(&picture, [(-50.0, -50.0), (-10.0, -50.0), (-10.0, -10.0), (-50.0, -10.0)], (5, 5));
    assert!(beyond.pixels().all(|pixel| pixel == picture.get_pixel(0, 0)));
    let far = 1e30;
    for corners in [
        [(far, -far), (far, far), (-far, far), (-far, -far)],
        [(3.0, 3.0); 4],
        [(0.0, 0.0), (5.0, 5.0), (0.0, 0.0), (5.0, 5.0)],
        [(f32::NAN, 0.0), (1.0, f32::INFINITY), (f32::NEG_INFINITY, 1.0), (0.0, 0.0)],
    ] {
        assert_eq!(rectify(&picture, corners, (4, 3)).dimensions(), (4, 3));
    }
    assert_eq!(rectify(&picture, CORNERS, (0, 3)).dimensions(), (0, 3));
    assert_eq!(rectify(&RgbImage::new(0, 0), CORNERS, (2, 2)).dimensions(), (2, 2));
}
