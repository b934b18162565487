use super::super::walk::MAX_DEPTH;
use super::*;

/// A field that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![];
    for mut n in [usize::from(number) << 3 | 2, bytes.len()] {
        while n >= 0x80 {
            field.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        field.push(n as u8);
    }
    [&field, bytes].concat()
}

/// A tensor of a type and shape, with further fields.
fn tensor_of(code: u8, dims: &[u8], rest: &[u8]) -> Vec<u8> {
    [field(1, dims), vec![0x10, code], rest.to_vec()].concat()
}

/// A model whose only graph has these fields.
fn model_of(graph: &[u8]) -> Vec<u8> {
    field(7, graph)
}

fn initializer(code: u8, dims: &[u8], rest: &[u8]) -> Weights {
    count(&model_of(&field(5, &tensor_of(code, dims, rest)))).unwrap()
}

/// (type, elements, bytes, zeros)
fn summary(weights: &Weights) -> Vec<(&'static str, u64, u64, u64)> {
    weights.groups.iter().map(|g| (g.element.name, g.elements, g.bytes, g.zeros)).collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn elements_bytes_and_zeros_are_counted_wherever_the_data_lies() {
    let four = floats(&[1.0, 0.0, -0.0, 1e-40]);
    for (code, dims, data, expected) in [
        (1, &[2, 2][..], field(9, &four), ("FP32", 4, 16, 2)),
        (1, &[4], field(4, &four), ("FP32", 4, 16, 2)),
        (1, &[], field(9, &floats(&[0.0])), ("FP32", 1, 4, 1)),
        (1, &[0], field(9, &[]), ("FP32", 0, 0, 0)),
        (10, &[2], field(9, &[0, 0x80, 0, 0x3c]), ("FP16", 2, 4, 1)),
        (10, &[2], field(5, &[0x80, 0x80, 2, 0x80, 0x78]), ("FP16", 2, 4, 1)),
        (11, &[2], field(10, &[0; 16]), ("FP64", 2, 16, 2)),
        (3, &[3], field(9, &[0, 0x80, 1]), ("INT8", 3, 3, 1)),
        (3, &[3], field(5, &[0, 5, 0]), ("INT8", 3, 3, 2)),
        (7, &[2], field(7, &[0, 1]), ("INT64", 2, 16, 1)),
        (22, &[3], field(9, &[0x10, 0x00]), ("INT4", 3, 2, 2)),
        (23, &[3], field(9, &[0x81, 0x08]), ("FP4", 3, 2, 2)),
        (8, &[2], field(6, b"ab"), ("STRING", 2, 0, 0)),
    ] {
        assert_eq!(summary(&initializer(code, dims, &data)), [expected], "type {code}");
    }
}

#[test]
fn a_thousand_float32_parameters_are_4000_bytes() {
    let dims = [0xe8, 0x07];
    let weights = initializer(1, &dims, &field(9, &[1; 4000]));
    assert_eq!(summary(&weights), [("FP32", 1000, 4000, 0)]);
}

#[test]
fn constants_and_subgraphs_count_and_other_attributes_do_not() {
    let tensor = tensor_of(1, &[1], &field(9, &floats(&[1.0])));
    let node = |kind: &str, attribute: &[u8]| field(1, &[field(4, kind.as_bytes()), field(5, attribute)].concat());
    let value = field(5, &tensor);
    let subgraph = |depth: usize| (0..depth).fold(field(5, &tensor), |graph, _| node("If", &field(6, &graph)));
    let elements = |graph: &[u8]| count(&model_of(graph)).map(|weights| weights.elements());
    assert_eq!(elements(&node("Constant", &value)), Ok(1));
    assert_eq!(elements(&node("ConstantOfShape", &value)), Ok(0));
    assert_eq!(elements(&[subgraph(1), node("Constant", &value)].concat()), Ok(2));
    assert_eq!(elements(&subgraph(MAX_DEPTH - 1)), Ok(1));
    assert!(elements(&subgraph(MAX_DEPTH)).unwrap_err().contains("more than 32 deep"));
    let function = field(7, &[field(4, b"Constant"), field(5, &value)].concat());
    // Field 25 has a tag of two bytes.
    let functions = [vec![0xca, 0x01], vec![function.len() as u8], function].concat();
    assert_eq!(count(&[model_of(&[]), functions].concat()).unwrap().elements(), 1);
}

#[test]
fn sparse_tensors_count_as_the_dense_ones_that_they_become() {
    let values = tensor_of(1, &[2], &field(9, &floats(&[1.0, 2.0])));
    let sparse = [field(1, &values), field(3, &[10, 10])].concat();
    assert_eq!(summary(&count(&model_of(&field(15, &sparse))).unwrap()), [("FP32", 100, 400, 98)]);
}

#[test]
fn data_in_other_files_is_counted_and_said() {
    let weights = initializer(1, &[8], &[0x70, 1]);
    assert_eq!((summary(&weights), weights.external_tensors), (vec![("FP32", 8, 32, 0)], 1));
}

#[test]
fn what_is_no_model_is_an_error() {
    let huge = field(1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 4]);
    let negative = field(1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    let of = |tensor: Vec<u8>| model_of(&field(5, &tensor));
    for (file, says) in [
        (b"".to_vec(), "it has no graph"),
        (b"text".to_vec(), "not an ONNX file"),
        (of(tensor_of(99, &[1], &[])), "unknown type"),
        (of(tensor_of(1, &[2], &field(9, &[0; 7]))), "does not fit its shape"),
        (of([huge, vec![0x10, 1]].concat()), "larger than can be addressed"),
        (of([negative, vec![0x10, 1]].concat()), "below zero"),
        (model_of(&field(15, &[])), "without values"),
    ] {
        let said = count(&file).unwrap_err();
        assert!(said.contains(says), "{says} is not in: {said}");
    }
}
