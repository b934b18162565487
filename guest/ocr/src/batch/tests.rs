use super::*;

fn line(width: u32, height: u32, value: u8) -> RgbImage {
    RgbImage::from_pixel(width, height, [value; 3].into())
}

#[test]
fn lines_stand_below_each_other_with_gray_behind_them() {
    let mut batch = Batch::new((40, 8));
    for (line, value) in [(line(10, 4, 9), 9), (line(200, 8, 50), 50), (line(8, 16, 77), 77)] {
        batch.push(&line);
        assert_eq!(batch.pixels.last().copied(), Some(if value == 50 { 50 } else { NOTHING }));
    }
    assert_eq!(batch.shape(), [3, 8, 40, 3]);
    let pixels = batch.into_pixels();
    assert_eq!(pixels.len(), 3 * 8 * 40 * 3);
    for (n, pixel) in pixels.as_chunks::<3>().0.iter().enumerate() {
        let (picture, x) = (n / (8 * 40), n % 40);
        // The first keeps its proportions, the second would be too wide, the third is rather high.
        let (value, width) = [(9, 20), (50, 40), (77, 4)][picture];
        assert_eq!(*pixel, [if x < width { value } else { NOTHING }; 3], "{picture} {x}");
    }
}

#[test]
fn the_last_part_of_a_pixel_counts() {
    let mut batch = Batch::new((40, 8));
    batch.push(&line(13, 11, 9));
    // 8 x 13 / 11 is 9.45.
    assert_eq!(batch.pixels.chunks_exact(3).take(40).filter(|pixel| pixel[0] == 9).count(), 10);
}
