//! Which frames are captured, in the words of tcpdump: a small part of them.
//!
//! ```text
//! filter    = term { ("and" | "or") term }       from left to right, neither goes before the other
//! term      = "not" term | "(" filter ")" | test
//! test      = "arp" | "ip" | "ip6" | "tcp" | "udp" | "icmp" | "icmp6"
//!           | ["src" | "dst"] ("host" ADDRESS | "net" PREFIX | "port" NUMBER)
//! ```
//!
//! Spec: pcap-filter(7) of libpcap, of which it is a part: what is a filter here is one there, and
//! lets the same frames through.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use paravane_appliance::route::Prefix;

use super::facts::Facts;

/// The longest text of a filter.
const MAX_BYTES: usize = 512;
/// The most tests, and how deep brackets go.
const MAX_TESTS: usize = 64;
const MAX_DEPTH: usize = 16;

/// What there is to say, for who said something else.
const WORDS: &str =
    "host, net, port, each with src or dst before it; arp, ip, ip6, tcp, udp, icmp, icmp6; and, or, not, ( )";

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where it is from.
    Source,
    /// Where it is for.
    Destination,
    /// One or the other.
    Either,
}

/// What is asked of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Test {
    /// Whether it is ARP.
    Arp,
    /// Whether it is IPv4,
    Ip,
    /// or IPv6.
    Ip6,
    /// Whether it carries this protocol; of IPv4 alone, or of IPv6 alone, where that is said.
    Protocol(u8, Option<bool>),
    /// Whether its address is in there.
    Net(Side, Prefix),
    /// Whether its port is this one.
    Port(Side, u16),
}

/// A step on a stack of answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Test(Test),
    Not,
    And,
    Or,
}

/// A filter, ready for frames: steps in the order in which they are done. Nothing is allocated, and
/// nothing called again by itself, when frames come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    steps: Vec<Step>,
}

impl Filter {
    /// Reads a filter; an empty text lets all frames through.
    ///
    /// # Errors
    ///
    /// What is wrong, where, and what would be right; one line.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("filter: {} bytes long, {MAX_BYTES} at most", text.len()));
        }
        let mut reader = Reader { words: words(text), at: 0, end: text.len(), steps: Vec::new(), tests: 0 };
        if reader.words.is_empty() {
            return Ok(Self::default());
        }
        reader.filter(0)?;
        match reader.peek() {
            None => Ok(Self { steps: reader.steps }),
            Some(")") => Err(reader.wrong("')' closes nothing")),
            Some(word) => {
                let word = shown(word);
                Err(reader.wrong(&format!("'{word}' where and, or, or the end is wanted")))
            }
        }
    }

    /// Whether a frame is let through.
    #[must_use]
    pub fn lets(&self, facts: &Facts) -> bool {
        // The lowest bit is the top of the stack: at most `MAX_TESTS` deep.
        let mut stack: u64 = 0;
        if self.steps.is_empty() {
            return true;
        }
        for step in &self.steps {
            let top = stack & 1;
            stack = match step {
                Step::Test(test) => stack << 1 | u64::from(facts.is(test)),
                Step::Not => stack ^ 1,
                Step::And => stack >> 1 & (top | !1),
                Step::Or => stack >> 1 | top,
            };
        }
        stack & 1 == 1
    }
}

/// Words, each with its column; brackets are words of their own.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut start = None;
    let is_end = |char: char| char.is_ascii_whitespace() || matches!(char, '(' | ')');
    for (at, char) in text.char_indices().chain([(text.len(), ' ')]) {
        if !is_end(char) {
            start.get_or_insert(at);
            continue;
        }
        if let Some(start) = start.take() {
            words.extend(text.get(start..at).map(|word| (start, word)));
        }
        if matches!(char, '(' | ')') {
            words.extend(text.get(at..at.saturating_add(1)).map(|word| (at, word)));
        }
    }
    words
}

/// A word as it is shown: not more of it than a line has room for.
fn shown(word: &str) -> String {
    let short: String = word.chars().take(40).collect();
    if short.len() < word.len() { short + "..." } else { short }
}

