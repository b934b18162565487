//! The text of a card, made from a graph.

use modelfn_card::{Signature, TensorSpec};
use modelfn_nn::tensor::AxisNames;

use super::picture::{PictureInput, PictureTask};

/// What the card calls the model and its file.
pub(super) struct Naming {
    pub(super) name: String,
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
    pub(super) task: Option<PictureTask>,
}

impl Draft<'_> {
    /// The card, with a comment for each key, and with what can't be known commented out.
    pub(super) fn text(&self) -> String {
        let mut sections = vec![self.head(), self.graph()];
        let names = |n: usize| self.axis_names.0.get(n).map_or(&[][..], Vec::as_slice);
        sections.push(self.inputs_head());
        sections.extend(self.signature.inputs.iter().enumerate().map(|(n, spec)| tensor("inputs", spec, names(n))));
        sections.extend(self.signature.outputs.iter().map(|spec| tensor("outputs", spec, &[])));
        sections.push(self.serving());
        match &self.task {
            Some(task) => sections.extend([task.preprocessing(), task.postprocessing()]),
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
        vec![
            "# The card of a model: what the server loads, and what functions must know of it.".to_owned(),
            "# Written from the graph by `modelfn model card`; `modelfn model inspect` checks it.".to_owned(),
            "# What is commented out has the value that is shown, or is an example.".to_owned(),
            format!("name = {}  # by which clients and functions ask for it", quoted(&self.naming.name)),
            "description = \"\"  # one line for people, such as \"cats and dogs from a 224 x 224 picture\"".to_owned(),
            "license = \"\"  # of the weights, as SPDX has it, such as \"Apache-2.0\"".to_owned(),
            "source = \"\"  # where the weights come from, an address".to_owned(),
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

    fn inputs_head(&self) -> Vec<String> {
        vec![
            "# What the graph takes and returns, in its order. They are compared with it. -1 is an axis of any size."
                .to_owned(),
        ]
    }

    fn serving(&self) -> Vec<String> {
        let batching = if self.signature.is_batched() {
            "# Requests may be computed together, up to max_batch_size rows, where that is found to be quicker."
        } else {
            "# Requests can't be computed together: that needs an open first axis of each input and output."
        };
        vec![
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
        ]
    }

    fn takes_pictures(&self) -> bool {
        matches!(&self.signature.inputs[..], [input] if PictureInput::of(input).is_some())
    }
}

fn tensor(table: &str, spec: &TensorSpec, axis_names: &[String]) -> Vec<String> {
    let TensorSpec { name, dtype, shape } = spec;
    vec![
        format!("[[{table}]]"),
        format!("name = {}", quoted(name)),
        format!("dtype = \"{dtype}\""),
        format!("shape = {shape:?}{}", axes(axis_names)),
    ]
}

/// The names of the axes as a comment: names come from the graph, so that nothing of them may end the line.
fn axes(names: &[String]) -> String {
    if names.iter().all(String::is_empty) {
        return String::new();
    }
    let names: Vec<String> = names
        .iter()
        .map(|name| if name.is_empty() { "-".to_owned() } else { name.replace(char::is_control, " ") })
        .collect();
    format!("  # {}", names.join(", "))
}

/// A TOML string of one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests;
