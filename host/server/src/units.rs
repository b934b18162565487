//! Sizes and times as people write them, on the command line and in manifests.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A number of bytes, written `16MiB`, `64kB` or `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(usize);

impl ByteSize {
    /// As a number.
    pub fn bytes(self) -> usize {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => write!(f, "{}MiB", bytes >> 20),
            bytes => write!(f, "{bytes}"),
        }
    }
}

impl FromStr for ByteSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed: bytesize::ByteSize =
            text.parse().map_err(|_| anyhow::anyhow!("\"{text}\" is not a size; write 16MiB, 64kB or 4096"))?;
        Ok(ByteSize(usize::try_from(parsed.as_u64()).context("the size does not fit this machine")?))
    }
}

/// A duration, written `30s`, `250ms` or `1m 30s`.
///
/// # Errors
///
/// It's none, or zero.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let time = humantime::parse_duration(text)
        .map_err(|_| anyhow::anyhow!("\"{text}\" is not a time; write 30s, 250ms or 1m"))?;
    ensure!(!time.is_zero(), "a time must be above zero");
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_with_their_units() {
        assert_eq!("16MiB".parse::<ByteSize>().unwrap().bytes(), 16 << 20);
        assert_eq!("64kB".parse::<ByteSize>().unwrap().bytes(), 64_000);
        assert_eq!("4096".parse::<ByteSize>().unwrap().bytes(), 4096);
        for text in ["16MiB", "4096", "0"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert!("lots".parse::<ByteSize>().unwrap_err().to_string().contains("write 16MiB"));
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert!(parse_duration("0s").unwrap_err().to_string().contains("above zero"));
        assert!(parse_duration("soon").unwrap_err().to_string().contains("write 30s"));
    }
}
