use super::*;

fn points(places: &[(f64, f64)]) -> Vec<Point> {
    let mut points: Vec<Point> = places.iter().map(|&(x, y)| Point::new(x, y)).collect();
    points.sort_by(|a, b| a.y.total_cmp(&b.y).then(a.x.total_cmp(&b.x)));
    points
}

fn assert_close(have: &Quad, want: [(f64, f64); 4]) {
    for (have, (x, y)) in have.iter().zip(want) {
        assert!((have.x - x).abs() < 1e-9 && (have.y - y).abs() < 1e-9, "{have:?} is not {want:?}");
    }
}

#[test]
fn an_upright_rectangle_is_found() {
    let all: Vec<(f64, f64)> = (3..=20).flat_map(|x| (5..=9).map(move |y| (f64::from(x), f64::from(y)))).collect();
    let rectangle = Rectangle::around(&points(&all)).unwrap();
    assert_close(&rectangle.corners(), [(3.0, 5.0), (20.0, 5.0), (20.0, 9.0), (3.0, 9.0)]);
    assert!((rectangle.area() - 17.0 * 4.0).abs() < 1e-9 && (rectangle.circumference() - 42.0).abs() < 1e-9);
    assert_close(&rectangle.grown(2.0).corners(), [(1.0, 3.0), (22.0, 3.0), (22.0, 11.0), (1.0, 11.0)]);
}

/// A direction of whole numbers, so that all corners are whole.
#[test]
fn a_turned_rectangle_is_found() {
    let at = |along: f64, across: f64| (10.0 + 4.0 * along - 3.0 * across, 20.0 + 3.0 * along + 4.0 * across);
    let within = (0..=10).flat_map(|along| (0..=3).map(move |across| at(f64::from(along), f64::from(across))));
    let rectangle = Rectangle::around(&points(&within.collect::<Vec<_>>())).unwrap();
    assert_close(&rectangle.corners(), [at(0.0, 0.0), at(10.0, 0.0), at(10.0, 3.0), at(0.0, 3.0)]);
    assert!((rectangle.shorter_side() - 15.0).abs() < 1e-9);
    assert_close(&rectangle.grown(5.0).corners(), [at(-1.0, -1.0), at(11.0, -1.0), at(11.0, 4.0), at(-1.0, 4.0)]);
}

/// By brute force over all directions of a fine fan.
#[test]
fn no_other_direction_gives_less_area() {
    let mut state = 12_345_u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from((state >> 8) % below)
    };
    for _ in 0..200 {
        let cloud: Vec<(f64, f64)> = (0..12).map(|_| (next(40), next(25))).collect();
        let cloud = points(&cloud);
        let found = Rectangle::around(&cloud).unwrap();
        for step in 0..900 {
            let (sine, cosine) = (f64::from(step) * std::f64::consts::PI / 1800.0).sin_cos();
            let other = Rectangle::along(Point::new(0.0, 0.0), Point::new(cosine, sine), &cloud);
            assert!(found.area() <= other.area() + 1e-6, "{found:?} {other:?}");
        }
        let around = found.grown(1e-6).corners();
        let is_inside = |point: &Point| {
            let next = [around[1], around[2], around[3], around[0]];
            around.iter().zip(next).all(|(a, b)| (b.x - a.x) * (point.y - a.y) - (b.y - a.y) * (point.x - a.x) >= 0.0)
        };
        assert!(cloud.iter().all(is_inside), "{found:?} {cloud:?}");
    }
}

#[test]
fn points_and_lines_have_no_area() {
    assert_eq!(Rectangle::around(&[]), None);
    for places in
        [&[(3.0, 4.0)][..], &[(3.0, 4.0), (3.0, 4.0)], &[(1.0, 1.0), (5.0, 1.0), (9.0, 1.0)], &[(1.0, 1.0), (3.0, 3.0)]]
    {
        assert!(Rectangle::around(&points(places)).unwrap().shorter_side().abs() < 1e-9, "{places:?}");
    }
}

#[test]
fn corners_are_told_by_where_they_are() {
    let (a, b, c, d) = (Point::new(2.0, 1.0), Point::new(9.0, 3.0), Point::new(8.0, 7.0), Point::new(1.0, 5.0));
    for corners in [[a, b, c, d], [c, d, a, b], [b, a, d, c], [d, c, b, a]] {
        assert_eq!(in_reading_direction(corners), [a, b, c, d]);
    }
}
