use modelfn_wordpiece::Vocabulary;

use super::*;

fn tokenizer() -> Tokenizer {
    Tokenizer::new(Vocabulary::bert_uncased()).unwrap().max_tokens(256)
}

fn parsed(json: &str) -> Result<Input, serde_json::Error> {
    serde_json::from_str(json)
}

#[test]
fn each_form_is_read() {
    let fox = tokenizer().encode("the fox");
    for (json, texts) in [
        (r#""the fox""#, 1),
        (r#"["the fox"]"#, 1),
        (r#"["the fox", "the fox"]"#, 2),
        ("[1996, 4419]", 1),
        ("[[1996, 4419], [1996, 4419], [1996, 4419]]", 3),
    ] {
        assert_eq!(parsed(json).unwrap().tokens(&tokenizer()).unwrap(), vec![fox.clone(); texts], "{json}");
    }
    for json in [r#"["a", 1]"#, "[-1]", "[1.5]", "{}", "null", "[[[1]]]", r#"[["a"]]"#] {
        let error = parsed(json).unwrap_err().to_string();
        assert!(error.starts_with("`input` must be a text, a list of texts,"), "{json}: {error}");
    }
}

#[test]
fn bounds_are_obeyed_and_exceeded() {
    let tokens = |input: Input| input.tokens(&tokenizer()).map(|texts| texts.len());
    let detail = |input| tokens(input).map_err(|problem| (problem.status, problem.detail)).unwrap_err();
    assert_eq!(tokens(Input::Texts(vec![String::new(); MAX_TEXTS])).unwrap(), MAX_TEXTS);
    for input in [Input::Texts(vec![String::new(); MAX_TEXTS + 1]), Input::IdLists(vec![Vec::new(); MAX_TEXTS + 1])] {
        assert_eq!(detail(input), (413, "`input` has 2049 texts; send at most 2048 in a request".to_owned()));
    }
    let half = "é".repeat(MAX_CHARACTERS / 2);
    assert_eq!(tokens(Input::Texts(vec![half.clone(), half.clone()])).unwrap(), 2);
    let (status, said) = detail(Input::Texts(vec![half.clone(), half, "x".to_owned()]));
    assert!(status == 413 && said.contains("1000001 characters"), "{said}");
    let long = "a ".repeat(256);
    assert_eq!(tokens(Input::Texts(vec![long.clone(); MAX_TOKENS / 256])).unwrap(), 256);
    let (status, said) = detail(Input::Texts(vec![long; MAX_TOKENS / 256 + 1]));
    assert!(status == 413 && said.contains("65792 tokens"), "{said}");
    assert_eq!(detail(Input::Texts(Vec::new())).0, 400);
    assert_eq!(detail(Input::Ids(vec![40_000])).0, 400);
    assert_eq!(tokens(Input::Ids(Vec::new())).unwrap_or(0), 1);
}
