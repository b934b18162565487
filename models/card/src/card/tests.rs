use super::*;
use crate::{DType, Shape};

const CARD: &str = r#"
    name = "m"
    description = "d"
    license = "MIT"
    source = "s"
    graph = { file = "m.onnx", engine = "onnx" }
    inputs = [{ name = "x", dtype = "FP32", shape = [-1, 3, 8, 8] }]
    outputs = [{ name = "y", dtype = "FP32", shape = [-1, 2] }]
"#;

const PREPROCESSING: &str = "preprocessing = { size = [8, 8], crop = 1.0, filter = \"bicubic\", layout = \"NCHW\", \
    color = \"RGB\", mean = [0, 0, 0], std = [1, 1, 1] }";

const POSTPROCESSING: &str = "postprocessing = { labels = \"l\", scores = \"logits\", top_k = 2 }";

fn signature() -> Signature {
    let card = Card::parse(CARD).unwrap();
    Signature { inputs: card.inputs, outputs: card.outputs }
}

fn labels(text: &str) -> Labels {
    Labels::new(text.to_owned())
}

/// What an image classifier's card says about a graph that fits, with one text of its tables replaced by another.
fn disagreements(from: &str, to: &str) -> Vec<String> {
    let text = format!("{CARD}\n{PREPROCESSING}\n{POSTPROCESSING}");
    assert!(text.contains(from));
    let card = Card::parse(&text.replacen(from, to, 1)).unwrap();
    card.disagreements(&signature(), Some(&labels("a\nb\n")))
}

#[test]
fn a_card_that_agrees_has_no_disagreements() {
    let card = Card::parse_in_folder(CARD, "m").unwrap();
    assert_eq!(card.disagreements(&signature(), Some(&labels("a\nb\n"))), Vec::<String>::new());
    assert_eq!(card.graph.target, Target::Cpu);
    assert_eq!(card.serving.queue_size.get(), 256);
    assert_eq!(disagreements("", ""), Vec::<String>::new());
}

#[test]
fn disagreements_name_both_sides() {
    let card = Card::parse(CARD).unwrap();
    let mut graph = signature();
    graph.inputs[0].shape = vec![-1, 3, 9, 9].into();
    let said = card.disagreements(&graph, Some(&labels("a\n")));
    assert_eq!(said[0], "input: the card says 'x' FP32 [-1, 3, 8, 8], the graph has 'x' FP32 [-1, 3, 9, 9]");
    assert_eq!(said[1], "the label file has 1 lines, but the output has 2 classes");
    graph.outputs.clear();
    assert_eq!(card.disagreements(&graph, None)[1], "the card has 1 output(s), the graph has 0");
}

#[test]
fn preprocessing_must_make_the_input() {
    let said = disagreements("size = [8, 8]", "size = [8, 9]");
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("[1, 3, 9, 8] (NCHW, RGB)"), "{said:?}");
}

#[test]
fn a_table_is_an_image_models_by_its_keys_or_its_input() {
    let is_image = |table: &str, shape: &str| {
        let card = CARD.replace("[-1, 3, 8, 8]", shape);
        Card::parse(&format!("{card}\n[preprocessing]\n{table}")).unwrap().image_preprocessing().unwrap().is_some()
    };
    assert!(is_image("", "[-1, 3, 8, 8]") && is_image("mean = [0.5]\nscale = 1", "[-1, 8, 8, 1]"));
    assert!(is_image("size = [8, 8]\nlayout = \"NCHW\"", "[-1, -1, -1, -1]"));
    assert!(!is_image("mean = [0.5]", "[-1, 1024, 128]"));
    assert!(!is_image("sample_rate = 16000\nmean = [0.5]", "[-1, 1, 1024, 128]"));
    assert!(Card::parse(&format!("{CARD}\n[preprocessing]\nsize = [8, 8]\ncolour = 1")).is_err());
}

