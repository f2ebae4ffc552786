//! Names of one kind.

use alloc::collections::BTreeMap;
use alloc::format;
use core::cell::Cell;

use crate::diagnostic::Problems;
use crate::names::{is_reserved, unknown_help};
use crate::tree::{Span, Word};

/// What a name stands for.
struct Entry<T> {
    /// Where it was given; nowhere if it comes from outside the file.
    span: Option<Span>,
    /// Nothing, if something was wrong with it, which was said.
    value: Option<T>,
    used: Cell<bool>,
}

/// All names of one kind, as far as the file was read.
pub(super) struct Scope<'a, T> {
    kind: &'static str,
    entries: BTreeMap<&'a str, Entry<T>>,
    /// Those of the whole file.
    all: BTreeMap<&'a str, Span>,
}

impl<'a, T> Scope<'a, T> {
    pub(super) fn new<'w>(kind: &'static str, all: impl Iterator<Item = &'w Word<'a>>) -> Self
    where
        'a: 'w,
    {
        let all = all.map(|name| (name.text, name.span.clone())).collect();
        Self { kind, entries: BTreeMap::new(), all }
    }

    /// From outside the file.
    pub(super) fn give(&mut self, name: &'a str, value: T) {
        self.entries.insert(name, Entry { span: None, value: Some(value), used: Cell::new(true) });
    }

    pub(super) fn define(&mut self, name: &Word<'a>, value: Option<T>, problems: &mut Problems<'_>) {
        let kind = self.kind;
        if let Some(there) = self.entries.get(name.text) {
            let message = format!("there is a {kind} `{}` already", name.text);
            problems.error(&name.span, message, "each has a name of its own");
            if let Some(span) = &there.span {
                problems.beside(span, "it is here");
            }
            return;
        }
        let entry = Entry { span: Some(name.span.clone()), value, used: Cell::new(false) };
        self.entries.insert(name.text, entry);
    }

    /// What `name` stands for; none if that was said to be wrong, now or before.
    pub(super) fn get(&self, name: &Word<'_>, problems: &mut Problems<'_>) -> Option<&T> {
        let kind = self.kind;
        if let Some(entry) = self.entries.get(name.text) {
            entry.used.set(true);
            return entry.value.as_ref();
        }
        let message = format!("there is no {kind} `{}`", name.text);
        if let Some(span) = self.all.get(name.text) {
            problems.error(
                &name.span,
                format!("{message} yet"),
                format!("a {kind} is made of what stands above it"),
            );
            problems.beside(span, "it is here");
        } else {
            let names = self.entries.keys().copied().filter(|name| !is_reserved(name));
            problems.error(&name.span, message, unknown_help(name.text, names));
        }
        None
    }

    /// What `name` stands for, without a word.
    pub(super) fn peek(&self, name: &str) -> Option<&T> {
        self.entries.get(name)?.value.as_ref()
    }

    pub(super) fn warn_of_unused(&self, problems: &mut Problems<'_>) {
        for (name, Entry { span, used, .. }) in &self.entries {
            if let (Some(span), false) = (span, used.get()) {
                let message = format!("nothing uses the {} `{name}`", self.kind);
                problems.warning(span, message, "take it out, or write the rule that is missing");
            }
        }
    }
}
