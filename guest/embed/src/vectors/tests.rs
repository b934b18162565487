use super::*;

#[test]
fn tokens_are_pooled_without_what_fills_rows_up() {
    let grid = Grid { shape: (2, 3), mask: vec![1, 1, 0, 1, 0, 0], ..Grid::default() };
    let floats = [1.0, 2.0, 3.0, 6.0, 99.0, 99.0, 5.0, 7.0, 99.0, 99.0, 99.0, 99.0];
    assert_eq!(Pooling::Mean.pool(&floats, &grid), [2.0, 4.0, 5.0, 7.0]);
    assert_eq!(Pooling::Cls.pool(&floats, &grid), [1.0, 2.0, 5.0, 7.0]);
}

#[test]
fn rows_come_back_to_their_texts_and_get_the_length_1() {
    let mut vectors = Vectors::new(3);
    vectors.insert(&[2, 0], &[3.0, 4.0, 0.0, 2.0]);
    vectors.insert(&[1], &[0.0, 0.0]);
    let vectors = vectors.finish(true).unwrap();
    assert_eq!(vectors.rows().collect::<Vec<_>>(), [[0.0, 1.0], [0.0, 0.0], [0.6, 0.8]]);
    assert_eq!(vectors.dimensions(), 2);
}

#[test]
fn what_is_no_number_is_refused() {
    let finished = |rows: &[f32]| {
        let mut vectors = Vectors::new(1);
        vectors.insert(&[0], rows);
        vectors.finish(false).map(|vectors| vectors.values)
    };
    assert_eq!(finished(&[3.0, 4.0]).unwrap(), [3.0, 4.0]);
    assert_eq!(finished(&[1.0, f32::NAN]).unwrap_err(), "vectors that are not numbers");
    assert_eq!(finished(&[f32::INFINITY]).unwrap_err(), "vectors that are not numbers");
    assert_eq!(finished(&[]).unwrap_err(), "vectors of no dimension");
}
