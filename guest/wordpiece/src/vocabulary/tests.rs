use sha2::{Digest, Sha256};

use super::*;

#[test]
fn the_carried_vocabulary_is_the_one_that_its_digest_says() {
    let digest = Sha256::digest(include_bytes!("../../bert-base-uncased.txt"));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, BERT_UNCASED_SHA256);
    assert_eq!(Vocabulary::bert_uncased().len(), 30_522);
}

#[test]
fn each_piece_is_found_by_its_id_in_both_indexes() {
    let text = include_str!("../../bert-base-uncased.txt");
    let (carried, indexed) = (Vocabulary::bert_uncased(), Vocabulary::new(text).unwrap());
    for (id, piece) in (0u32..).zip(text.lines()) {
        assert_eq!((carried.id(piece), indexed.id(piece)), (Some(id), Some(id)), "{piece:?}");
    }
    for piece in ["", "thequickbrownfox", "##", "the\n", "the ", "\u{1F600}\u{1F600}"] {
        assert_eq!(
            (carried.id(piece), indexed.id(piece)),
            (text.lines().position(|p| p == piece).map(|n| n as u32), None),
            "{piece:?}"
        );
    }
}

#[test]
fn the_longest_piece_is_found() {
    let vocabulary = Vocabulary::new("un\nunaff\n##aff\n##able\n##a\nüb\nüber\r\n").unwrap();
    assert_eq!(vocabulary.longest("", "unaffable"), Some((1, 5)));
    assert_eq!(vocabulary.longest("##", "able"), Some((3, 4)));
    assert_eq!(vocabulary.longest("##", "abl"), Some((4, 1)));
    assert_eq!(vocabulary.longest("", "übe"), Some((5, 3)));
    assert_eq!(vocabulary.longest("", "über"), Some((6, 5)));
    assert_eq!(vocabulary.longest("", "x"), None);
    assert_eq!(vocabulary.longest("", ""), None);
}

#[test]
fn what_is_no_vocabulary_is_refused() {
    assert_eq!(Vocabulary::new("a\nb\na\n").unwrap_err(), VocabularyError::Repeated(3));
    assert_eq!(Vocabulary::new("a\nb\na").unwrap_err(), VocabularyError::Repeated(3));
    assert_eq!(Vocabulary::new("a\nb\na\r\n").unwrap_err(), VocabularyError::Repeated(3));
    let large = vec![b'x'; MAX_BYTES + 1];
    assert_eq!(Vocabulary::new(large).unwrap_err(), VocabularyError::TooLarge(MAX_BYTES + 1));
    assert!(Vocabulary::new(vec![b'x'; MAX_BYTES]).is_ok());
    let empty = Vocabulary::new("").unwrap();
    assert!(empty.is_empty() && empty.id("a").is_none());
}
