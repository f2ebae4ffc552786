//! Words and signs as a tree, line by line: what is wrong with one line keeps no other from being
//! read.

mod clause;
mod list;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use winnow::error::{AddContext, ParserError};
use winnow::prelude::*;
use winnow::stream::{Location, Stream, TokenSlice};

use crate::diagnostic::Problems;
use crate::lex::{Sign, Token, tokens};
use crate::names::{STATEMENTS, statement_help, verdict_help};
use crate::rules::Verdict;
use crate::tree::{Default, Definition, Rule, Span, Statement, Word};
use list::{list, name, sign, word};

type Input<'t, 'a> = TokenSlice<'t, Token<'a>>;
type Parsed<T> = Result<T, Fault>;

/// What ended the reading of a line.
#[derive(Debug)]
struct Fault {
    span: Span,
    message: String,
    /// What would be right; empty until somebody knows.
    help: String,
}

impl ParserError<Input<'_, '_>> for Fault {
    type Inner = Self;

    fn from_input(input: &Input<'_, '_>) -> Self {
        let end = input.previous_token_end();
        let (span, message) = match input.first() {
            Some(token) => (token.span.clone(), format!("{} was not expected here", describe(token.sign))),
            None => (end..end, "the line ends too early".into()),
        };
        Self { span, message, help: String::new() }
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

/// What is expected, where nobody closer to it has said so.
impl AddContext<Input<'_, '_>, &'static str> for Fault {
    fn add_context(
        mut self,
        _input: &Input<'_, '_>,
        _start: &<Input<'_, '_> as Stream>::Checkpoint,
        expected: &'static str,
    ) -> Self {
        if self.help.is_empty() {
            self.help = format!("expected is {expected}");
        }
        self
    }
}

fn describe(sign: Sign<'_>) -> String {
    match sign {
        Sign::Word(word) => format!("`{word}`"),
        Sign::Text(text) => format!("the text \"{text}\""),
        Sign::Arrow => "`->`".into(),
        Sign::Open => "`{`".into(),
        Sign::Close => "`}`".into(),
        Sign::Comma => "`,`".into(),
        Sign::Equals => "`=`".into(),
        Sign::Newline => "the end of the line".into(),
        // A line that has one of these is read no further.
        Sign::Unclosed | Sign::Unknown(_) => "this sign".into(),
    }
}

/// All of a file's statements, and what was said of those that are none.
pub(crate) fn file<'a>(text: &'a str, problems: &mut Problems<'_>) -> Vec<Statement<'a>> {
    let tokens = tokens(text);
    let mut rest = tokens.as_slice();
    let mut statements = Vec::new();
    while !rest.is_empty() {
        let line = next_line(rest);
        rest = line.rest;
        if let Some(brace) = line.open {
            problems.error(&brace, "this `{` is not closed", "a list ends with `}`");
            statements.push(broken(&line.tokens));
        } else if !line.tokens.is_empty() {
            statements.push(checked(&line.tokens, problems));
        }
    }
    statements
}

/// What makes a statement, if braces are closed.
struct Line<'t, 'a> {
    tokens: Vec<Token<'a>>,
    /// The last brace that is not closed.
    open: Option<Span>,
    /// What comes after it.
    rest: &'t [Token<'a>],
}

/// The tokens up to the end of a line that is not in braces.
fn next_line<'t, 'a>(all: &'t [Token<'a>]) -> Line<'t, 'a> {
    let after = |place: usize| all.get(place..).unwrap_or(&[]);
    let mut tokens = Vec::new();
    let mut open: Vec<Span> = Vec::new();
    let mut at_start = false;
    for (token, place) in all.iter().zip(0..) {
        match token.sign {
            Sign::Newline if open.is_empty() => return Line { tokens, open: None, rest: after(place + 1) },
            // No item is called so: the list was to end before.
            Sign::Word(word) if at_start && STATEMENTS.contains(&word) => {
                return Line { tokens, open: open.pop(), rest: after(place) };
            }
            Sign::Open => open.push(token.span.clone()),
            Sign::Close => _ = open.pop(),
            _ => {}
        }
        at_start = token.sign == Sign::Newline;
        if !at_start {
            tokens.push(token.clone());
        }
    }
    Line { tokens, open: open.pop(), rest: &[] }
}

