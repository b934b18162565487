use modelfn_guest::imaging::{Window, decode};

use super::*;

const RULES: SizeRules = SizeRules { min_side: 736, max_side: 2000, multiple: 32, max_aspect: 8.0 };

fn sheet(size: (u32, u32)) -> Sheet {
    // A BMP, written by hand: the header, and rows of 3 bytes a pixel from the lowest one up, each of a multiple of 4.
    let stride = (size.0 * 3).next_multiple_of(4);
    let header = [54, 40, size.0, size.1, 1 | 24 << 16, 0, stride * size.1, 0, 0, 0, 0];
    let mut file = b"BM\0\0\0\0\0\0\0\0".to_vec();
    file.extend(header.into_iter().flat_map(u32::to_le_bytes));
    file.resize(54 + (stride * size.1) as usize, 200);
    let picture = decode(&file, Window::whole(RULES.max_side)).unwrap();
    Sheet::new(&picture, &RULES).unwrap()
}

/// The sizes of sheet and network that the authors' own code has for a picture, where it takes one.
#[test]
fn sizes_follow_the_rules() {
    for (size, wanted_sheet, wanted_network) in [
        ((1000, 700), (1000, 700), (1056, 736)),
        ((800, 800), (800, 800), (800, 800)),
        ((1600, 900), (1600, 900), (1600, 896)),
        ((2600, 1700), (1984, 1312), (1984, 1312)),
        ((1200, 48), (1200, 300), (2944, 736)),
        ((300, 26), (352, 88), (2944, 736)),
        ((60, 60), (60, 60), (736, 736)),
    ] {
        let sheet = sheet(size);
        assert_eq!(sheet.pixels.dimensions(), wanted_sheet, "{size:?}");
        assert_eq!(sheet.for_network(&RULES).dimensions(), wanted_network, "{size:?}");
        assert_eq!(sheet.original, size);
    }
}

/// No picture costs more than about one of 2000 x 2000 pixels.
#[test]
fn every_shape_has_a_bounded_size() {
    for longer in [1, 29, 30, 31, 100, 500, 1999, 2000, 2001, 9000, 65_535] {
        for shorter in [1, 2, 29, 30, 31, 62, 249, 250, 251, 735, 736, 1999, 2000, 2001, 9000] {
            for (width, height) in [(longer, shorter), (shorter, longer)] {
                let scaled = RULES.working_size((width, height));
                let margin = RULES.margin(scaled);
                let sheet = (scaled.0 + 2 * margin.0, scaled.1 + 2 * margin.1);
                let network = RULES.network_size(sheet);
                let pixels = u64::from(network.0) * u64::from(network.1);
                assert!(pixels <= 4_400_000, "{width} x {height} becomes {sheet:?} and {network:?}");
                assert!([network.0, network.1].iter().all(|side| side.is_multiple_of(32) && *side >= 736));
            }
        }
    }
}

#[test]
fn stripes_lie_in_the_middle_of_black() {
    let across = sheet((1200, 48));
    for (x, y, pixel) in across.pixels.enumerate_pixels() {
        assert_eq!(pixel.0, if (126..174).contains(&y) { [200; 3] } else { [0; 3] }, "{x} {y}");
    }
    let down = sheet((48, 1200));
    assert_eq!(down.pixels.dimensions(), (300, 1200));
    for (x, y, pixel) in down.pixels.enumerate_pixels() {
        assert_eq!(pixel.0, if (126..174).contains(&x) { [200; 3] } else { [0; 3] }, "{x} {y}");
    }
}

#[test]
fn boxes_come_back_to_the_original() {
    let corners = [(0.0, 0.0), (1984.0, 0.0), (1984.0, 1312.0), (992.0, 656.0)].map(|(x, y)| Point::new(x, y));
    assert_eq!(sheet((2600, 1700)).in_original(&corners), [(0, 0), (2600, 0), (2600, 1700), (1300, 850)]);
    let corners = [(10.0, 0.0), (90.0, 126.0), (1300.0, 150.0), (50.0, 299.0)].map(|(x, y)| Point::new(x, y));
    assert_eq!(sheet((1200, 48)).in_original(&corners), [(10, 0), (90, 0), (1200, 24), (50, 48)]);
}

#[test]
fn cards_are_checked() {
    assert_eq!(RULES.mistake(), None);
    for rules in [
        SizeRules { multiple: 0, ..RULES },
        SizeRules { min_side: 31, ..RULES },
        SizeRules { max_side: 700, ..RULES },
        SizeRules { max_aspect: 0.5, ..RULES },
        SizeRules { max_aspect: f64::NAN, ..RULES },
    ] {
        assert!(rules.mistake().is_some(), "{rules:?}");
    }
}
