use super::*;

/// The map that a drawing shows: `#` is hot, and each component as the columns and rows of its bounds.
fn bounds(drawing: &[&str]) -> Vec<(f64, f64, f64, f64)> {
    let values: Vec<f32> = drawing.concat().bytes().map(|c| if c == b'#' { 0.9 } else { 0.1 }).collect();
    let map = HeatMap { values: &values, width: drawing.first().map_or(0, |row| row.len()), height: drawing.len() };
    let components = components(map, 0.3);
    let mut bounds: Vec<_> = components.iter().map(|points| bounds_of(points)).collect();
    bounds.sort_by(|a, b| a.partial_cmp(b).unwrap());
    bounds
}

fn bounds_of(points: &[Point]) -> (f64, f64, f64, f64) {
    let start = (f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY);
    points.iter().fold(start, |(left, top, right, bottom), point| {
        (left.min(point.x), top.min(point.y), right.max(point.x), bottom.max(point.y))
    })
}

/// Each pixel grows by one to the right and downwards.
#[test]
fn a_pixel_becomes_four() {
    assert_eq!(bounds(&[".....", ".#...", ".....", "....."]), [(1.0, 1.0, 2.0, 2.0)]);
    assert_eq!(bounds(&["#"]), [(0.0, 0.0, 0.0, 0.0)]);
    assert_eq!(bounds(&["....", "...#"]), [(3.0, 1.0, 3.0, 1.0)]);
}

#[test]
fn cracks_close_and_gaps_stay() {
    assert_eq!(bounds(&["##.##", "....."]).len(), 1);
    assert_eq!(bounds(&["##..##", "......"]), [(0.0, 0.0, 2.0, 1.0), (4.0, 0.0, 5.0, 1.0)]);
    assert_eq!(bounds(&["##...##", "......."]), [(0.0, 0.0, 2.0, 1.0), (5.0, 0.0, 6.0, 1.0)]);
}

#[test]
fn corners_touch() {
    // Grown they are a pixel apart in both directions.
    assert_eq!(bounds(&["#....", ".....", "..#..", "....."]).len(), 1);
    assert_eq!(bounds(&["..#..", ".....", "#....", "....."]).len(), 1);
    assert_eq!(bounds(&["#....", ".....", ".....", "...#."]).len(), 2);
}

#[test]
fn shapes_that_meet_late_are_one() {
    let comb = ["#...#...#...#", "#...#...#...#", "#...#...#...#", "#############"];
    assert_eq!(bounds(&comb), [(0.0, 0.0, 12.0, 3.0)]);
    let spiral = ["#########", "........#", "........#", "#####...#", "#.......#", "#.......#", "#########"];
    assert_eq!(bounds(&spiral), [(0.0, 0.0, 8.0, 6.0)]);
    let ring_around =
        ["##########", "#........#", "#........#", "#...#....#", "#........#", "#........#", "##########"];
    assert_eq!(bounds(&ring_around), [(0.0, 0.0, 9.0, 6.0), (4.0, 3.0, 5.0, 4.0)]);
}

/// Each row's first and last pixel are there, and rows come in order.
#[test]
fn points_are_sorted() {
    let drawing = ["..#...", "#.....", "....#.", "......"];
    let values: Vec<f32> = drawing.concat().bytes().map(|c| if c == b'#' { 1.0 } else { 0.0 }).collect();
    for points in components(HeatMap { values: &values, width: 6, height: 4 }, 0.3) {
        assert!(points.is_sorted_by(|a, b| (a.y, a.x) <= (b.y, b.x)), "{points:?}");
    }
}

/// Compared with a flood fill.
#[test]
fn noise_falls_apart_as_by_flooding() {
    let mut state = 99_u32;
    for density in [5, 15, 30, 60] {
        let (width, height) = (37, 29);
        let values: Vec<f32> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if (state >> 16) % 100 < density { 1.0 } else { 0.0 }
        })
        .take(width * height)
        .collect();
        let map = HeatMap { values: &values, width, height };
        let mut have: Vec<_> = components(map, 0.3).iter().map(|points| bounds_of(points)).collect();
        let mut want = flooded(map);
        have.sort_by(|a, b| a.partial_cmp(b).unwrap());
        want.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert_eq!(have, want, "{density} %");
    }
}

fn flooded(map: HeatMap<'_>) -> Vec<(f64, f64, f64, f64)> {
    let at = |x: usize, y: usize| map.values[y * map.width + x] > 0.3;
    let grown = |x: usize, y: usize| (x.saturating_sub(1)..=x).any(|x| (y.saturating_sub(1)..=y).any(|y| at(x, y)));
    let mut seen = vec![false; map.width * map.height];
    let mut found = Vec::new();
    for start in 0..seen.len() {
        let (mut open, mut points) = (vec![start], Vec::new());
        while let Some(n) = open.pop() {
            let (x, y) = (n % map.width, n / map.width);
            if seen[n] || !grown(x, y) {
                continue;
            }
            seen[n] = true;
            points.push(Point::new(x as f64, y as f64));
            let (columns, rows) =
                (x.saturating_sub(1)..=(x + 1).min(map.width - 1), y.saturating_sub(1)..=(y + 1).min(map.height - 1));
            open.extend(rows.flat_map(|row| columns.clone().map(move |column| row * map.width + column)));
        }
        if !points.is_empty() {
            found.push(bounds_of(&points));
        }
    }
    found
}

#[test]
fn a_map_without_pixels_has_no_components() {
    assert!(components(HeatMap { values: &[], width: 0, height: 0 }, 0.3).is_empty());
    assert!(
        components(HeatMap { values: &[0.3; 12], width: 4, height: 3 }, 0.3).is_empty(),
        "the threshold is not above itself"
    );
}
