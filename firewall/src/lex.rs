//! A text as words and signs.

use alloc::vec::Vec;
use core::ops::Range;

use winnow::combinator::{alt, delimited, not, opt, preceded, repeat, terminated};
use winnow::error::EmptyError;
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location};
use winnow::token::{any, one_of, take_while};

/// What stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign<'a> {
    /// A name, a number, an address.
    Word(&'a str),
    /// A text, without its quotes.
    Text(&'a str),
    /// `->`
    Arrow,
    /// `{`
    Open,
    /// `}`
    Close,
    /// `,`
    Comma,
    /// `=`
    Equals,
    /// The end of a line.
    Newline,
    /// A text whose end is not on its line.
    Unclosed,
    /// Nothing that a file has outside of comments.
    Unknown(char),
}

/// A sign, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) sign: Sign<'a>,
    pub(crate) span: Range<usize>,
}

impl Location for Token<'_> {
    fn previous_token_end(&self) -> usize {
        self.span.end
    }

    fn current_token_start(&self) -> usize {
        self.span.start
    }
}

type Input<'a> = LocatingSlice<&'a str>;
type Lexed<T> = Result<T, EmptyError>;

/// Never fails: whatever is no sign is an unknown one.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let token = sign.with_span().map(|(sign, span)| Token { sign, span });
    let all = delimited(opt('\u{feff}'), repeat(0.., preceded(blanks, token)), blanks);
    { all }.parse(LocatingSlice::new(text)).unwrap_or_default()
}

/// Blanks, and a comment up to the end of its line.
fn blanks(input: &mut Input<'_>) -> Lexed<()> {
    let blank = take_while(0.., [' ', '\t', '\r']);
    (blank, opt(('#', take_while(0.., |c| c != '\n')))).void().parse_next(input)
}

fn sign<'a>(input: &mut Input<'a>) -> Lexed<Sign<'a>> {
    alt((
        word.map(Sign::Word),
        "->".value(Sign::Arrow),
        delimited('"', in_quotes, '"').map(Sign::Text),
        ('"', in_quotes).value(Sign::Unclosed),
        any.map(|other| match other {
            '\n' => Sign::Newline,
            '{' => Sign::Open,
            '}' => Sign::Close,
            ',' => Sign::Comma,
            '=' => Sign::Equals,
            other => Sign::Unknown(other),
        }),
    ))
    .parse_next(input)
}

fn in_quotes<'a>(input: &mut Input<'a>) -> Lexed<&'a str> {
    take_while(0.., |c| c != '"' && c != '\n').parse_next(input)
}

/// `a-b` is a word, `a->b` is three signs.
fn word<'a>(input: &mut Input<'a>) -> Lexed<&'a str> {
    let part = one_of(|c: char| c.is_ascii_alphanumeric() || "_.:/".contains(c));
    let part = alt((part, terminated('-', not('>'))));
    repeat::<_, _, (), _, _>(1.., part).take().parse_next(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(text: &str) -> Vec<Sign<'_>> {
        tokens(text).into_iter().map(|token| token.sign).collect()
    }

    #[test]
    fn an_arrow_ends_a_word() {
        let expected =
            [Sign::Word("a-b"), Sign::Arrow, Sign::Word("c-"), Sign::Arrow, Sign::Word("1.2.3.4/8")];
        assert_eq!(signs("a-b->c-->1.2.3.4/8"), expected);
    }

    #[test]
    fn comments_end_with_their_line() {
        assert_eq!(signs("# a \"\n b # c"), [Sign::Newline, Sign::Word("b")]);
        assert_eq!(signs("\"a # b\""), [Sign::Text("a # b")]);
    }

    #[test]
    fn what_is_no_sign_is_there_all_the_same() {
        assert_eq!(signs("ä \"b"), [Sign::Unknown('ä'), Sign::Unclosed]);
        assert_eq!(tokens("\u{feff}a;")[1].span, 4..5);
    }
}
