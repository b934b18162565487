use super::*;

const TABLES: &str = "[tokenizer]\nvocab = \"vocab.txt\"\nlowercase = true\nmax_tokens = 256\n\
    [postprocessing]\npooling = \"mean\"\nnormalize = true\n";

const SMALL: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n";

/// An embedder of a card with these tables, whose vocabulary has this text.
fn embedder(tables: &str, vocabulary: &str) -> Result<Embedder, String> {
    let input = |name| format!("{{ name = \"{name}\", dtype = \"I64\", shape = [-1, -1] }}");
    let inputs = INPUTS.map(input).join(", ");
    let outputs = "[{ name = \"y\", dtype = \"FP32\", shape = [-1, -1, 4] }]";
    let card = Card::parse(&format!("name = \"m\"\ninputs = [{inputs}]\noutputs = {outputs}\n{tables}")).unwrap();
    Embedder::new(card, |file| if file == "vocab.txt" { Ok(vocabulary.into()) } else { Err(Problem::internal(file)) })
        .map_err(|problem| problem.detail)
}

#[test]
fn the_vocabulary_is_the_one_of_the_card() {
    let small = embedder(TABLES, SMALL).unwrap();
    assert_eq!(small.tokenizer.encode("the fox").ids, [2, 5, 1, 3]);
    assert_eq!((small.dimensions(), small.max_tokens), (Some(4), 256));
    // That of the digest is carried along, so the file is not read.
    let digest = TABLES.replace("lowercase", &format!("sha256 = \"{BERT_UNCASED_SHA256}\"\nlowercase"));
    let carried = embedder(&digest.replace("vocab.txt", "none.txt"), "").unwrap();
    assert_eq!(carried.tokenizer.encode("the fox").ids, [101, 1996, 4419, 102]);
}

#[test]
fn what_is_wrong_with_a_card_is_named() {
    let other = |from: &str, to: &str| embedder(&TABLES.replace(from, to), SMALL).unwrap_err();
    for (found, expected) in [
        (embedder("", SMALL).unwrap_err(), "tokenizer"),
        (other("lowercase = true\n", ""), "lowercase"),
        (other("lowercase = true", "lowercase = true\nstemming = true"), "stemming"),
        (other("max_tokens = 256", "max_tokens = 2"), "must be 3 or more"),
        (other("max_tokens = 256", "max_tokens = 256\npad_to_multiple_of = 0"), "pad_to_multiple_of"),
        (other("\"mean\"", "\"max\""), "max"),
        (embedder(TABLES, "the\n").unwrap_err(), "tokenizer.vocab, vocab.txt: it has no line \"[PAD]\""),
        (embedder(TABLES, "the\nthe\n").unwrap_err(), "line 2 was there before"),
        (embedder(&TABLES.replace("vocab.txt", "other.txt"), SMALL).unwrap_err(), "other.txt"),
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn an_input_that_nobody_fills_is_named() {
    let card = "name = \"m\"\ninputs = [{ name = \"pixels\", dtype = \"FP32\", shape = [-1, 3] }]\n";
    let card = Card::parse(&format!("{card}{TABLES}")).unwrap();
    let problem = Embedder::new(card, |_| Ok(SMALL.into())).unwrap_err();
    assert!(problem.detail.contains("'pixels'") && problem.detail.contains("input_ids"), "{}", problem.detail);
}

#[test]
fn inputs_have_the_type_that_the_card_says() {
    let grid = Grid { shape: (1, 2), ..Grid::default() };
    let spec = |dtype| TensorSpec { name: "input_ids".to_owned(), dtype, shape: vec![-1, -1].into() };
    let bytes = |dtype| tensor(&spec(dtype), &[1, 258], &grid).map(|tensor| tensor.data);
    assert_eq!(bytes(DType::I32).unwrap(), [1, 0, 0, 0, 2, 1, 0, 0]);
    assert_eq!(bytes(DType::I64).unwrap(), [1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    assert!(bytes(DType::Fp32).unwrap_err().detail.contains("FP32; it must be I64 or I32"));
}
