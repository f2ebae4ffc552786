//! One question to a server, and its answer.

use core::fmt;

use paravane_hal::time::Instant;

use super::http::Answer;
use super::settings::{Probe, Settings};
use crate::pool::ServerId;

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server did not answer in time, or nobody knows where it is.
    ConnectTimeout,
    /// The server refused the connection.
    Refused,
    /// It took the connection, and did not answer in time.
    AnswerTimeout,
    /// It took the connection, and ended it before it answered.
    Closed,
    /// What it answered is not HTTP, or is longer than any.
    NotHttp,
    /// It answered with a status that is not expected.
    Status(u16),
}

impl Failure {
    /// As HAProxy has it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ConnectTimeout => "L4TOUT",
            Self::Refused => "L4CON",
            Self::AnswerTimeout => "L7TOUT",
            Self::Closed | Self::NotHttp => "L7RSP",
            Self::Status(_) => "L7STS",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectTimeout => f.write_str("no answer to a SYN in time"),
            Self::Refused => f.write_str("the connection was refused"),
            Self::AnswerTimeout => f.write_str("connected, and no answer in time"),
            Self::Closed => f.write_str("connected, and closed before the answer"),
            Self::NotHttp => f.write_str("the answer is not HTTP/1"),
            Self::Status(status) => write!(f, "status {status}, which is not expected"),
        }
    }
}

impl core::error::Error for Failure {}

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Connecting,
    Asking(Answer),
    Over(Result<(), Failure>),
}

/// One question to a server. It goes to [`Checks::end`](super::Checks::end) when it
/// [is over](Self::is_over), and its socket may be reset then: nothing that comes later counts.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the server is not asked again before this ends"]
pub struct Attempt {
    server: ServerId,
    began_at: Instant,
    deadline: Instant,
    /// What is expected; of HTTP.
    expected: Option<(u16, u16)>,
    progress: Progress,
    /// Of the request, so many bytes are sent.
    sent: u16,
}

impl Attempt {
    pub(super) fn new(server: ServerId, settings: &Settings, now: Instant) -> Self {
        let expected = match &settings.probe {
            Some(Probe::Http(http)) => Some(http.expected()),
            Some(Probe::Tcp) | None => None,
        };
        let deadline = now.saturating_add(settings.timeout);
        Self { server, began_at: now, deadline, expected, progress: Progress::Connecting, sent: 0 }
    }

    /// Which server is asked.
    #[must_use]
    pub const fn server(&self) -> ServerId {
        self.server
    }

    /// When it has to have answered.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) const fn began_at(&self) -> Instant {
        self.began_at
    }

    /// The server took the connection. May be said again.
    pub fn connected(&mut self) {
        if self.progress == Progress::Connecting {
            self.progress = match self.expected {
                Some(_) => Progress::Asking(Answer::default()),
                None => Progress::Over(Ok(())),
            };
        }
    }

    /// What is still to be sent. `settings` are those of the checks that it is of.
    #[must_use]
    pub fn unsent<'a>(&self, settings: &'a Settings) -> &'a [u8] {
        match (&self.progress, &settings.probe) {
            (Progress::Asking(_), Some(Probe::Http(http))) => {
                http.request().get(self.sent.into()..).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// So much of that is on its way.
    pub fn sent(&mut self, len_bytes: usize) {
        self.sent = self.sent.saturating_add(u16::try_from(len_bytes).unwrap_or(u16::MAX));
    }

    /// The server sent that, behind what it sent before.
    pub fn received(&mut self, bytes: &[u8]) {
        let Progress::Asking(answer) = &mut self.progress else { return };
        let Some((first, last)) = self.expected else { return };
        self.progress = Progress::Over(match answer.read(bytes) {
            None => return,
            Some(Ok(status)) if (first..=last).contains(&status) => Ok(()),
            Some(Ok(status)) => Err(Failure::Status(status)),
            Some(Err(_)) => Err(Failure::NotHttp),
        });
    }

    /// The server refused the connection, or ended it; what it sent before was received.
    pub fn closed(&mut self) {
        self.progress = Progress::Over(match &self.progress {
            Progress::Connecting => Err(Failure::Refused),
            Progress::Asking(_) => Err(Failure::Closed),
            Progress::Over(result) => *result,
        });
    }

    /// Whether it has ended, by its answer or by its time.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        matches!(self.progress, Progress::Over(_)) || now >= self.deadline
    }

    /// How it ended; one that is not over ends here.
    pub(super) const fn result(&self) -> Result<(), Failure> {
        match &self.progress {
            Progress::Connecting => Err(Failure::ConnectTimeout),
            Progress::Asking(_) => Err(Failure::AnswerTimeout),
            Progress::Over(result) => *result,
        }
    }
}
