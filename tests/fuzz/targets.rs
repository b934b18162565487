//! The parsers under test, and what must be true of all that they accept.
//!
//! [`Target::Infer`] reads requests below `/v2`, [`Target::Card`] the file `model.toml`, [`Target::Manifest`]
//! `spin.toml`, and [`Target::Graph`] what is read of an ONNX file before the engine sees it. All but the first take the body
//! of an input and nothing else.

use std::num::NonZeroUsize;
use std::path::{Component, Path};
use std::sync::LazyLock;

use bytes::Bytes;
use modelfn_card::Card;
use modelfn_nn::backend::onnx::{Survey, survey};
use modelfn_nn::tensor::{DType, Signature, Tensor, TensorSpec};
use modelfn_server::functions::manifest::App;
use modelfn_server::oip::classification::{Classes, Top};
use modelfn_server::oip::rest::endpoint::Endpoint;
use modelfn_server::oip::rest::request::{self, InferRequest};

use crate::input::{self, Input};
use crate::random::Random;
use crate::{mutate, protobuf};

/// The most bytes of a graph that is changed.
const MAX_GRAPH: usize = 20_000;

/// What is fuzzed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Infer,
    Card,
    Manifest,
    Graph,
}

/// The outcome of an input.
#[derive(Debug)]
pub(crate) struct Run {
    /// Whether path and body were valid.
    pub(crate) taken: bool,
    /// What was accepted, or which error it was, without details. An input of a new kind is worth changing further.
    pub(crate) kind: String,
}

/// A model of two inputs and outputs, and one that takes raw bodies.
static SIGNATURES: LazyLock<[Signature; 2]> = LazyLock::new(|| {
    let spec = |name: &str, dtype, shape: &[i64]| TensorSpec { name: name.to_owned(), dtype, shape: shape.into() };
    let outputs =
        vec![spec("y", DType::Fp32, &[-1, 2]), spec("h", DType::Fp16, &[1]), spec("s", DType::String, &[-1, 2])];
    [
        Signature {
            inputs: vec![spec("x", DType::Fp32, &[-1, 2]), spec("n", DType::I64, &[1])],
            outputs: outputs.clone(),
        },
        Signature { inputs: vec![spec("x", DType::U8, &[-1, 4])], outputs },
    ]
});

impl Target {
    /// The target of this name.
    pub(crate) fn named(name: &str) -> Option<Target> {
        match name {
            "infer" => Some(Target::Infer),
            "card" => Some(Target::Card),
            "manifest" => Some(Target::Manifest),
            "graph" => Some(Target::Graph),
            _ => None,
        }
    }

    /// Valid inputs to start from.
    pub(crate) fn seeds(self) -> Vec<Input> {
        match self {
            Target::Infer => input::seeds(),
            Target::Card => input::card_seeds(),
            Target::Manifest => input::manifest_seeds(),
            Target::Graph => input::graph_seeds(),
        }
    }

    /// Changes one thing of `input`. Some changes take bytes of `other`.
    pub(crate) fn change(self, input: &mut Input, other: &Input, random: &mut Random) {
        match self {
            // Bytes that are changed blindly rarely leave the lengths of a graph right.
            Target::Graph if random.below(8) > 0 => {
                input.body = protobuf::change(&input.body, &other.body, random);
                input.body.truncate(MAX_GRAPH);
            }
            _ => mutate::change(input, other, random),
        }
    }

    /// Panics if something is accepted that must not be.
    pub(crate) fn run(self, input: &Input) -> Run {
        match self {
            Target::Infer => infer(input),
            Target::Card => card(&String::from_utf8_lossy(&input.body)),
            Target::Manifest => manifest(&String::from_utf8_lossy(&input.body)),
            Target::Graph => graph(&input.body),
        }
    }
}

fn graph(file: &[u8]) -> Run {
    match survey(file) {
        Ok(Survey { external, weights, without_maps }) => {
            for name in &external {
                let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
                assert!(Path::new(name).components().all(is_plain), "{name} leads out of the folder");
            }
            if let Some(without) = &without_maps {
                let again = survey(without).expect("a graph without maps is a graph");
                assert!(again.without_maps.is_none(), "no map is left that can be taken out");
                assert_eq!((&again.external, &again.weights), (&external, &weights), "weights stay as they are");
            }
            let counted = weights.groups.iter().map(|group| group.element.name).collect::<Vec<_>>().join(" ");
            let kind = format!("{} {counted} {}", external.len().min(3), without_maps.is_some());
            Run { taken: true, kind }
        }
        Err(error) => Run { taken: false, kind: said(&error) },
    }
}

fn card(text: &str) -> Run {
    match Card::parse(text) {
        Ok(card) => {
            for spec in card.inputs.iter().chain(&card.outputs) {
                assert!(
                    !spec.describe(DType::name).is_empty()
                        && spec.smallest_shape().len() == spec.reported_shape().len()
                );
            }
            let kind = format!("{} {} {}", card.inputs.len(), card.outputs.len(), card.takes_batches());
            Run { taken: true, kind }
        }
        Err(error) => Run { taken: false, kind: said(&error.to_string()) },
    }
}