struct Reader<'t> {
    words: Vec<(usize, &'t str)>,
    at: usize,
    end: usize,
    steps: Vec<Step>,
    tests: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<&'t str> {
        self.words.get(self.at).map(|(_, word)| *word)
    }

    fn take(&mut self) -> Option<&'t str> {
        let word = self.peek();
        self.at = self.at.saturating_add(1);
        word
    }

    /// What is wrong with the next word.
    fn wrong(&self, what: &str) -> String {
        let at = self.words.get(self.at).map_or(self.end, |(at, _)| *at);
        format!("filter:{}: {what}", at.saturating_add(1))
    }

    /// The same of the word that was taken last.
    fn wrong_before(&mut self, what: &str) -> String {
        self.at = self.at.saturating_sub(1);
        self.wrong(what)
    }

    fn filter(&mut self, depth: usize) -> Result<(), String> {
        self.term(depth)?;
        while let Some(word @ ("and" | "or" | "&&" | "||")) = self.peek() {
            self.at = self.at.saturating_add(1);
            self.term(depth)?;
            self.steps.push(if matches!(word, "and" | "&&") { Step::And } else { Step::Or });
        }
        Ok(())
    }

    fn term(&mut self, depth: usize) -> Result<(), String> {
        let mut is_not = false;
        while let Some("not" | "!") = self.peek() {
            self.at = self.at.saturating_add(1);
            is_not = !is_not;
        }
        if self.peek() == Some("(") {
            if depth >= MAX_DEPTH {
                return Err(self.wrong(&format!("brackets in brackets, {MAX_DEPTH} at most")));
            }
            self.at = self.at.saturating_add(1);
            self.filter(depth.saturating_add(1))?;
            if self.peek() != Some(")") {
                return Err(self.wrong("a ')' is missing"));
            }
            self.at = self.at.saturating_add(1);
        } else {
            let test = self.test()?;
            self.tests = self.tests.saturating_add(1);
            if self.tests > MAX_TESTS {
                return Err(self.wrong_before(&format!("more than {MAX_TESTS} tests")));
            }
            self.steps.push(Step::Test(test));
        }
        if is_not {
            self.steps.push(Step::Not);
        }
        Ok(())
    }

    fn test(&mut self) -> Result<Test, String> {
        let side = match self.peek() {
            Some("src") => Side::Source,
            Some("dst") => Side::Destination,
            _ => Side::Either,
        };
        if side != Side::Either {
            self.at = self.at.saturating_add(1);
        }
        let Some(word) = self.take() else {
            self.at = self.words.len();
            return Err(self.wrong(&format!("it ends where a test is wanted; there are {WORDS}")));
        };
        match word {
            "host" => {
                let text = self.value("an address, as 10.0.0.1 or 2001:db8::1")?;
                let address: Option<IpAddr> = text.parse().ok();
                let whole =
                    |address: IpAddr| Prefix::new(address, if address.is_ipv4() { 32 } else { 128 }).ok();
                let form = || format!("'{}' is no address; write it as 10.0.0.1 or 2001:db8::1", shown(text));
                let prefix =
                    address.and_then(whole).ok_or_else(form).map_err(|what| self.wrong_before(&what))?;
                Ok(Test::Net(side, prefix))
            }
            "net" => {
                let text = self.value("a network, as 10.0.0.0/8")?;
                let prefix = text.parse().map_err(|reason| {
                    self.wrong_before(&format!("'{}': {reason}; write it as 10.0.0.0/8", shown(text)))
                })?;
                Ok(Test::Net(side, prefix))
            }
            "port" => {
                let text = self.value("a port, as 443")?;
                let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
                let port = text.parse().ok().filter(|_| is_plain);
                let form = || format!("'{}' is no port; it is a number from 0 to 65535", shown(text));
                Ok(Test::Port(side, port.ok_or_else(form).map_err(|what| self.wrong_before(&what))?))
            }
            word if side != Side::Either => {
                let word = shown(word);
                Err(self
                    .wrong_before(&format!("'{word}' where host, net or port is wanted, behind src or dst")))
            }
            "arp" => Ok(Test::Arp),
            "ip" => Ok(Test::Ip),
            "ip6" => Ok(Test::Ip6),
            "tcp" => Ok(Test::Protocol(6, None)),
            "udp" => Ok(Test::Protocol(17, None)),
            "icmp" => Ok(Test::Protocol(1, Some(true))),
            "icmp6" => Ok(Test::Protocol(58, Some(false))),
            word => {
                let word = shown(word);
                Err(self.wrong_before(&format!("'{word}' is no word of a filter; there are {WORDS}")))
            }
        }
    }

    /// What has to follow a word.
    fn value(&mut self, what: &str) -> Result<&'t str, String> {
        match self.peek() {
            Some(word) if !matches!(word, "(" | ")" | "and" | "or" | "not") => {
                self.at = self.at.saturating_add(1);
                Ok(word)
            }
            _ => Err(self.wrong(&format!("{what}, is missing"))),
        }
    }
}

#[cfg(test)]
mod tests;
