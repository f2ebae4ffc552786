//! Words, and lists of things in braces.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use winnow::combinator::{opt, peek};
use winnow::prelude::*;
use winnow::token::any;

use super::{Fault, Input, Parsed};
use crate::lex::{Sign, Token};
use crate::names::is_reserved;
use crate::tree::Word;

pub(super) fn word<'a>(input: &mut Input<'_, 'a>) -> Parsed<Word<'a>> {
    let word = |token: &Token<'a>| match token.sign {
        Sign::Word(text) => Some(Word { text, span: token.span.clone() }),
        _ => None,
    };
    any.verify_map(word).parse_next(input)
}

pub(super) fn sign<'t, 'a>(expected: Sign<'static>) -> impl Parser<Input<'t, 'a>, (), Fault>
where
    'a: 't,
{
    any.verify(move |token: &Token<'_>| token.sign == expected).void()
}

/// A name that somebody gives.
pub(super) fn name<'a>(input: &mut Input<'_, 'a>) -> Parsed<Word<'a>> {
    let name = word.parse_next(input)?;
    let (message, help) = if is_reserved(name.text) {
        (format!("`{}` is a word of the language", name.text), "choose another name")
    } else if !name.is_name() || name.text.contains('/') {
        let help = "a name begins with a letter, and goes on with letters, digits and `_ - .`";
        (format!("`{}` is no name", name.text), help)
    } else {
        return Ok(name);
    };
    Err(Fault { span: name.span, message, help: help.into() })
}

/// An item of a list: any word that begins nothing else, and `any`.
pub(super) fn item<'a>(input: &mut Input<'_, 'a>) -> Parsed<Word<'a>> {
    word.verify(|word| word.text == "any" || !is_reserved(word.text)).parse_next(input)
}

/// One item, or several in braces with commas between them.
pub(super) fn list<'t, 'a, T>(
    mut item: impl FnMut(&mut Input<'t, 'a>) -> Parsed<T>,
) -> impl FnMut(&mut Input<'t, 'a>) -> Parsed<Vec<T>>
where
    'a: 't,
{
    move |input| {
        if opt(sign(Sign::Open)).parse_next(input)?.is_none() {
            return Ok(vec![item(input)?]);
        }
        let mut items = vec![item.by_ref().context("an item: a list has at least one").parse_next(input)?];
        while opt(sign(Sign::Close)).parse_next(input)?.is_none() {
            sign(Sign::Comma).context("`,` or `}`").parse_next(input)?;
            if opt(peek(sign(Sign::Close))).parse_next(input)?.is_none() {
                items.push(item.by_ref().context("an item, or `}`").parse_next(input)?);
            }
        }
        Ok(items)
    }
}

/// A list, if one begins here.
pub(super) fn list_here<'a>(input: &mut Input<'_, 'a>) -> Parsed<Vec<Word<'a>>> {
    let begins = match input.first().map(|token| token.sign) {
        Some(Sign::Open) => true,
        Some(Sign::Word(word)) => !is_reserved(word),
        _ => false,
    };
    if begins { list(item)(input) } else { Ok(Vec::new()) }
}
