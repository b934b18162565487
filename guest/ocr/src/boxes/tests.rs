use super::*;

const RULES: BoxRules = BoxRules { threshold: 0.3, box_threshold: 0.5, unclip_ratio: 1.6 };

/// A map of `width` x `height` with hot rectangles: left, top, right, bottom and value.
fn map_of(width: usize, height: usize, hot: &[(usize, usize, usize, usize, f32)]) -> Vec<f32> {
    let mut values = vec![0.0; width * height];
    for &(left, top, right, bottom, value) in hot {
        for row in top..bottom {
            values[row * width + left..row * width + right].fill(value);
        }
    }
    values
}

fn found(width: usize, height: usize, hot: &[(usize, usize, usize, usize, f32)], size: (u32, u32)) -> Vec<Quad> {
    text_boxes(HeatMap { values: &map_of(width, height, hot), width, height }, &RULES, size)
}

fn quad(left: f64, top: f64, right: f64, bottom: f64) -> Quad {
    [Point::new(left, top), Point::new(right, top), Point::new(right, bottom), Point::new(left, bottom)]
}

/// A core of 40 x 10 pixels (grown by one, between centers) moves outwards by 1.6 x 400 / 100 = 6.4.
#[test]
fn a_core_becomes_a_box() {
    let boxes = found(100, 50, &[(20, 20, 60, 30, 0.9)], (100, 50));
    assert_eq!(boxes, [quad(14.0, 14.0, 66.0, 36.0)]);
    let twice = found(100, 50, &[(20, 20, 60, 30, 0.9)], (200, 150));
    assert_eq!(twice, [quad(27.0, 41.0, 133.0, 109.0)], "in pixels of the picture");
}

#[test]
fn what_is_unlikely_or_tiny_is_no_box() {
    assert_eq!(found(100, 50, &[(20, 20, 60, 30, 0.45)], (100, 50)).len(), 0, "above the threshold of pixels alone");
    assert_eq!(found(100, 50, &[(20, 20, 60, 30, 0.61)], (100, 50)).len(), 1);
    assert_eq!(found(100, 50, &[(20, 20, 60, 22, 0.9)], (100, 50)).len(), 0, "a core of less than three pixels");
    assert_eq!(found(100, 50, &[(20, 20, 60, 23, 1.0)], (100, 50)).len(), 1);
    assert_eq!(found(100, 50, &[(20, 20, 60, 30, 0.9)], (12, 6)).len(), 0, "three pixels of the picture");
}

#[test]
fn boxes_end_at_the_edge_of_the_picture() {
    let boxes = found(100, 50, &[(0, 0, 100, 50, 0.9)], (100, 50));
    assert_eq!(boxes, [quad(0.0, 0.0, 99.0, 49.0)]);
}

#[test]
fn the_average_is_that_of_the_pixels_within() {
    let values = map_of(20, 20, &[(5, 5, 10, 15, 1.0)]);
    let map = HeatMap { values: &values, width: 20, height: 20 };
    assert!((mean_within(map, &quad(5.0, 5.0, 9.0, 14.0)) - 1.0).abs() < 1e-9);
    assert!((mean_within(map, &quad(5.0, 5.0, 14.0, 14.0)) - 0.5).abs() < 1e-9);
    assert!((mean_within(map, &quad(0.0, 0.0, 19.0, 19.0)) - 50.0 / 400.0).abs() < 1e-9);
    // A diamond: of its 25 pixels those from column 5 on are hot.
    let diamond = [Point::new(5.0, 7.0), Point::new(8.0, 10.0), Point::new(5.0, 13.0), Point::new(2.0, 10.0)];
    let hot = (7 + 9) as f64;
    assert!((mean_within(map, &diamond) - hot / 25.0).abs() < 1e-9, "{}", mean_within(map, &diamond));
    // Beyond the edge there is nothing to count.
    assert!(mean_within(map, &quad(-8.0, -8.0, 40.0, 40.0)) > 0.0);
}

#[test]
fn boxes_are_read_line_by_line() {
    let words = [
        quad(200.0, 12.0, 300.0, 40.0),
        quad(10.0, 18.0, 100.0, 46.0),
        quad(110.0, 10.0, 190.0, 38.0),
        quad(10.0, 60.0, 90.0, 90.0),
    ];
    let mut boxes = words.to_vec();
    for _ in 0..4 {
        boxes.rotate_left(1);
        sort_for_reading(&mut boxes);
        assert_eq!(boxes, [words[1], words[2], words[0], words[3]]);
    }
    // The next line begins at half of the height, so that it is the next one.
    let mut lines = vec![quad(10.0, 25.0, 50.0, 55.0), quad(60.0, 10.0, 99.0, 40.0)];
    sort_for_reading(&mut lines);
    assert_eq!(lines[0], quad(60.0, 10.0, 99.0, 40.0));
}
