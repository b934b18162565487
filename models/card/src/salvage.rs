//! Reads what is right in a wrong card, so that a tool can say all that is wrong at once.
//!
//! A parser stops at the first mistake. Here that mistake is noted, the key that makes it is left out, and the rest is
//! parsed again. Which key it is, is found by trying: without it the parser says something else.

use std::fmt;

use toml::{Table, Value};

use crate::{Card, CardError};

/// The most keys of a card whose mistakes are looked for one by one: each mistake may parse the card once for each key.
const MAX_KEYS: usize = 200;

/// The longest card, in bytes, whose mistakes are looked for one by one.
const MAX_TEXT: usize = 64 << 10;

/// What is right in the text of a card, and what is not.
#[derive(Clone, Debug)]
pub struct Salvaged {
    /// The card of the keys that are right.
    pub card: Card,
    /// What is wrong: a sentence each, which names the key. Empty where [`Card::parse`] takes the text.
    pub problems: Vec<String>,
}

impl Card {
    /// Reads the text of a card, and leaves out the keys that are wrong.
    pub fn salvage(text: &str) -> Salvaged {
        let first = match Card::parse(text) {
            Ok(card) => return Salvaged { card, problems: Vec::new() },
            Err(error) => error,
        };
        let only_first = || Salvaged { card: Card::default(), problems: vec![first.to_string().trim_end().to_owned()] };
        let Ok(mut table) = text.parse::<Table>() else { return only_first() };
        if text.len() > MAX_TEXT || Place::all(&table).len() > MAX_KEYS {
            return only_first();
        }
        let (mut problems, mut gone) = (Vec::new(), Vec::new());
        loop {
            let message = match parse(&table) {
                Ok(card) => return Salvaged { card, problems },
                Err(message) => message,
            };
            let Some(Mistake { key, left_out }) = mistake(&table, &message) else {
                problems.push(message);
                return Salvaged { card: Card::default(), problems };
            };
            problems.push(format!("{}: {message}", key.as_written(&gone)));
            left_out.remove_from(&mut table);
            gone.push(left_out.as_written(&gone));
            gone.sort();
        }
    }
}

/// The card of a table, or what its parser says.
fn parse(table: &Table) -> Result<Card, String> {
    Card::of_table(table.clone()).map_err(|error| match error {
        CardError::Syntax(reason) | CardError::Table { reason, .. } => reason.message().trim_end().to_owned(),
        other => other.to_string(),
    })
}

/// A mistake of a card.
struct Mistake {
    /// The key that is wrong.
    key: Place,
    /// What has to be left out: the key, or its table where that may not lack it.
    left_out: Place,
}

/// Finds the smallest part of `table` without which the parser does not say `message`.
fn mistake(table: &Table, message: &str) -> Option<Mistake> {
    let without = |place: &Place| {
        let mut rest = table.clone();
        place.remove_from(&mut rest);
        parse(&rest).map(|_| rest)
    };
    // What lacks a key is a table, whichever of its other keys is left out.
    let lacks_a_key = message.starts_with("missing field");
    let places = Place::all(table).into_iter().filter(|place| !lacks_a_key || place.is_table(table));
    places.into_iter().find_map(|key| {
        let left_out = match without(&key) {
            Ok(rest) => (!key.is_switch_of(rest)).then(|| key.clone()),
            Err(same) if same == message => None,
            Err(other) if key.is_missing_by(&other) => {
                let holder = Place { inner: None, ..key.clone() };
                without(&holder).err().is_none_or(|other| other != message).then_some(holder)
            }
            Err(_) => Some(key.clone()),
        };
        left_out.map(|left_out| Mistake { key, left_out })
    })
}

/// A key of a card, or one of the tables in an array.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    key: String,
    /// The place in the array `key`.
    element: Option<usize>,
    /// The key in the table `key`.
    inner: Option<String>,
}

impl Place {
    /// All places of a card, the innermost first.
    fn all(table: &Table) -> Vec<Place> {
        let place =
            |key: &str, element, inner: Option<&String>| Place { key: key.to_owned(), element, inner: inner.cloned() };
        let (mut inner, mut outer) = (Vec::new(), Vec::new());
        for (key, value) in table {
            match value {
                Value::Table(table) => inner.extend(table.keys().map(|name| place(key, None, Some(name)))),
                Value::Array(elements) => {
                    for (n, element) in elements.iter().enumerate().filter(|(_, element)| element.is_table()) {
                        let names = element.as_table().into_iter().flat_map(Table::keys);
                        inner.extend(names.map(|name| place(key, Some(n), Some(name))));
                        outer.push(place(key, Some(n), None));
                    }
                }
                _ => {}
            }
            outer.push(place(key, None, None));
        }
        inner.extend(outer);
        inner
    }

    /// The place in the text, from which the places `gone` were left out since; they are sorted.
    fn as_written(&self, gone: &[Place]) -> Place {
        let before = gone.iter().filter(|place| place.key == self.key && place.inner.is_none());
        let written = |n| before.filter_map(|place| place.element).fold(n, |n, gone| if gone <= n { n + 1 } else { n });
        Place { element: self.element.map(written), ..self.clone() }
    }

    /// Whether nobody looks at the table of this key any more, now that it is gone: some keys tell whose a table is.
    fn is_switch_of(&self, mut rest: Table) -> bool {
        if self.inner.is_none() || self.element.is_some() {
            return false;
        }
        let table = rest.get_mut(&self.key).and_then(Value::as_table_mut);
        table.map(|table| table.insert("(a key that no table has)".to_owned(), Value::Boolean(true)));
        parse(&rest).is_ok()
    }

    fn is_missing_by(&self, message: &str) -> bool {
        self.inner.as_ref().is_some_and(|key| message == format!("missing field `{key}`"))
    }

    fn is_table(&self, table: &Table) -> bool {
        let value = table.get(&self.key);
        let element = self.element.and_then(|n| value?.get(n));
        self.inner.is_none() && element.or(value).is_some_and(Value::is_table)
    }

    fn remove_from(&self, table: &mut Table) {
        let Place { key, element, inner } = self;
        let holder = match (table.get_mut(key), element) {
            (Some(Value::Array(elements)), Some(n)) if inner.is_none() => {
                elements.remove(*n);
                return;
            }
            (Some(Value::Array(elements)), Some(n)) => elements.get_mut(*n),
            (value, _) => value,
        };
        match (holder.and_then(Value::as_table_mut), inner) {
            (Some(holder), Some(name)) => drop(holder.remove(name)),
            _ => drop(table.remove(key)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(n) = self.element {
            write!(f, "[{n}]")?;
        }
        self.inner.as_ref().map_or(Ok(()), |inner| write!(f, ".{inner}"))
    }
}

#[cfg(test)]
mod tests;