#[test]
fn classes_are_the_elements_of_a_row() {
    for (shape, classes) in [
        ("[-1, 2]", Some(2)),
        ("[1, 2, 1, 1]", Some(2)),
        ("[7]", Some(7)),
        ("[-1]", None),
        ("[1, -1]", None),
        ("[1, 4611686018427387904, 8]", None),
        ("[]", None),
    ] {
        assert_eq!(Card::parse(&CARD.replace("[-1, 2]", shape)).unwrap().classes(), classes, "{shape}");
    }
}

#[test]
fn a_threshold_is_for_scores_of_several_classes() {
    assert_eq!(disagreements("\"logits\"", "\"sigmoid\", threshold = 0.3"), Vec::<String>::new());
    assert_eq!(
        disagreements("top_k = 2", "threshold = 0.3"),
        ["postprocessing.threshold has no meaning without scores = \"sigmoid\""]
    );
    for wrong in ["-0.1", "1.5", "nan"] {
        let said = disagreements("\"logits\"", &format!("\"sigmoid\", threshold = {wrong}"));
        assert!(said.len() == 1 && said[0].contains("must be 0 to 1"), "{said:?}");
    }
    assert_eq!(disagreements("labels = \"l\", ", ""), Vec::<String>::new());
}

#[test]
fn numbers_that_no_function_could_use_are_disagreements() {
    for (from, to, says) in [
        ("crop = 1.0", "crop = 1.5", "preprocessing.crop = 1.5 must be above 0 and at most 1"),
        ("crop = 1.0", "crop = nan", "preprocessing.crop"),
        ("std = [1", "std = [0", "preprocessing.mean and .std must be finite, and .std not 0"),
        ("mean = [0", "mean = [inf", "preprocessing.mean and .std"),
        ("top_k = 2", "top_k = 3", "postprocessing.top_k = 3, but there are 2 classes"),
    ] {
        let said = disagreements(from, to);
        assert!(said.len() == 1 && said[0].contains(says), "{said:?} does not say {says}");
    }
}

#[test]
fn a_card_is_refused_by_the_key_that_is_wrong() {
    for (wrong, says) in [
        (CARD.replace("\"m\"", "\"n\""), "must be the folder's name"),
        (CARD.replace("m.onnx", "../m.onnx"), "graph.file"),
        (CARD.replace("m.onnx", "/etc/passwd"), "graph.file"),
        (CARD.replace("license", "licence"), "licence"),
        (CARD.replace("FP32", "FP33"), "FP33"),
        (format!("{CARD}\n[serving]\nmax_queue_delay_ms = 60001.0"), "serving.max_queue_delay_ms"),
        (format!("{CARD}\n[serving]\ninstances = 513"), "serving.instances = 513 must be at most 512"),
        (format!("{CARD}\n[serving]\nthreads = 100000"), "serving.threads = 100000 must be at most 512"),
        (format!("{CARD}\n[serving]\nqueue_size = 2147483648"), "serving.queue_size = 2147483648 must be at most"),
        (format!("{CARD}\n[serving]\nmax_batch_size = {}", i64::MAX), "serving.max_batch_size = 9223372036854775807"),
        (format!("{CARD}\n{}", POSTPROCESSING.replace("logits", "odds")), "odds"),
        (format!("{CARD}\n{}", POSTPROCESSING.replace("\"l\"", "\"../l\"")), "postprocessing.labels"),
        (format!("{CARD}\n{}", POSTPROCESSING.replace("top_k", "top")), "`top`"),
        (format!("{CARD}\n{}", PREPROCESSING.replace("filter", "filters")), "`filters`"),
        (format!("{CARD}\n{}", PREPROCESSING.replace("crop = 1.0", "scale = 2")), "scale = 2 must be 255"),
        (CARD.replace("\"onnx\"", "\"torch\""), "torch"),
        (CARD.replace("outputs", "[preprocessing\noutputs"), "TOML"),
    ] {
        let error = Card::parse_in_folder(&wrong, "m").unwrap_err().to_string();
        assert!(error.contains(says), "{error} does not say {says}");
    }
    assert!(
        Card::parse(&format!("{CARD}\n[serving]\ninstances = 512\nthreads = 512\nqueue_size = 2147483647")).is_ok()
    );
}

