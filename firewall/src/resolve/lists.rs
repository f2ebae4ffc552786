//! Lists of zones, addresses and ports.

use alloc::format;
use alloc::vec::Vec;

use super::Names;
use crate::diagnostic::Problems;
use crate::ranges::Ranges;
use crate::rules::{AddressSet, Zones};
use crate::tree::Word;
use crate::value;

/// What a `set` has.
pub(super) enum Set {
    Addresses(AddressSet),
    Ports(Ranges<u16>),
}

impl<'a> Names<'a> {
    pub(super) fn zone_list(&self, words: &[Word<'a>], problems: &mut Problems<'_>) -> Option<Zones> {
        let each = words.iter().map(|word| match word.text {
            "any" => Some(self.any),
            _ => self.zones.get(word, problems).copied(),
        });
        // All are looked at, so that each one that is wrong is said.
        each.collect::<Vec<_>>().into_iter().try_fold(Zones::default(), |all, zone| Some(all.union(zone?)))
    }

    pub(super) fn set(&self, words: &[Word<'a>], problems: &mut Problems<'_>) -> Option<Set> {
        // The first one whose kind is known says what the others are to be.
        let has_ports = words.iter().find_map(|word| match word {
            word if word.text == "any" => Some(false),
            word if !word.is_name() => Some(!value::is_address(word.text)),
            word => self.sets.peek(word.text).map(|set| matches!(set, Set::Ports(_))),
        });
        match has_ports {
            Some(true) => self.ports(words, problems).map(Set::Ports),
            _ => self.addresses(words, problems).map(Set::Addresses),
        }
    }

    pub(super) fn addresses(&self, words: &[Word<'a>], problems: &mut Problems<'_>) -> Option<AddressSet> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut is_right = true;
        for word in words {
            if word.text == "any" {
                v4.push((u32::MIN, u32::MAX));
                v6.push((u128::MIN, u128::MAX));
            } else if word.is_name() {
                match self.sets.get(word, problems) {
                    Some(Set::Addresses(set)) => {
                        v4.extend_from_slice(set.v4.as_slice());
                        v6.extend_from_slice(set.v6.as_slice());
                        continue;
                    }
                    Some(Set::Ports(_)) => {
                        let message = format!("`{}` has ports", word.text);
                        problems.error(&word.span, message, "addresses are expected here, or a set of them");
                    }
                    None => {}
                }
                is_right = false;
            } else {
                match value::addresses(word.text) {
                    Ok(value::Span::V4(first, last)) => v4.push((first, last)),
                    Ok(value::Span::V6(first, last)) => v6.push((first, last)),
                    Err((message, help)) => {
                        problems.error(&word.span, message, help);
                        is_right = false;
                    }
                }
            }
        }
        is_right.then(|| AddressSet { v4: v4.into_iter().collect(), v6: v6.into_iter().collect() })
    }

    pub(super) fn ports(&self, words: &[Word<'a>], problems: &mut Problems<'_>) -> Option<Ranges<u16>> {
        let mut ports = Vec::new();
        let mut is_right = true;
        for word in words {
            if word.is_name() && word.text != "any" {
                match self.sets.get(word, problems) {
                    Some(Set::Ports(set)) => {
                        ports.extend_from_slice(set.as_slice());
                        continue;
                    }
                    Some(Set::Addresses(_)) => {
                        let message = format!("`{}` has addresses", word.text);
                        problems.error(&word.span, message, "ports are expected here, or a set of them");
                    }
                    None => {}
                }
                is_right = false;
            } else {
                match value::ports(word.text) {
                    Ok(range) => ports.push(range),
                    Err((message, help)) => {
                        problems.error(&word.span, message, help);
                        is_right = false;
                    }
                }
            }
        }
        is_right.then(|| ports.into_iter().collect())
    }
}
