//! What BERT's models do to text before it is cut into pieces: control characters go, every kind of space becomes one,
//! ideographs stand alone, and where the model knows only lower case, accents and capitals go, too.

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;

/// The normalized characters of a text.
pub(crate) fn characters(text: &str, lowercase: bool) -> Box<dyn Iterator<Item = char> + '_> {
    if text.is_ascii() {
        // The same for the characters that most texts consist of, without tables.
        let cleaned = text.bytes().filter(|&byte| !byte.is_ascii_control() || is_ascii_space(byte));
        let spaced = cleaned.map(|byte| if is_ascii_space(byte) { b' ' } else { byte });
        return Box::new(spaced.map(move |byte| char::from(if lowercase { byte.to_ascii_lowercase() } else { byte })));
    }
    let cleaned = text.chars().filter(|&character| !is_removed(character));
    let spaced = cleaned.map(|character| if character.is_whitespace() { ' ' } else { character });
    let apart = spaced.flat_map(|character| {
        let space = is_ideograph(character).then_some(' ');
        space.into_iter().chain([character]).chain(space)
    });
    if !lowercase {
        return Box::new(apart);
    }
    let decomposed = apart.nfd().map(|(character, _)| character);
    Box::new(decomposed.filter(|character| !character.is_mark_nonspacing()).flat_map(char::to_lowercase))
}

/// Whether a character is a word of its own, as each sign of punctuation is.
pub(crate) fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation() || (!character.is_ascii() && character.is_punctuation())
}

/// The four that the general category calls controls, and texts use as space.
fn is_ascii_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | b' ')
}

fn is_removed(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => false,
        '\0' | char::REPLACEMENT_CHARACTER => true,
        other => other.is_other(),
    }
}

/// The blocks of CJK ideographs, as BERT has them: Hiragana, Katakana and Hangul are words like those of other scripts.
fn is_ideograph(character: char) -> bool {
    matches!(
        u32::from(character),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(text: &str, lowercase: bool) -> String {
        characters(text, lowercase).collect()
    }

    #[test]
    fn controls_go_and_spaces_are_spaces() {
        assert_eq!(normalized("a\tb\nc\r\nd\u{0}\u{7F}\u{1F}\u{B}e", true), "a b c  de");
        assert_eq!(normalized("a\u{A0}b\u{200B}c\u{FEFF}d\u{FFFD}e\u{85}f\u{2003}g", true), "a bcdef g");
    }

    #[test]
    fn accents_and_capitals_go_only_where_the_model_has_none() {
        assert_eq!(normalized("Crème Brûlée, İstanbul Ünïcödé ẞ", true), "creme brulee, istanbul unicode ß");
        assert_eq!(normalized("Crème BRÛLÉE", false), "Crème BRÛLÉE");
        assert_eq!(normalized("ABC", false), "ABC");
        assert_eq!(normalized("e\u{301}", true), "e");
    }

    #[test]
    fn ideographs_stand_alone() {
        assert_eq!(normalized("大阪へ行く", true), " 大  阪 へ 行 く");
        assert_eq!(normalized("ab大", false), "ab 大 ");
    }

    /// The way for ASCII does what the general way does, which one character beyond ASCII leads to.
    #[test]
    fn both_ways_agree_on_each_ascii_character() {
        for byte in 0..128u8 {
            for lowercase in [true, false] {
                let text = format!("x{}y", char::from(byte));
                let general = normalized(&format!("{text}ß"), lowercase);
                assert_eq!(format!("{}ß", normalized(&text, lowercase)), general, "{byte}");
            }
        }
    }

    #[test]
    fn punctuation() {
        for character in "!$+<=>^`|~-—。、«»¿·".chars() {
            assert!(is_punctuation(character), "{character}");
        }
        for character in "aé1 €×½大\u{301}".chars() {
            assert!(!is_punctuation(character), "{character}");
        }
    }
}
