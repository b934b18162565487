use super::*;
use crate::oip::random::Random;
use modelfn_nn::tensor::Shape;

fn spec(name: &str, dtype: DType, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.into(), dtype, shape: shape.into() }
}

fn signature() -> Signature {
    let inputs = vec![spec("x", DType::Fp32, &[-1, 2]), spec("n", DType::I64, &[1])];
    Signature { inputs, outputs: vec![spec("y", DType::Fp32, &[-1, 2]), spec("h", DType::Fp16, &[1])] }
}

fn read(text: &str, binary: &[u8]) -> Result<InferRequest, String> {
    let body = [text.as_bytes(), binary].concat();
    parse(&body.into(), Some(text.len()), &signature())
}

/// With room for anything.
fn parse(body: &Bytes, json_length: Option<usize>, signature: &Signature) -> Result<InferRequest, String> {
    super::parse(body, json_length, signature, &mut |_| Ok(())).map_err(|e| e.to_string())
}

#[test]
fn what_json_becomes_is_charged_and_binary_data_is_not_charged_again() {
    let text = format!(
        r#"{{"inputs": [
            {{"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {{"binary_data_size": 8}}}},
            {{"name": "n", "datatype": "INT64", "shape": [1], "data": [3]}}], {WANT_Y}}}"#
    );
    let body = Bytes::from([text.as_bytes(), &[0; 8]].concat());
    let with_room = |room: usize| {
        let mut charge = |bytes| if bytes <= room { Ok(()) } else { Err(Problem::BodiesFull) };
        super::parse(&body, Some(text.len()), &signature(), &mut charge)
    };
    assert!(with_room(8).is_ok());
    assert!(matches!(with_room(7), Err(Problem::BodiesFull)));
}

