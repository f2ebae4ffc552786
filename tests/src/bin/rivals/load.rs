//! What a guest is given to do, in windows that are measured one by one.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::contender::Work;
use crate::forward;
use crate::hosts::Hosts;
use crate::link::Cables;
use crate::packet::Ends;
use crate::rules::Rules;

/// Length of a frame that is routed.
const FRAME_BYTES: usize = 64;
/// Bursts of a window.
const ROUNDS: u32 = 200;

/// One kind of work, so much of it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Frames of 64 bytes from `public` to `private`; the next go when all have come out.
    Frames(u8),
    /// The same, and each is the first one of a flow that rules let through.
    Flows(Rules, u8),
    /// Messages of 10 bytes, each on a connection of its own that is open, and back.
    Messages(u8),
    /// Connections with a request and a page each.
    Connections(u8),
}

/// The loads of a kind of work.
pub(crate) fn of(work: Work) -> Vec<Load> {
    match work.rules() {
        Some(rules) => vec![Load::Flows(rules, 1), Load::Flows(rules, 32)],
        None if work == Work::Route => vec![Load::Frames(1), Load::Frames(32)],
        None => vec![Load::Messages(1), Load::Messages(32), Load::Connections(1), Load::Connections(32)],
    }
}

/// What came of a window.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// So many frames, messages or connections.
    pub(crate) units: f64,
    /// In this time.
    pub(crate) took: Duration,
    /// How long each round or connection took.
    pub(crate) times: Vec<Duration>,
}

impl Load {
    /// What is counted.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Frames(_) => "frame",
            Self::Flows(..) => "flow",
            Self::Messages(_) => "message",
            Self::Connections(_) => "connection",
        }
    }

    /// What goes before its windows.
    pub(crate) fn prepare(self, cables: &mut Cables, hosts: &mut Hosts) -> Result<()> {
        hosts.forget();
        match self {
            Self::Messages(at_once) => hosts.open(cables, at_once.into()),
            Self::Frames(_) | Self::Flows(..) | Self::Connections(_) => Ok(()),
        }
    }

    /// A window.
    pub(crate) fn run(self, cables: &mut Cables, hosts: &mut Hosts) -> Result<Outcome> {
        let start = Instant::now();
        let (units, times) = match self {
            Self::Frames(burst) => {
                let load = forward::Load { bytes: FRAME_BYTES, burst };
                let ends = |number| Ends::routed(u8::try_from(number % u32::from(burst)).unwrap_or(0));
                (ROUNDS * u32::from(burst), forward::bursts(cables, load, ROUNDS, ends)?)
            }
            Self::Flows(rules, burst) => {
                let load = forward::Load { bytes: FRAME_BYTES, burst };
                let ends = |_| rules.flow(hosts.next_flow());
                (ROUNDS * u32::from(burst), forward::bursts(cables, load, ROUNDS, ends)?)
            }
            // There and back.
            Self::Messages(at_once) => (
                2 * ROUNDS * u32::from(at_once),
                (0..ROUNDS).map(|_| hosts.exchange(cables)).collect::<Result<_>>()?,
            ),
            Self::Connections(at_once) => {
                let count = if at_once == 1 { 100 } else { 20 * u32::from(at_once) };
                (count, hosts.ask(cables, count as usize, at_once.into())?)
            }
        };
        Ok(Outcome { units: units.into(), took: start.elapsed(), times })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Frames(at_once)
        | Self::Flows(_, at_once)
        | Self::Messages(at_once)
        | Self::Connections(at_once)) = self;
        write!(f, "{at_once} at once")
    }
}
