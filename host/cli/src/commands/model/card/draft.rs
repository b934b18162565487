//! The text of a card, made from a graph.

use modelfn_card::{Signature, TensorSpec};
use modelfn_nn::tensor::AxisNames;

use super::picture::{PictureInput, PictureTask, quoted};

/// What the card calls the model and its file.
pub(super) struct Naming {
    /// `None` where the folder's will do.
    pub(super) name: Option<String>,
    /// The path of the graph within the model's folder.
    pub(super) file: String,
    /// The digest of the graph.
    pub(super) sha256: String,
}

/// All that goes into a card.
pub(super) struct Draft<'a> {
    pub(super) naming: Naming,
    pub(super) signature: &'a Signature,
    pub(super) axis_names: &'a AxisNames,
    /// A sentence for each output that is not served.
    pub(super) omitted: &'a [String],
    pub(super) task: Option<PictureTask>,
}

impl Draft<'_> {
    /// The card, with a comment for each key, and with what can't be known commented out.
    pub(super) fn text(&self) -> String {
        let mut sections = vec![self.head(), self.graph()];
        let names = |n: usize| self.axis_names.0.get(n).map_or(&[][..], Vec::as_slice);
        sections.push(self.tensors_head());
        sections.extend(self.signature.inputs.iter().enumerate().map(|(n, spec)| tensor("inputs", spec, names(n))));
        sections.extend(self.signature.outputs.iter().map(|spec| tensor("outputs", spec, &[])));
        sections.push(self.serving());
        match &self.task {
            Some(task) => sections.extend(task.sections()),
            None if self.takes_pictures() => sections.push(vec![
                "# The input looks like a picture. `modelfn model card --task image-classification` adds how pictures become".to_owned(),
                "# the input and scores become classes: [preprocessing] and [postprocessing].".to_owned(),
            ]),
            None => {}
        }
        let sections: Vec<String> = sections.into_iter().map(|lines| lines.join("\n")).collect();
        sections.join("\n\n") + "\n"
    }

    fn head(&self) -> Vec<String> {
        let name = match &self.naming.name {
            Some(name) => format!("name = {}", quoted(name)),
            None => "# name = \"...\"  # always the name of the folder, or of the file without `.onnx`".to_owned(),
        };
        vec![
            "# The card of a model: what the server loads, and what functions must know of it.".to_owned(),
            "# Written from the graph by `modelfn model card`; `modelfn model inspect` checks it.".to_owned(),
            "# What is commented out is an example, or what holds without it.".to_owned(),
            name,
            "# description = \"cats and dogs from a 224 x 224 picture\"  # one line for people".to_owned(),
            "# license = \"Apache-2.0\"  # of the weights, as SPDX has it".to_owned(),
            "# source = \"https://example.org/weights\"  # where the weights come from".to_owned(),
        ]
    }

    fn graph(&self) -> Vec<String> {
        let Naming { file, sha256, .. } = &self.naming;
        vec![
            "[graph]".to_owned(),
            format!("file = {}  # a path within this folder", quoted(file)),
            "engine = \"onnx\"".to_owned(),
            "# With its digest, a file that is damaged or exchanged is refused.".to_owned(),
            format!("# sha256 = \"{sha256}\""),
            "# target = \"cpu\"  # the device".to_owned(),
            "# isolation = \"process\"  # the engine runs in a process of its own; \"thread\": in the server"
                .to_owned(),
        ]
    }

    fn tensors_head(&self) -> Vec<String> {
        let omitted = self.omitted.iter().map(|sentence| format!("# Not served: {}", one_line(sentence)));
        let head =
            "# What the graph takes and returns, in its order. -1 is an axis of any size; a number instead fixes it.";
        [head.to_owned()].into_iter().chain(omitted).collect()
    }

    fn serving(&self) -> Vec<String> {
        let batching = if self.signature.is_batched() {
            "# Requests may be computed together, up to max_batch_size rows, where that is found to be quicker."
        } else {
            "# Requests can't be computed together: that needs an open first axis of each input and output."
        };
        let mut lines = vec![
            "# How the server runs it.".to_owned(),
            "[serving]".to_owned(),
            "# instances = 2  # computations at the same time, which share the weights; by default one a core, at most 4"
                .to_owned(),
            "# threads = 1  # threads of one computation".to_owned(),
            "# queue_size = 256  # computations that may wait; further ones are refused".to_owned(),
            batching.to_owned(),
            "# dynamic_batching = false".to_owned(),
            "# max_batch_size = 8".to_owned(),
            "# max_queue_delay_ms = 0  # how long a computation may wait for others".to_owned(),
        ];
        lines.extend(self.warm_up());
        lines
    }

    /// The shapes of the first computation, where the graph leaves more open than the number of rows.
    fn warm_up(&self) -> Option<String> {
        let inputs = &self.signature.inputs;
        let is_open = |spec: &TensorSpec| spec.shape.iter().skip(1).any(|&axis| axis < 0);
        let size = |(n, &axis): (usize, &i64)| match axis {
            axis if axis >= 0 => axis,
            _ if n == 0 => 1,
            _ => 16,
        };
        let shape = |spec: &TensorSpec| -> Vec<i64> {
            let picture = PictureInput::of(spec).map(|picture| picture.shape());
            picture.unwrap_or_else(|| spec.shape.iter().enumerate().map(size).collect())
        };
        let shapes: Vec<_> = inputs.iter().map(|spec| format!("{} = {:?}", quoted(&spec.name), shape(spec))).collect();
        let comment = "# the first computation, before the model is ready";
        inputs.iter().any(is_open).then(|| format!("# warmup = {{ {} }}  {comment}", shapes.join(", ")))
    }

    fn takes_pictures(&self) -> bool {
        matches!(&self.signature.inputs[..], [input] if PictureInput::of(input).is_some())
    }
}

fn tensor(table: &str, spec: &TensorSpec, axis_names: &[String]) -> Vec<String> {
    let TensorSpec { name, dtype, shape } = spec;
    let shape = if shape.is_any() {
        "# shape = [-1]  # the graph takes any number of axes".to_owned()
    } else {
        format!("shape = {shape:?}{}", axes(axis_names))
    };
    vec![format!("[[{table}]]"), format!("name = {}", quoted(name)), format!("dtype = \"{dtype}\""), shape]
}

/// The names of the axes as a comment: names come from the graph, so that nothing of them may end the line.
fn axes(names: &[String]) -> String {
    if names.iter().all(String::is_empty) {
        return String::new();
    }
    let names: Vec<String> =
        names.iter().map(|name| if name.is_empty() { "-".to_owned() } else { one_line(name) }).collect();
    format!("  # {}", names.join(", "))
}

/// A text of a graph within a comment.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests;
