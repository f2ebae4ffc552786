//! What goes in and what comes out.

use paravane_net::Frame;

use super::Reason;
use super::cookie::{Client, Offer};
use crate::flow::Flow;
use crate::packet::{Packet, Transport};

/// How often things are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many servers, for one client.
    pub servers: u8,
    /// How many SYNs are sent to one server: the second a second after the first one, and each
    /// later one after twice the time.
    pub syns: u8,
    /// How often one is sent what it has not acknowledged: the PROXY header, or a client that its
    /// window is open, first again after a quarter of a second.
    pub resends: u8,
}

impl Settings {
    /// Three servers, of which each has three seconds to answer.
    pub const GENERAL: Self = Self { servers: 3, syns: 2, resends: 5 };
}

/// How a service's clients are spliced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// What its clients were promised.
    pub offer: Offer,
    /// Its servers take the PROXY header.
    pub proxy: bool,
}

/// One of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who began.
    Client,
    /// Who was chosen for it.
    Server,
}

/// What is to be done for the flow of that place.
#[derive(Debug)]
pub enum Output {
    /// A frame of ours is to be sent: its Ethernet addresses are zero.
    Send(Side, Frame),
    /// Its server has taken the connection.
    Opened,
    /// Its server takes no connection, or did not answer. Nothing is kept of it here: the flow is
    /// to be [removed](crate::flow::Table::remove), and another to be
    /// [begun](super::Splices::begin) with another server. Where there is none, [`Client::reset`]
    /// says so.
    TryAnother(Client),
    /// Enough servers were tried. Nothing is kept of it, and the client is told.
    GaveUp,
    /// The client has cut it off before there was a server. Nothing is kept of it.
    Closed,
}

/// What is to be done with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on: it has the numbers that its receiver knows, and needs other ends yet.
    Pass,
    /// It does not go on.
    Drop(Reason),
}

/// A segment that came.
#[derive(Debug)]
pub struct Arrived<'a> {
    /// The place of its flow,
    pub index: u32,
    /// and the flow.
    pub flow: &'a Flow,
    /// As it was read; its ends were not changed yet.
    pub packet: &'a Packet,
    /// The same of its TCP header, which says afterwards what the frame says.
    pub transport: &'a mut Transport,
    /// The frame.
    pub frame: &'a mut Frame,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Servers that were sent a SYN.
    pub begun: u64,
    /// Clients that were told that their window is open.
    pub opened: u64,
    /// Servers that refused,
    pub refused: u64,
    /// or did not answer in time, or could not be reached,
    pub timed_out: u64,
    /// or do not do what was promised.
    pub unlike_offer: u64,
    /// Servers that take smaller segments than was promised; they are taken all the same.
    pub smaller_mss: u64,
    /// Clients for which enough servers were tried.
    pub gave_up: u64,
    /// What was sent again.
    pub resent: u64,
    /// What was to be sent, and there was no buffer. Nearly all of it is sent later.
    pub no_buffer: u64,
}