fn manifest(text: &str) -> Run {
    match App::parse(text, Path::new("/")) {
        Ok(app) => {
            assert!(app.model_pages || !app.routes.is_empty(), "nothing would be served");
            for (route, _) in &app.routes {
                for path in ["/", "/a", "/a/b/", "//", "/%2f"] {
                    let rest = route.matches(path).map_or("", |found| found.rest);
                    assert!(path.ends_with(rest), "{route} leaves {rest} of {path}");
                }
            }
            Run { taken: true, kind: format!("{} {}", app.routes.len(), app.components.len()) }
        }
        Err(error) => Run { taken: false, kind: said(&format!("{error:#}")) },
    }
}

fn infer(input: &Input) -> Run {
    let path = Endpoint::parse(&input.path).is_ok();
    let body = Bytes::copy_from_slice(&input.body);
    let read =
        SIGNATURES.each_ref().map(|signature| request::parse(&body, input.json_length, signature, &mut |_| Ok(())));
    for (signature, read) in SIGNATURES.iter().zip(&read) {
        match read {
            Ok(asked) => check(asked, signature),
            Err(error) => assert!(!error.to_string().is_empty(), "an error without words"),
        }
    }
    let kind = read
        .iter()
        .map(|read| read.as_ref().map_or_else(|error| said(&error.to_string()), took))
        .collect::<Vec<_>>()
        .join("|");
    Run { taken: path && read.iter().any(Result::is_ok), kind: format!("{path} {kind}") }
}

fn took(asked: &InferRequest) -> String {
    let input = |(name, tensor): &(String, Tensor)| {
        format!("{}{}{}{}", name.len().min(1), tensor.dtype(), tensor.shape().len(), tensor.data().is_empty())
    };
    let output =
        |output: &request::RequestedOutput| format!("{}{}{}", output.name, output.binary, output.top.is_some());
    let inputs: String = asked.inputs.iter().map(input).collect();
    let outputs: String = asked.wanted.outputs.iter().map(output).collect();
    format!("{inputs} {outputs} {}{}", asked.wanted.id.is_some(), asked.timeout.is_some())
}

/// The text of an error without numbers, and without what it repeats of the request.
fn said(error: &str) -> String {
    let own = error.split('\'').step_by(2).flat_map(str::chars);
    own.filter(|letter| letter.is_ascii_lowercase() || *letter == ' ').take(60).collect()
}

fn check(asked: &InferRequest, signature: &Signature) {
    assert!(asked.inputs.len() <= signature.inputs.len(), "more inputs than the model has");
    for (name, tensor) in &asked.inputs {
        assert!(name.len() <= 256 && tensor.shape().len() <= 16, "what errors repeat is short");
        let elements = tensor.shape().iter().try_fold(1_u128, |n, &axis| n.checked_mul(axis as u128));
        let found = match tensor.dtype().size() {
            Some(size) => tensor.data().len() as u128 / size as u128,
            None => tensor.strings().count() as u128,
        };
        assert_eq!(elements, Some(found), "data fill the shape {:?}", tensor.shape());
        let length: usize = match tensor.dtype().size() {
            Some(size) => found as usize * size,
            None => tensor.strings().map(|string| 4 + string.len()).sum(),
        };
        assert_eq!(length, tensor.data().len(), "nothing is left over");
        classify(tensor);
    }
    for (position, output) in asked.wanted.outputs.iter().enumerate() {
        let spec = signature.outputs.iter().find(|spec| spec.name == output.name).expect("an output of the model");
        assert!(output.binary || output.top.is_some() || spec.dtype != DType::Fp16, "FP16 has no JSON form");
        let again = asked.wanted.outputs[position + 1..].iter().any(|other| other.name == output.name);
        assert!(!again, "an output is given once");
        if let Some(top) = output.top {
            let shape = if spec.shape.len() > 1 { vec![1, 2] } else { vec![2] };
            let tensor = Tensor::zeros(spec.dtype, shape).expect("two elements");
            check_classes(&tensor, top);
        }
    }
}

/// Ranks the classes of a parsed tensor, whose values are as odd as those of any output.
fn classify(tensor: &Tensor) {
    for (classes, batched) in [(1, false), (3, true)] {
        let classes = NonZeroUsize::new(classes).expect("a literal above zero");
        check_classes(tensor, Top { classes, batched: batched && tensor.shape().len() > 1 });
    }
}

fn check_classes(tensor: &Tensor, top: Top) {
    let Ok(classes) = Classes::of(tensor, top, |index| (index == 0).then_some("first")) else { return };
    let strings: usize = classes.values.len();
    let shaped = classes.shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
    assert_eq!(shaped, Some(strings), "strings fill the shape {:?}", classes.shape);
    assert_eq!(classes.bytes().len(), classes.values.iter().map(|value| 4 + value.len()).sum::<usize>());
}
