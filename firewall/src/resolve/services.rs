//! Services: protocols, and which of their packets.

use alloc::vec::Vec;

use super::Names;
use crate::diagnostic::Problems;
use crate::packet::protocol;
use crate::ranges::Ranges;
use crate::rules::Service;
use crate::tree::{self, Word};
use crate::value;

impl<'a> Names<'a> {
    pub(super) fn service_list(
        &self,
        services: &[tree::Service<'a>],
        problems: &mut Problems<'_>,
    ) -> Option<Vec<Service>> {
        let mut all = Vec::new();
        let mut is_right = true;
        for service in services {
            match self.service(service, problems) {
                Some(services) => all.extend(services),
                None => is_right = false,
            }
        }
        is_right.then(|| merged(all))
    }

    fn service(&self, service: &tree::Service<'a>, problems: &mut Problems<'_>) -> Option<Vec<Service>> {
        let (word, selector, source_port) = match service {
            tree::Service::Named(name) => return self.services.get(name, problems).cloned(),
            tree::Service::Plain { protocol, selector, source_port } => (protocol, selector, source_port),
        };
        let source_port = match source_port.as_slice() {
            [] => Some(Ranges::all()),
            words => self.ports(words, problems),
        };
        let (protocol, selector) = match word.text {
            "tcp" => (protocol::TCP, self.ports_or_all(selector, problems)),
            "udp" => (protocol::UDP, self.ports_or_all(selector, problems)),
            "icmp" => (protocol::ICMP, types(selector, value::ICMP, problems)),
            "icmpv6" => (protocol::ICMPV6, types(selector, value::ICMPV6, problems)),
            number => match value::protocol(number) {
                Ok(number) => (number, Some(Ranges::all())),
                Err((message, help)) => {
                    problems.error(&word.span, message, help);
                    return None;
                }
            },
        };
        Some([Service { protocol, selector: selector?, source_port: source_port? }].into())
    }

    fn ports_or_all(&self, words: &[Word<'a>], problems: &mut Problems<'_>) -> Option<Ranges<u16>> {
        if words.is_empty() { Some(Ranges::all()) } else { self.ports(words, problems) }
    }
}

fn types(words: &[Word<'_>], names: &[(&str, u8)], problems: &mut Problems<'_>) -> Option<Ranges<u16>> {
    if words.is_empty() {
        return Some(Ranges::all());
    }
    let mut is_right = true;
    let selectors = words.iter().filter_map(|word| match value::icmp(word.text, names) {
        Ok(range) => Some(range),
        Err((message, help)) => {
            problems.error(&word.span, message, help);
            is_right = false;
            None
        }
    });
    let selectors = selectors.collect();
    is_right.then_some(selectors)
}

/// One service for each protocol and its source ports.
fn merged(services: Vec<Service>) -> Vec<Service> {
    let mut merged: Vec<Service> = Vec::new();
    for service in services {
        let same = |other: &&mut Service| {
            other.protocol == service.protocol && other.source_port == service.source_port
        };
        match merged.iter_mut().find(same) {
            Some(other) => other.selector = other.selector.union(&service.selector),
            None => merged.push(service),
        }
    }
    merged.sort_unstable();
    merged
}
