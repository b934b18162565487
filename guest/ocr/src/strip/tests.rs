use super::*;

/// How many columns of the strip show the line, which is of one color.
fn shown(line: (u32, u32), size: (u32, u32)) -> usize {
    let pixels = strip(&RgbImage::from_pixel(line.0, line.1, [9, 8, 7].into()), size);
    assert_eq!(pixels.len(), (size.0 * size.1 * 3) as usize);
    let row = |pixels: &[u8]| pixels.chunks_exact(3).take_while(|pixel| *pixel == [9, 8, 7]).count();
    let columns = row(&pixels[..size.0 as usize * 3]);
    for pixels in pixels.chunks_exact(size.0 as usize * 3) {
        assert_eq!(row(pixels), columns);
        assert!(pixels[columns * 3..].iter().all(|&sample| sample == NOTHING));
    }
    columns
}

#[test]
fn lines_keep_their_proportions_with_gray_behind_them() {
    assert_eq!(shown((10, 4), (40, 8)), 20);
    assert_eq!(shown((8, 16), (40, 8)), 4);
    // 8 x 13 / 11 is 9.45.
    assert_eq!(shown((13, 11), (40, 8)), 10);
}

#[test]
fn what_would_be_too_wide_is_squeezed() {
    assert_eq!(shown((200, 8), (40, 8)), 40);
    assert_eq!(shown((1, 200), (40, 8)), 1);
}
