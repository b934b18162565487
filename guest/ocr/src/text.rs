//! From the likeliest class at each place of a line to its text: the greedy decoding of connectionist temporal
//! classification (Graves et al., ICML 2006).

use modelfn_guest::card::Labels;

/// The class that stands for no character, and separates equal ones.
const BLANK: i64 = 0;

/// What a line says.
#[derive(Debug, PartialEq)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// The average probability of its characters; 0 where there are none.
    pub(crate) score: f32,
}

/// The text of a line, of the class at each place and how probable it is; `None` where these are not as many. Neighbours
/// of the same class are one character.
pub(crate) fn decode(classes: &[i64], probabilities: &[f32], characters: &Labels) -> Option<Text> {
    if classes.len() != probabilities.len() {
        return None;
    }
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
    Some(Text { text, score: if count == 0 { 0.0 } else { (sum / f64::from(count)) as f32 } })
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
