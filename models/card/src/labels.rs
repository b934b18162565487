//! The label file: line n is the name of class n, counted from 0.

/// The label file as it was read. A response names a few classes of a thousand, so no line is copied.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    text: String,
    /// Where each line ends, without its line feed.
    ends: Vec<usize>,
}

impl Labels {
    /// Takes the text of a label file: one label a line. The last line may lack its line feed.
    pub fn new(text: String) -> Self {
        let mut ends: Vec<usize> = memchr::memchr_iter(b'\n', text.as_bytes()).collect();
        if !text.is_empty() && !text.ends_with('\n') {
            ends.push(text.len());
        }
        Self { text, ends }
    }

    /// The file's text, as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no class at all.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The name of class `index`, counted from 0; empty for an index that is out of range.
    pub fn name(&self, index: usize) -> &str {
        let Some(&end) = self.ends.get(index) else {
            return "";
        };
        let start = index.checked_sub(1).map_or(0, |previous| self.ends[previous] + 1);
        self.text[start..end].trim_end_matches('\r')
    }

    /// The names of all classes, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.name(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_at_unix_and_windows_ends() {
        let labels = Labels::new("a\nb\r\nc\n".to_owned());
        assert_eq!((labels.len(), labels.name(1), labels.name(2), labels.name(3)), (3, "b", "c", ""));
    }

    #[test]
    fn the_last_label_may_lack_its_line_feed() {
        let names = |text: &str| Labels::new(text.to_owned()).iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(names(""), [""; 0]);
        assert_eq!(names("a\nb"), ["a", "b"]);
        assert_eq!(names("\na\n\n"), ["", "a", ""]);
    }
}
