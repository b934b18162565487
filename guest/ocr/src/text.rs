//! From the likeliest class at each place of a line to its text: the greedy decoding of connectionist temporal
//! classification (Graves et al., ICML 2006).

use modelfn_card::{DType, Labels};
use modelfn_guest::{Problem, Tensor};

use crate::models::RECOGNITION;

/// The class that stands for no character, and separates equal ones.
const BLANK: i64 = 0;

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// The average probability of its characters; 0 where there are none.
    pub(crate) score: f32,
}

/// The texts of `lines` lines, of the outputs `classes` and `probabilities`, each of shape [lines, places].
///
/// # Errors
///
/// 502 for outputs of another kind.
pub(crate) fn decode(outputs: &[(String, Tensor)], lines: usize, characters: &Labels) -> Result<Vec<Text>, Problem> {
    let nonsense = || Problem::bad_gateway(format!("model '{RECOGNITION}' did not compute a class for each place"));
    let [(_, classes), (_, probabilities)] = outputs else { return Err(nonsense()) };
    let probabilities = probabilities.floats().ok_or_else(nonsense)?;
    let classes = integers(classes).filter(|classes| classes.len() == probabilities.len()).ok_or_else(nonsense)?;
    let places = classes.len() / lines.max(1);
    if places * lines != classes.len() || places == 0 {
        return Err(nonsense());
    }
    let lines = classes.chunks_exact(places).zip(probabilities.chunks_exact(places));
    Ok(lines.map(|(classes, probabilities)| line(classes, probabilities, characters)).collect())
}

fn integers(tensor: &Tensor) -> Option<Vec<i64>> {
    let is_i64 = tensor.dtype == DType::I64;
    is_i64.then(|| tensor.data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect())
}

/// The text of a line. Neighbours of the same class are one character.
fn line(classes: &[i64], probabilities: &[f32], characters: &Labels) -> Text {
    let mut text = String::new();
    let (mut sum, mut count) = (0.0, 0u32);
    let mut before = BLANK;
    for (&class, &probability) in classes.iter().zip(probabilities) {
        if class != BLANK && class != before {
            text.push_str(character(class, characters));
            sum += f64::from(probability);
            count += 1;
        }
        before = class;
    }
    Text { text, score: if count == 0 { 0.0 } else { (sum / f64::from(count)) as f32 } }
}

/// The character of a class. The class behind the last of the list is the space.
fn character(class: i64, characters: &Labels) -> &str {
    match class.checked_sub(1).and_then(|n| usize::try_from(n).ok()) {
        Some(n) if n == characters.len() => " ",
        Some(n) => characters.name(n),
        None => "",
    }
}

#[cfg(test)]
mod tests;
