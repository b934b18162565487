//! What a check found, for people and for programs.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;

use anyhow::Result;
use modelfn_nn::inspect::ModelFiles;
use serde::Serialize;

use super::pictures::LabelledPicture;
use super::sign_test::p_value;
use super::trial::Outcome;
use super::variants::Variant;

/// Pictures that can't be read, of which people see so many.
const SHOWN: usize = 10;

/// The result of a check.
#[derive(Serialize)]
pub(super) struct Report {
    model: String,
    version: u32,
    /// Classes that have a picture.
    classes: usize,
    /// Pictures that could be read.
    pub(super) read: usize,
    /// Of these, those whose class is the likeliest.
    top1: usize,
    /// Of these, those whose class is among the five likeliest.
    top5: usize,
    pub(super) unreadable: Vec<Unreadable>,
    /// Pictures on which other preprocessings were tried.
    pub(super) sample: usize,
    pub(super) tried: Vec<Comparison>,
    suggestion: Option<Suggestion>,
}

/// A picture that can't be read.
#[derive(Serialize)]
pub(super) struct Unreadable {
    picture: String,
    pub(super) reason: String,
}

/// How another preprocessing does on the same pictures.
#[derive(Clone, Serialize)]
pub(super) struct Comparison {
    what: String,
    /// Pictures that it gets right.
    pub(super) right: usize,
    /// Those of them that are wrong without it.
    pub(super) better: usize,
    /// Those that are right without it alone.
    pub(super) worse: usize,
    /// The probability that a difference as large as this comes by chance in any of those that were tried.
    pub(super) p: f64,
}

/// What the card should say.
#[derive(Serialize)]
struct Suggestion {
    /// The changes, the largest first.
    changes: Vec<Comparison>,
    /// Lines of `[preprocessing]`.
    card: Vec<String>,
}

impl Report {
    pub(super) fn new(files: &ModelFiles, pictures: &[LabelledPicture], outcomes: &[Outcome]) -> Self {
        let pairs = || pictures.iter().zip(outcomes);
        let count =
            |wanted: fn(&Outcome, usize) -> bool| pairs().filter(|(of, outcome)| wanted(outcome, of.class)).count();
        let unreadable = |(of, outcome): (&LabelledPicture, &Outcome)| match outcome {
            Outcome::Unreadable(reason) => {
                Some(Unreadable { picture: of.path.display().to_string(), reason: reason.clone() })
            }
            Outcome::Ranked(_) => None,
        };
        let unreadable: Vec<_> = pairs().filter_map(unreadable).collect();
        Self {
            model: files.card.name.clone(),
            version: files.version,
            classes: pictures.iter().map(|picture| picture.class).collect::<BTreeSet<_>>().len(),
            read: pictures.len() - unreadable.len(),
            top1: count(Outcome::is_first),
            top5: count(Outcome::has),
            unreadable,
            sample: 0,
            tried: Vec::new(),
            suggestion: None,
        }
    }

    /// The part of the readable pictures whose class is the likeliest.
    pub(super) fn top1_share(&self) -> f64 {
        self.top1 as f64 / self.read as f64
    }

    /// Adds a change that is better; `card` are the lines that say all of them.
    pub(super) fn suggest(&mut self, change: Comparison, card: Vec<String>) {
        let mut changes = self.suggestion.take().map_or_else(Vec::new, |suggestion| suggestion.changes);
        changes.push(change);
        self.suggestion = Some(Suggestion { changes, card });
    }

    /// Prints it to stdout.
    ///
    /// # Errors
    ///
    /// Nobody reads it.
    pub(super) fn print(&self, as_json: bool) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if as_json {
            serde_json::to_writer_pretty(&mut out, self)?;
            writeln!(out)?;
        } else {
            write!(out, "{self}")?;
        }
        Ok(())
    }
}

impl Comparison {
    /// Compares which pictures are right with `variant` with those that are right without it. It is one of `tried`, so that
    /// chance had as many tries.
    pub(super) fn new(variant: &Variant, without: &[bool], with: &[bool], tried: usize) -> Self {
        let count = |wanted: (bool, bool)| without.iter().zip(with).filter(|(a, b)| (**a, **b) == wanted).count();
        let (better, worse) = (count((false, true)), count((true, false)));
        Self {
            what: variant.what.clone(),
            right: with.iter().filter(|right| **right).count(),
            better,
            worse,
            p: (p_value(better, worse) * tried as f64).min(1.0),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { model, version, classes, read, .. } = self;
        let part = |count: usize| format!("{:.1} %  {count} of {read}", 100.0 * count as f64 / *read as f64);
        writeln!(f, "model        {model} (version {version})")?;
        writeln!(f, "pictures     {read}, of {classes} classes")?;
        writeln!(f, "top-1        {}", part(self.top1))?;
        writeln!(f, "top-5        {}", part(self.top5))?;
        for (n, Unreadable { picture, reason }) in self.unreadable.iter().take(SHOWN).enumerate() {
            writeln!(f, "{:<12} {picture}: {reason}", if n == 0 { "unreadable" } else { "" })?;
        }
        if self.unreadable.len() > SHOWN {
            writeln!(f, "{:<12} and {} more", "", self.unreadable.len() - SHOWN)?;
        }
        if self.tried.is_empty() {
            return Ok(());
        }
        writeln!(f)?;
        let Some(Suggestion { changes, card }) = &self.suggestion else {
            return writeln!(
                f,
                "None of {} other usual preprocessings is significantly better on {} pictures (sign test).",
                self.tried.len(),
                self.sample
            );
        };
        writeln!(f, "Another preprocessing is better on {} pictures:", self.sample)?;
        for Comparison { what, right, better, worse, p } in changes {
            writeln!(f, "  {what}: {right} right; {better} only with it, {worse} only without it")?;
            writeln!(f, "    (p = {p:.1e}: sign test, times the number of those that were tried)")?;
        }
        writeln!(f, "Its card says in [preprocessing]:")?;
        card.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