/// What is left of a statement in which something is wrong.
fn broken<'a>(line: &[Token<'a>]) -> Statement<'a> {
    let text = |place: usize| match line.get(place) {
        Some(Token { sign: Sign::Word(text), span }) => Some(Word { text, span: span.clone() }),
        _ => None,
    };
    Statement::Broken { keyword: text(0).map_or("", |word| word.text), name: text(1) }
}

fn checked<'a>(line: &[Token<'a>], problems: &mut Problems<'_>) -> Statement<'a> {
    let fault = match unusable(line) {
        Some(fault) => fault,
        None => match statement.parse(TokenSlice::new(line)) {
            Ok(statement) => return statement,
            Err(error) => error.into_inner(),
        },
    };
    let help = if fault.help.is_empty() {
        "the line ends before it; several items stand in braces: `{ a, b }`"
    } else {
        &fault.help
    };
    problems.error(&fault.span, &fault.message, help);
    broken(line)
}

/// What is in no line.
fn unusable(line: &[Token<'_>]) -> Option<Fault> {
    line.iter().find_map(|Token { sign, span }| {
        let (message, help) = match sign {
            Sign::Unclosed => ("this text does not end".into(), "it ends with `\"` on the same line"),
            Sign::Unknown(other) => {
                (format!("`{}` means nothing here", other.escape_debug()), instead_of(*other))
            }
            _ => return None,
        };
        Some(Fault { span: span.clone(), message, help: help.into() })
    })
}

/// What is written in this language for a sign of others.
fn instead_of(sign: char) -> &'static str {
    match sign {
        ';' => "a rule ends with its line",
        '[' | ']' | '(' | ')' => "lists stand in `{` and `}`",
        '!' => "there is no `not`: the first rule that matches decides, so write the exception above",
        _ => "outside of comments and texts there are letters, digits and `_ . : / - > = , { }`",
    }
}

fn statement<'a>(input: &mut Input<'_, 'a>) -> Parsed<Statement<'a>> {
    let keyword =
        word.context("`zone`, `set`, `service`, `allow`, `reject`, `drop` or `default`").parse_next(input)?;
    Ok(match keyword.text {
        "zone" => Statement::Zone(definition(input, list::item)?),
        "set" => Statement::Set(definition(input, list::item)?),
        "service" => Statement::Service(definition(input, clause::service)?),
        "default" => Statement::Default(default(input, keyword.span)?),
        "allow" => Statement::Rule(rule(input, Verdict::Allow, keyword.span)?),
        "reject" => Statement::Rule(rule(input, Verdict::Reject, keyword.span)?),
        "drop" => Statement::Rule(rule(input, Verdict::Drop, keyword.span)?),
        other => {
            let message = format!("no line begins with `{other}`");
            return Err(Fault { span: keyword.span, message, help: statement_help(other) });
        }
    })
}

/// `NAME = LIST`
fn definition<'t, 'a, T>(
    input: &mut Input<'t, 'a>,
    item: impl FnMut(&mut Input<'t, 'a>) -> Parsed<T>,
) -> Parsed<Definition<'a, T>> {
    let name = name.context("a name").parse_next(input)?;
    sign(Sign::Equals).context("`=`").parse_next(input)?;
    let items = list(item).context("what it stands for: an item, or several in braces").parse_next(input)?;
    Ok(Definition { name, items })
}

/// `LIST -> LIST CLAUSES`, behind the verdict.
fn rule<'a>(input: &mut Input<'_, 'a>, verdict: Verdict, start: Span) -> Parsed<Rule<'a>> {
    let from = list(list::item).context("a zone, or `any`").parse_next(input)?;
    sign(Sign::Arrow).context("`->`, and the zone that packets go to").parse_next(input)?;
    let to = list(list::item).context("a zone, or `any`").parse_next(input)?;
    let clauses = clause::all(input)?;
    Ok(Rule { span: to_here(start, input), verdict, from, to, clauses })
}

fn default<'a>(input: &mut Input<'_, 'a>, start: Span) -> Parsed<Default<'a>> {
    let verdict = word.context("`allow`, `reject` or `drop`").parse_next(input)?;
    let verdict = match verdict.text {
        "allow" => Verdict::Allow,
        "reject" => Verdict::Reject,
        "drop" => Verdict::Drop,
        other => {
            let message = format!("`{other}` is no verdict");
            return Err(Fault { span: verdict.span, message, help: verdict_help(other) });
        }
    };
    let clauses = clause::all(input)?;
    Ok(Default { span: to_here(start, input), verdict, clauses })
}

fn to_here(start: Span, input: &Input<'_, '_>) -> Span {
    start.start..input.previous_token_end()
}
