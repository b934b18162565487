use super::*;
use crate::backend::onnx::outlets;

#[path = "../../../../../../tests/random.rs"]
mod random;

use random::Random;

const STRINGS: &[u8] = include_bytes!("../../../../../../tests/fixtures/tensors/zipmap-strings/model.onnx");
const INTS: &[u8] = include_bytes!("../../../../../../tests/fixtures/tensors/zipmap-ints/model.onnx");
const SCIKIT_LEARN: &[u8] = include_bytes!("../../../../../../tests/fixtures/tensors/skl-zipmap/model.onnx");
const WITHOUT: &[u8] = include_bytes!("../../../../../../tests/fixtures/tensors/skl-labels/model.onnx");

/// The operators of the main graph's nodes.
fn operators(file: &[u8]) -> Vec<String> {
    let mut operators = Vec::new();
    walk::model(file, &mut |found| {
        let Found::Node(node) = found else { return Ok(()) };
        for field in Fields::new(node) {
            if let (4, Value::Bytes(operator)) = field? {
                operators.push(String::from_utf8_lossy(operator).into_owned());
            }
        }
        Ok(())
    })
    .unwrap();
    operators
}

/// The fields of this number of the model's file.
fn fields(file: &[u8], wanted: u64) -> usize {
    Fields::new(file).filter(|field| field.as_ref().is_ok_and(|(number, _)| *number == wanted)).count()
}

#[test]
fn an_identity_takes_the_place_of_the_map_and_the_keys_become_names() {
    for (file, output, names) in [
        (STRINGS, "probabilities", &["no", "yes"][..]),
        (INTS, "probabilities", &["-1", "7"]),
        (SCIKIT_LEARN, "output_probability", &["setosa", "versicolor", "virginica"]),
    ] {
        let WithoutZipMaps { file: rewritten, classes } = remove(file).unwrap().unwrap();
        let names = names.iter().map(ToString::to_string).collect();
        assert_eq!(classes, [ClassNames { output: output.to_owned(), names }]);
        let expected: Vec<_> = operators(file).iter().map(|name| name.replace("ZipMap", "Identity")).collect();
        assert_eq!(operators(&rewritten), expected);
        assert!(remove(&rewritten).unwrap().is_none(), "there is none left");
        assert!(outlets::of_any_shape(&rewritten).unwrap().is_empty(), "the output has a shape");
    }
    assert!(remove(WITHOUT).unwrap().is_none());
}

/// A graph of machine-learning operators alone does not know the Identity.
#[test]
fn the_operators_of_onnx_are_imported_where_they_are_not() {
    for (file, more) in [(STRINGS, 1), (SCIKIT_LEARN, 0)] {
        let rewritten = remove(file).unwrap().unwrap().file;
        assert_eq!(fields(&rewritten, 8), fields(file, 8) + more);
    }
}

#[test]
fn a_map_that_the_graph_reads_itself_stays() {
    let mut node = Vec::new();
    put(&mut node, 1, Value::Bytes(b"probabilities"));
    put(&mut node, 4, Value::Bytes(b"ReadsMaps"));
    let mut graph = Vec::new();
    put(&mut graph, 1, Value::Bytes(&node));
    let mut file = STRINGS.to_vec();
    put(&mut file, 7, Value::Bytes(&graph));
    assert!(remove(&file).unwrap().is_none());
}

#[test]
fn more_names_than_fit_a_message_are_left_out() {
    let map =
        |count: usize| ZipMap { name: b"", input: b"i", output: b"o", keys: vec!["twelve bytes".to_owned(); count] };
    let most = MAX_CLASS_NAMES / 20;
    assert_eq!(class_names(&[map(most)])[0].names.len(), most);
    assert_eq!(class_names(&[map(most + 1)]), []);
}

/// Whatever the bytes are, what comes out is a file that can be read, or an error.
#[test]
fn files_that_are_changed_anywhere_are_rewritten_or_refused() {
    let mut random = Random::new(14);
    let mut rewritten = 0;
    for round in 0..20_000 {
        let mut file = [STRINGS, INTS, SCIKIT_LEARN][round % 3].to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(file.len());
            match random.below(3) {
                0 => file.truncate(at.max(1)),
                1 => drop(file.splice(at..at, [random.next_u32() as u8])),
                _ => file[at] = random.next_u32() as u8,
            }
        }
        let _ = outlets::of_any_shape(&file);
        if let Ok(Some(WithoutZipMaps { file: without, .. })) = remove(&file) {
            assert!(walk::model(&without, &mut |_| Ok(())).is_ok() || walk::model(&file, &mut |_| Ok(())).is_err());
            assert!(without.len() <= file.len() + 64, "no more than a shape is added");
            rewritten += 1;
        }
    }
    assert!(rewritten > 1000, "only {rewritten}");
}
