//! What stands behind a rule's zones.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use winnow::combinator::opt;
use winnow::prelude::*;
use winnow::stream::Location;
use winnow::token::any;

use super::list::{item, list, list_here, name, word};
use super::{Fault, Input, Parsed};
use crate::lex::{Sign, Token};
use crate::names::is_reserved;
use crate::tree::{Clauses, Limit, Log, Service, Span, Word};

/// All up to the end of the line.
pub(super) fn all<'a>(input: &mut Input<'_, 'a>) -> Parsed<Clauses<'a>> {
    let mut clauses = Clauses::default();
    while let Some(Token { sign, span }) = input.first().cloned() {
        match sign {
            Sign::Word("from") => once("from", &clauses.source, &span)?,
            Sign::Word("to") => once("to", &clauses.destination, &span)?,
            Sign::Word("limit") => once("limit", &clauses.limit, &span)?,
            Sign::Word("log") => once("log", &clauses.log, &span)?,
            Sign::Word("counter") => once("counter", &clauses.counter, &span)?,
            Sign::Word(word @ ("burst" | "per" | "source" | "source-port" | "any")) => {
                return Err(astray(word, span));
            }
            Sign::Word(_) | Sign::Open => once(SERVICE, &clauses.services, &span)?,
            _ => {}
        }
        clause(sign, span, &mut clauses, input)?;
    }
    Ok(clauses)
}

const SERVICE: &str = "a service";

fn once<T>(what: &str, there: &Option<T>, span: &Span) -> Parsed<()> {
    if there.is_none() {
        return Ok(());
    }
    let what = if what == SERVICE { what.into() } else { format!("`{what}`") };
    let message = format!("{what} is there already");
    let help = match what.as_str() {
        "`limit`" | "`log`" | "`counter`" => "a rule has one",
        _ => "several stand in one list: `{ a, b }`",
    };
    Err(Fault { span: span.clone(), message, help: help.into() })
}

/// For words that are the language's, but begin no clause.
fn astray(word: &str, span: Span) -> Fault {
    let help = match word {
        "source-port" => "`source-port` stands behind `tcp` or `udp`, and their ports if there are any",
        "any" => "a rule without a service is for any",
        _ => "`burst` and `per source` stand behind `limit` and its rate, in this order",
    };
    Fault { span, message: format!("`{word}` was not expected here"), help: help.into() }
}

fn clause<'a>(
    sign: Sign<'a>,
    span: Span,
    clauses: &mut Clauses<'a>,
    input: &mut Input<'_, 'a>,
) -> Parsed<()> {
    match sign {
        Sign::Open => clauses.services = Some(list(service)(input)?),
        Sign::Word("from") => clauses.source = Some(addresses(input)?),
        Sign::Word("to") => clauses.destination = Some(addresses(input)?),
        Sign::Word("limit") => clauses.limit = Some(limit(input)?),
        Sign::Word("log") => clauses.log = Some(log(input, span)?),
        Sign::Word("counter") => {
            word.parse_next(input)?;
            clauses.counter = Some(name.context("the counter's name").parse_next(input)?);
        }
        Sign::Word(_) => clauses.services = Some([service(input)?].into()),
        _ => {
            // Fails with what is there.
            word.context("a service, `from`, `to`, `limit`, `log` or `counter`").parse_next(input)?;
        }
    }
    Ok(())
}

fn addresses<'a>(input: &mut Input<'_, 'a>) -> Parsed<Vec<Word<'a>>> {
    word.parse_next(input)?;
    list(item).context("an address, a prefix, a set, or a list of these").parse_next(input)
}

/// `limit RATE [burst COUNT] [per source]`
fn limit<'a>(input: &mut Input<'_, 'a>) -> Parsed<Limit<'a>> {
    let start = word.parse_next(input)?.span.start;
    let rate = item.context("a rate such as `100/s`").parse_next(input)?;
    let burst = match keyword("burst", input)? {
        true => Some(item.context("how many flows at once").parse_next(input)?),
        false => None,
    };
    let per_source = keyword("per", input)?;
    if per_source {
        word.verify(|word: &Word<'_>| word.text == "source").context("`source`").parse_next(input)?;
    }
    Ok(Limit { span: start..input.previous_token_end(), rate, burst, per_source })
}

/// Takes `word` if it is next.
fn keyword(expected: &str, input: &mut Input<'_, '_>) -> Parsed<bool> {
    opt(word.verify(|word: &Word<'_>| word.text == expected)).parse_next(input).map(|word| word.is_some())
}

/// `log ["TEXT"]`
fn log<'a>(input: &mut Input<'_, 'a>, span: Span) -> Parsed<Log<'a>> {
    word.parse_next(input)?;
    let text = |token: &Token<'a>| match token.sign {
        Sign::Text(text) => Some((text, token.span.clone())),
        _ => None,
    };
    let text = opt(any.verify_map(text)).parse_next(input)?;
    let (text, span) = text.unwrap_or(("", span));
    Ok(Log { text, span })
}

/// A service's name, or a protocol with what it may ask for.
pub(super) fn service<'a>(input: &mut Input<'_, 'a>) -> Parsed<Service<'a>> {
    let first = word.context("a service: its name, or a protocol").parse_next(input)?;
    match first.text {
        "tcp" | "udp" => {
            let selector = list_here(input)?;
            let source_port = match keyword("source-port", input)? {
                true => list(item).context("a port, a set, or a list of these").parse_next(input)?,
                false => Vec::new(),
            };
            Ok(Service::Plain { protocol: first, selector, source_port })
        }
        "icmp" | "icmpv6" => {
            let selector = list_here(input)?;
            Ok(Service::Plain { protocol: first, selector, source_port: Vec::new() })
        }
        "protocol" => {
            let protocol = item.context("the protocol's number").parse_next(input)?;
            Ok(Service::Plain { protocol, selector: Vec::new(), source_port: Vec::new() })
        }
        text if first.is_name() && !is_reserved(text) && no_service(text).is_none() => {
            Ok(Service::Named(first))
        }
        text => {
            let help = no_service(text).unwrap_or_default();
            Err(Fault { message: format!("`{text}` is no service"), span: first.span, help })
        }
    }
}

/// What was meant by a word that cannot be a service.
fn no_service(text: &str) -> Option<String> {
    const STATE: [&str; 6] = ["state", "established", "related", "new", "ct", "keep"];
    const ADDRESSES: [&str; 4] = ["saddr", "daddr", "src", "dst"];
    const PORTS: [&str; 4] = ["port", "dport", "sport", "ports"];
    if STATE.contains(&text) {
        Some("state is implied: rules see the first packet of a flow, and the others follow it".into())
    } else if ADDRESSES.contains(&text) {
        Some("addresses stand behind `from` and `to`".into())
    } else if PORTS.contains(&text) {
        Some("ports stand behind their protocol: `tcp 80`, `udp source-port 53`".into())
    } else if text.contains(':') || (text.contains('.') && text.starts_with(|c: char| c.is_ascii_digit())) {
        Some("addresses stand behind `from` and `to`".into())
    } else if text.starts_with(|c: char| c.is_ascii_digit()) {
        Some("ports stand behind their protocol: `tcp 80`".into())
    } else {
        None
    }
}
