use super::*;

fn tokenizer() -> Tokenizer {
    Tokenizer::new(Vocabulary::bert_uncased()).unwrap()
}

/// The tokens as words, without the first and the last.
fn pieces(tokenizer: &Tokenizer, text: &str) -> String {
    let lines: Vec<_> = include_str!("../../bert-base-uncased.txt").lines().collect();
    let tokens = tokenizer.encode(text);
    let (first, last) = (tokens.ids.first().unwrap(), tokens.ids.last().unwrap());
    assert_eq!((lines[*first as usize], lines[*last as usize]), ("[CLS]", "[SEP]"));
    let inner = &tokens.ids[1..tokens.ids.len() - 1];
    inner.iter().map(|&id| lines[id as usize]).collect::<Vec<_>>().join(" ")
}

#[test]
fn words_become_their_longest_pieces() {
    let tokenizer = tokenizer();
    for (text, expected) in [
        ("", ""),
        (" \n\t ", ""),
        ("The quick brown fox", "the quick brown fox"),
        ("Unaffable!", "una ##ffa ##ble !"),
        ("don't re-enter", "don ' t re - enter"),
        ("Crème brûlée", "cr ##eme br ##ule ##e"),
        ("x[MASK]y [sep] [SEP]", "x [MASK] y [ sep ] [SEP]"),
        ("大阪", "大 [UNK]"),
        ("\u{1F600} ok", "[UNK] ok"),
    ] {
        assert_eq!(pieces(&tokenizer, text), expected, "{text:?}");
    }
}

#[test]
fn a_word_that_is_too_long_is_unknown() {
    let tokenizer = tokenizer();
    assert!(!pieces(&tokenizer, &"a".repeat(100)).contains("[UNK]"));
    assert_eq!(pieces(&tokenizer, &"a".repeat(101)), "[UNK]");
    // Characters count, not bytes.
    assert!(!pieces(&tokenizer, &"я".repeat(100)).contains("[UNK]"));
    assert_eq!(pieces(&tokenizer, &format!("a {} b", "я".repeat(101))), "a [UNK] b");
}

#[test]
fn the_rest_of_a_long_text_is_left_out() {
    let tokenizer = tokenizer().max_tokens(4);
    let tokens = |text| tokenizer.encode(text);
    assert_eq!(tokens("the fox"), Tokens { ids: vec![101, 1996, 4419, 102], truncated: false });
    assert_eq!(tokens("the fox \n"), Tokens { ids: vec![101, 1996, 4419, 102], truncated: false });
    assert_eq!(tokens("the fox."), Tokens { ids: vec![101, 1996, 4419, 102], truncated: true });
    // A word of several pieces is cut within.
    assert_eq!(tokens("the unaffable"), Tokens { ids: vec![101, 1996, 14477, 102], truncated: true });
    assert_eq!(tokens("the fox [SEP]"), Tokens { ids: vec![101, 1996, 4419, 102], truncated: true });
    assert_eq!(self::tokenizer().max_tokens(0).encode("the").ids, [101, 102]);
}

#[test]
fn ids_of_a_client_are_checked() {
    let tokenizer = tokenizer().max_tokens(4);
    assert_eq!(tokenizer.encode_ids(&[1996, 4419]).unwrap(), tokenizer.encode("the fox"));
    assert_eq!(tokenizer.encode_ids(&[1996, 4419, 1012]).unwrap(), tokenizer.encode("the fox."));
    assert_eq!(tokenizer.encode_ids(&[]).unwrap(), tokenizer.encode(""));
    assert!(tokenizer.encode_ids(&[30_521]).is_ok());
    let unknown = tokenizer.encode_ids(&[0, 30_522]).unwrap_err();
    assert_eq!(unknown.to_string(), "token 30522 is not in the vocabulary, whose ids are 0 to 30521");
}

#[test]
fn a_vocabulary_of_another_kind_is_refused() {
    let vocabulary = Vocabulary::new("[PAD]\n[UNK]\n[CLS]\nthe\n").unwrap();
    assert_eq!(Tokenizer::new(vocabulary).unwrap_err(), VocabularyError::Missing("[SEP]"));
}

#[test]
fn capitals_stay_where_the_model_knows_them() {
    let vocabulary = Vocabulary::new("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nThe\nthe\n").unwrap();
    let tokenizer = Tokenizer::new(vocabulary).unwrap().lowercase(false);
    assert_eq!(tokenizer.encode("The the THE").ids, [2, 5, 6, 1, 3]);
    assert_eq!(tokenizer.lowercase(true).encode("The the THE").ids, [2, 6, 6, 6, 3]);
}

/// 200 texts, some Chinese, some emoji, some of 10,000 characters, as the crate `tokenizers` cuts them.
#[test]
fn texts_become_the_tokens_of_the_reference() {
    let golden = include_str!("../../../../tests/fixtures/embed/golden.json");
    let golden: Vec<serde_json::Value> = serde_json::from_str(golden).unwrap();
    assert_eq!(golden.len(), 200);
    let tokenizer = tokenizer().max_tokens(256);
    for each in golden {
        let expected: Vec<u32> = serde_json::from_value(each["ids"].clone()).unwrap();
        let truncated = each["truncated"] == true;
        let text = each["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text), Tokens { ids: expected, truncated }, "{text:?}");
    }
}
