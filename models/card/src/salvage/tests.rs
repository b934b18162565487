use super::*;

const CARD: &str = r#"
    name = "m"
    licence = "MIT"
    source = 7
    graph = { file = "../m.onnx", engine = "torch", target = "cpu" }
    inputs = [
        { name = "x", dtype = "FP32", shape = [-1, 3, 8, 8] },
        { name = "y", dtype = "FP33", shape = [-1] },
        { name = "z", shape = [1] },
    ]
    outputs = [{ name = "y", dtype = "FP32", shape = [-1, 2], axes = 2 }]
    serving = { threads = "two", queue_size = 0, max_queue_delay_ms = 1e9, instances = 3 }
    [tokenizer]
    file = "anything"
"#;

#[test]
fn all_that_is_wrong_is_said_at_once_with_its_key() {
    let Salvaged { card, problems } = Card::salvage(CARD);
    for (key, says) in [
        ("licence", "unknown field `licence`"),
        ("source", "expected a string"),
        ("graph.file", "must be a path inside"),
        ("graph.engine", "unknown variant `torch`"),
        ("inputs[1].dtype", "FP33"),
        ("inputs[2]:", "missing field `dtype`"),
        ("outputs[0].axes", "unknown field `axes`"),
        ("serving.threads", "invalid type"),
        ("serving.queue_size", "zero"),
        ("serving.max_queue_delay_ms", "must be 0 to 60000"),
    ] {
        let said = problems.iter().filter(|problem| problem.starts_with(key) && problem.contains(says)).count();
        assert_eq!(said, 1, "{key}, {says}: {problems:#?}");
    }
    assert_eq!(problems.len(), 10, "{problems:#?}");
    assert_eq!((card.name.as_str(), card.inputs.len(), card.outputs.len()), ("m", 1, 1));
    assert_eq!(card.serving.instances.map(std::num::NonZeroUsize::get), Some(3));
}

#[test]
fn a_right_card_is_itself_and_no_toml_is_one_problem() {
    let Salvaged { card, problems } = Card::salvage("description = \"d\"");
    assert_eq!((card.description.as_str(), problems.len()), ("d", 0));
    let Salvaged { card, problems } = Card::salvage("description = \"d\"\n[graph\n");
    assert_eq!((card.description.as_str(), problems.len()), ("", 1));
    assert!(problems[0].contains("line 2"), "{problems:?}");
}

#[test]
fn a_table_that_lacks_a_key_is_named() {
    let text = "graph = 1\npostprocessing = { scores = \"logits\", labels = \"l\", top_k = \"five\" }\n\
        inputs = [{ name = \"x\", shape = [1] }]";
    let problems = Card::salvage(text).problems;
    for key in ["graph: ", "postprocessing.top_k: ", "inputs[0]: missing field `dtype`"] {
        assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key} {problems:?}");
    }
}

/// Cards are not trusted: the time for one with many keys, or with a large value, is bounded.
#[test]
fn only_the_first_problem_of_a_very_large_card_is_said() {
    let keys = |count: usize| (0..count).map(|n| format!("key{n} = 1\n")).collect::<String>();
    assert_eq!(Card::salvage(&keys(20)).problems.len(), 20);
    assert_eq!(Card::salvage(&keys(MAX_KEYS + 1)).problems.len(), 1);
    let large = format!("{}[tokenizer]\nwords = [{}]\n", keys(2), "1, ".repeat(MAX_TEXT / 3));
    assert_eq!(Card::salvage(&large).problems.len(), 1);
}