#[test]
fn what_a_card_does_not_say_is_the_graphs() {
    let graph = signature();
    let card = Card::parse_in_folder("", "m").unwrap();
    assert_eq!((card.name.as_str(), card.description.as_str(), card.graph.engine), ("m", "", Engine::Onnx));
    assert_eq!(card.disagreements(&graph, None), Vec::<String>::new());
    assert_eq!(card.refine(&graph), graph);
    let completed = card.completed("m", &graph);
    let read = Card::parse(&toml::to_string(&completed).unwrap()).unwrap();
    assert_eq!((read.name, read.inputs, read.outputs), ("m".to_owned(), graph.inputs.clone(), graph.outputs.clone()));

    let partial = Card::parse(&CARD.replace("outputs =", "# outputs =")).unwrap();
    assert_eq!(partial.disagreements(&graph, None), Vec::<String>::new());
    assert_eq!(partial.refine(&graph).outputs, graph.outputs);
}

#[test]
fn a_card_may_say_more_than_its_graph_and_not_less() {
    let mut graph = signature();
    graph.inputs[0].shape = vec![-1, 3, -1, -1].into();
    let card = Card::parse(CARD).unwrap();
    assert_eq!(card.disagreements(&graph, None), Vec::<String>::new());
    assert_eq!(card.refine(&graph).inputs[0].shape[..], [-1, 3, 8, 8]);
    graph.inputs[0].shape = Shape::ANY;
    assert_eq!(card.refine(&graph).inputs[0].shape[..], [-1, 3, 8, 8], "the graph says nothing of axes");
    let silent = Card::parse(&CARD.replace(", shape = [-1, 3, 8, 8]", "")).unwrap();
    graph.inputs[0].shape = vec![-1, 3, 9, 9].into();
    assert_eq!(silent.disagreements(&graph, None), [""; 0]);
    assert_eq!(silent.refine(&graph).inputs, graph.inputs, "the card says nothing of axes");
    for (name, dtype, shape) in [
        ("x", DType::Fp32, vec![1, 3, 8, 8]),
        ("x", DType::Fp32, vec![-1, 3, 9, -1]),
        ("x", DType::Fp32, vec![-1, -1, -1]),
        ("x", DType::Fp64, vec![-1, 3, 8, 8]),
        ("z", DType::Fp32, vec![-1, 3, 8, 8]),
    ] {
        graph.inputs[0] = TensorSpec { name: name.into(), dtype, shape: shape.into() };
        assert_eq!(card.disagreements(&graph, None).len(), 1, "{:?}", graph.inputs);
        assert_eq!(card.refine(&graph), graph);
    }
}

#[test]
fn tables_of_other_tasks_are_carried_for_their_functions() {
    #[derive(Debug, Deserialize)]
    struct Tokenizer {
        file: String,
        max_tokens: usize,
    }
    let text =
        format!("{CARD}\n[tokenizer]\nfile = \"t.json\"\nmax_tokens = 512\n[preprocessing]\nsample_rate = 16000");
    let card = Card::parse(&text).unwrap();
    let tokenizer: Tokenizer = card.table("tokenizer").unwrap();
    assert_eq!((tokenizer.file.as_str(), tokenizer.max_tokens), ("t.json", 512));
    assert_eq!(card.disagreements(&signature(), None), Vec::<String>::new());

    let error = Card::parse(&text.replace("512", "\"many\"")).unwrap().table::<Tokenizer>("tokenizer").unwrap_err();
    assert!(error.to_string().contains("[tokenizer]") && error.to_string().contains("max_tokens"), "{error}");
    let error = card.table::<Tokenizer>("postprocessing").unwrap_err();
    assert_eq!(error.to_string(), "missing field `postprocessing`");
}

#[test]
fn batches_are_taken_where_every_tensor_leaves_axis_0_open() {
    assert!(Card::parse(CARD).unwrap().takes_batches());
    assert!(!Card::parse(&CARD.replace("[-1, 2]", "[1, 2]")).unwrap().takes_batches());
    assert_eq!(Card::parse(CARD).unwrap().inputs[0].dtype, DType::Fp32);
}
