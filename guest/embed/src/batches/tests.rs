use super::*;

fn tokens(ids: &[u32]) -> Tokens {
    Tokens { ids: ids.to_vec(), truncated: false }
}

#[test]
fn texts_of_one_length_are_together_and_each_is_somewhere() {
    let lengths = [16, 48, 16, 32, 16, 48, 16];
    let batches = plan(&lengths, 3);
    let expected = [(vec![1, 5], 48), (vec![3], 32), (vec![0, 2, 4], 16), (vec![6], 16)];
    assert_eq!(batches, expected.map(|(texts, length)| Batch { texts, length }));
    assert!(plan(&[], 3).is_empty());
}

#[test]
fn no_computation_has_too_many_rows_or_places() {
    let batches = plan(&[256; 100], 64);
    assert_eq!(batches.iter().map(|batch| batch.texts.len()).collect::<Vec<_>>(), [16, 16, 16, 16, 16, 16, 4]);
    let batches = plan(&[16; 100], 64);
    assert_eq!(batches.iter().map(|batch| batch.texts.len()).collect::<Vec<_>>(), [64, 36]);
    assert_eq!(plan(&[MAX_PLACES + 1, MAX_PLACES + 1], 64).len(), 2, "one that is larger is alone");
    assert_eq!(plan(&[3, 3], 1).len(), 2);
}

#[test]
fn shorter_texts_are_filled_up() {
    let texts = [tokens(&[101, 7, 102]), tokens(&[101, 102])];
    let grid = Batch { texts: vec![1, 0], length: 4 }.grid(&texts, 9);
    assert_eq!(grid.shape, (2, 4));
    assert_eq!(grid.ids, [101, 102, 9, 9, 101, 7, 102, 9]);
    assert_eq!(grid.mask, [1, 1, 0, 0, 1, 1, 1, 0]);
    assert_eq!(grid.types, [0; 8]);
}