/// Four bytes of an empty string become an object of the engine.
#[test]
fn strings_are_charged_for_what_the_engine_makes_of_them() {
    let strings = |rest: &str, binary: &[u8], room: usize| {
        let text =
            format!(r#"{{"inputs": [{{"name": "x", "datatype": "BYTES", "shape": [2, 1], {rest}}}], {WANT_Y}}}"#);
        let mut left = room;
        let mut charge = |bytes| left.checked_sub(bytes).map(|less| left = less).ok_or(Problem::BodiesFull);
        let body = Bytes::from([text.as_bytes(), binary].concat());
        super::parse(&body, Some(text.len()), &signature(), &mut charge).map_err(|e| e.to_string())
    };
    let binary = |room| strings(r#""parameters": {"binary_data_size": 8}"#, &[0; 8], room);
    assert!(binary(64).is_ok() && binary(63).is_err());
    let text = r#"["", "a"]"#;
    let most = json::most_bytes(DType::String, &[2, 1], text);
    let json = |room| strings(&format!(r#""data": {text}"#), &[], room);
    assert!(json(64 + most).is_ok() && json(63 + most).is_err());
}

const WANT_Y: &str = r#""outputs": [{"name": "y"}]"#;

#[test]
fn json_and_binary_inputs_can_be_mixed() {
    let text = format!(
        r#"{{"id": "7", "parameters": {{"priority": 1, "timeout": 5000}}, "inputs": [
            {{"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {{"binary_data_size": 8}}}},
            {{"name": "n", "datatype": "INT64", "shape": [1], "data": [3]}}], {WANT_Y}}}"#
    );
    let asked = read(&text, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    assert_eq!(asked.inputs[0].1.data().as_ref(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(asked.inputs[1].1.data().as_ref(), 3_i64.to_le_bytes());
    assert_eq!(asked.wanted.id.as_deref(), Some("7"));
    assert_eq!(asked.timeout, Some(Duration::from_millis(5)));
    assert!(!asked.wanted.outputs[0].binary && asked.wanted.outputs.len() == 1);
}

#[test]
fn malformed_requests_are_told_what_is_wrong() {
    let x = |rest: &str| format!(r#"{{"inputs": [{{"name": "x", {rest}}}], {WANT_Y}}}"#);
    let y = |outputs: &str| format!(r#"{{"inputs": [], "outputs": {outputs}}}"#);
    let many = format!(r#"{{"inputs": [{}]}}"#, [r#"{"name": "x", "datatype": "FP32", "shape": [0]}"#; 3].join(","));
    let axes = format!(r#""datatype": "FP32", "shape": [{}], "data": []"#, ["1"; 17].join(","));
    for (text, expected) in [
        ("nonsense".to_owned(), "not the protocol's JSON"),
        ("{}".to_owned(), "missing field `inputs`"),
        (
            format!(r#"{{"id": "{}", "inputs": []}}"#, "i".repeat(4097)),
            "the id has 4097 bytes, which is more than 4096",
        ),
        ("[]".to_owned(), "not the protocol's JSON"),
        (many, "has 3 inputs"),
        (x(r#""datatype": "FP32""#), "missing field `shape`"),
        (x(r#""datatype": "U8", "shape": [1], "data": [1]"#), "input 'x' has datatype U8, which is none of BOOL"),
        (
            x(r#""datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 3}"#),
            "element 0 of the strings is cut",
        ),
        (x(r#""datatype": "FP16", "shape": [1], "data": [1]"#), "binary data only"),
        (x(r#""datatype": "FP32", "shape": [-1], "data": [1]"#), "expected usize"),
        (x(r#""datatype": "FP32", "shape": [1]"#), "no data and no binary_data_size"),
        (x(r#""datatype": "FP32", "shape": [1], "data": [1], "parameters": {"binary_data_size": 4}"#), "both data"),
        (x(r#""datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 40}"#), "but 4 bytes are left"),
        (x(r#""datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 4}"#), "data is 4 bytes"),
        (x(r#""datatype": "FP32", "shape": [1], "parameters": {"shared_memory_region": "r"}"#), "shared memory"),
        (x(r#""datatype": "FP32", "shape": [1], "data": [1]"#), "4 bytes are left over"),
        (x(&axes), "a list is longer than 16"),
        (x(r#""datatype": "FP32", "shape": [18446744073709551615, 2], "data": []"#), "too large"),
        (y(r#"[{"name": "z"}]"#), "no output 'z'; it has: 'y' FP32 [-1, 2], 'h' FP16 [1]"),
        (y("[]"), "'h' FP16 [1] travels as binary data only"),
        (y(r#"[{"name": "y"}, {"name": "y"}]"#), "requested twice"),
        (y(r#"[{"name": "y", "parameters": {"classification": "3"}}]"#), "invalid type: string"),
        (y(r#"[{"name": "y", "parameters": {"classification": -3}}]"#), "expected usize"),
        (y(r#"[{"name": "y", "parameters": {"shared_memory_region": "r"}}]"#), "shared memory"),
        (y(&format!("[{}]", [r#"{"name": "y"}"#; 1025].join(","))), "a list is longer than 1024"),
    ] {
        let binary: &[u8] = if text.contains("\"inputs\": []") { &[] } else { &[0; 4] };
        let error = read(&text, binary).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = parse(&Bytes::from_static(b"{}"), Some(3), &signature()).unwrap_err();
    assert!(error.contains("but the body has 2 bytes"), "{error}");
}

#[test]
fn a_body_without_json_is_the_single_input() {
    let one = Signature { inputs: vec![spec("x", DType::Fp32, &[-1, 2])], outputs: vec![] };
    let asked = parse(&vec![0; 24].into(), Some(0), &one).unwrap();
    assert_eq!(asked.inputs[0].1.shape(), [3, 2]);
    assert!(parse(&vec![0; 23].into(), Some(0), &one).unwrap_err().contains("data is 23 bytes"));
    assert!(parse(&vec![0; 24].into(), Some(0), &signature()).unwrap_err().contains("models of one input"));
    let open = Signature { inputs: vec![spec("x", DType::Fp32, &[-1, -1])], outputs: vec![] };
    assert!(parse(&vec![0; 24].into(), Some(0), &open).unwrap_err().contains("say it in JSON"));
    let any = TensorSpec { shape: Shape::ANY, ..spec("x", DType::Fp32, &[]) };
    let any = Signature { inputs: vec![any], outputs: vec![] };
    assert!(parse(&vec![0; 4].into(), Some(0), &any).unwrap_err().contains("shape of 'x' FP32 of any shape open"));
    let none = Signature { inputs: vec![spec("x", DType::Fp32, &[0])], outputs: vec![] };
    assert!(parse(&Bytes::new(), Some(0), &none).is_err());
}

/// Requests that are nearly right: pieces of one are dropped, doubled, exchanged, and bytes changed.
#[test]
fn any_bytes_give_tensors_or_an_error() {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"inputs\"",
        "\"name\"",
        "\"x\"",
        "\"n\"",
        "\"shape\"",
        "\"datatype\"",
        "\"FP32\"",
        "\"INT64\"",
        "\"data\"",
        "\"parameters\"",
        "\"binary_data_size\"",
        "\"outputs\"",
        "\"y\"",
        "1",
        "2",
        "-1",
        "1e400",
        "0.5",
        "18446744073709551616",
        "null",
        "true",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\u{fe}",
        "\"",
    ];
    let right = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[[1,2]]},{"name":"n","datatype":"INT64","shape":[1],"parameters":{"binary_data_size":8}}],"outputs":[{"name":"y"}]}........"#;
    let mut random = Random::new(20_260_101);
    let mut parsed = 0;
    for round in 0..40_000 {
        let mut bytes = if round % 2 == 0 { right.to_vec() } else { Vec::new() };
        for _ in 0..random.below(8) {
            let at = random.below(bytes.len() + 1);
            let piece = PIECES[random.below(PIECES.len())].as_bytes();
            let replaced = random.below(12).min(bytes.len() - at);
            match random.below(3) {
                0 => drop(bytes.splice(at..at + replaced, piece.iter().copied())),
                1 => drop(bytes.splice(at..at, piece.iter().copied())),
                _ => bytes.extend(piece.iter().chain(&[random.next_u32() as u8])),
            }
        }
        let length = [None, Some(bytes.len().saturating_sub(8)), Some(random.below(300)), Some(usize::MAX), Some(0)];
        match parse(&bytes.into(), length[random.below(length.len())], &signature()) {
            Ok(asked) => {
                parsed += 1;
                assert!(asked.inputs.len() <= 2 && asked.wanted.outputs.len() <= 2);
            }
            Err(error) => assert!(!error.is_empty()),
        }
    }
    assert!(parsed > 100, "only {parsed} of them were right");
}

/// The elements that a shape has, by arithmetic that has room for them.
fn elements(shape: &[usize]) -> Option<u128> {
    shape.iter().try_fold(1_u128, |elements, &axis| elements.checked_mul(axis as u128))
}

/// Axes whose product overflows must not pass for a small tensor.
#[test]
fn a_shape_is_taken_only_with_as_much_data_as_it_says() {
    const AXES: [usize; 9] = [0, 1, 2, 3, 1 << 16, 1 << 31, 1 << 32, 1 << 63, usize::MAX];
    let mut random = Random::new(1);
    let mut taken = 0;
    for _ in 0..20_000 {
        let shape: Vec<usize> = (0..random.below(6)).map(|_| AXES[random.below(AXES.len())]).collect();
        let size = [0, 1, 2, 4, 6, 8, 9, 12, 18, 27][random.below(10)];
        let (data, binary) = match random.below(2) {
            0 => (format!(r#""data": [{}]"#, vec!["0"; size].join(",")), Vec::new()),
            _ => (format!(r#""parameters": {{"binary_data_size": {size}}}"#), vec![0; size]),
        };
        let text =
            format!(r#"{{"inputs": [{{"name": "x", "datatype": "UINT8", "shape": {shape:?}, {data}}}], {WANT_Y}}}"#);
        let fits = elements(&shape) == Some(size as u128);
        match read(&text, &binary) {
            Ok(asked) => {
                taken += 1;
                assert!(fits, "{text}");
                assert_eq!((asked.inputs[0].1.shape(), asked.inputs[0].1.data().len()), (shape.as_slice(), size));
            }
            // A product that overflows on its way to 0 is refused, too.
            Err(error) => assert!(!fits || shape.contains(&0), "{text}: {error}"),
        }
    }
    assert!(taken > 500, "only {taken} were right");
}

/// What is said of lengths must be true to the byte: no input takes another one's bytes.
#[test]
fn lengths_that_lie_are_errors() {
    let mut random = Random::new(2);
    for _ in 0..2000 {
        let (rows, more) = (random.below(5), random.below(5));
        let x: Vec<u8> = (0..rows * 8).map(|_| random.next_u32() as u8).collect();
        let n: Vec<u8> = (0..8).map(|_| random.next_u32() as u8).collect();
        let text = |x_size: usize, n_size: usize| {
            format!(
                r#"{{"inputs": [
                {{"name": "x", "datatype": "FP32", "shape": [{rows}, 2], "parameters": {{"binary_data_size": {x_size}}}}},
                {{"name": "n", "datatype": "INT64", "shape": [1], "parameters": {{"binary_data_size": {n_size}}}}}], {WANT_Y}}}"#
            )
        };
        let binary = [x.as_slice(), &n].concat();
        let honest = text(x.len(), 8);
        let asked = read(&honest, &binary).unwrap();
        assert_eq!(
            (asked.inputs[0].1.data().as_ref(), asked.inputs[1].1.data().as_ref()),
            (x.as_slice(), n.as_slice())
        );
        assert!(read(&text(x.len() + more + 1, 8), &binary).is_err());
        assert!(read(&text(x.len(), 7 - more), &binary).is_err());
        assert!(read(&text(x.len().saturating_sub(more), 8 + more), &binary).is_err() || more == 0 || x.is_empty());
        assert!(read(&honest, &binary[..binary.len() - 1 - more]).is_err());
        assert!(read(&honest, &[binary.as_slice(), &n].concat()).is_err());
        let body: Bytes = [honest.as_bytes(), &binary].concat().into();
        let length = random.below(body.len() + 20);
        if length != honest.len() && length > 0 {
            assert!(parse(&body, Some(length), &signature()).is_err(), "{length} of {}", honest.len());
        }
    }
}
