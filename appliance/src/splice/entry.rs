//! What is kept of a spliced connection, in a cache line.

use super::cookie::Client;
use super::proxy;
use super::timer::NONE;
use crate::flow::Key;
use crate::packet::edit::Renumber;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// There is none.
    Free,
    /// The server was sent a SYN.
    SynSent,
    /// It answered, and was sent the PROXY header.
    HeaderSent,
    /// It has all that is ours; the client was told that its window is open.
    Opening,
    /// And has answered to that.
    Open,
}

// Of `Entry::flags`.
/// There are timestamps.
pub(super) const TIME: u8 = 1;
/// The client has selective acknowledgements, and was promised them.
pub(super) const SACK: u8 = 1 << 1;
/// The same of ECN.
pub(super) const ECN: u8 = 1 << 2;
/// The client scales its window, and was promised that the server does.
pub(super) const SCALES: u8 = 1 << 3;
/// The server is told who the client is.
pub(super) const PROXY: u8 = 1 << 4;
/// The server has no selective acknowledgements after all.
pub(super) const BLANKS_SACK: u8 = 1 << 5;

/// One connection.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Entry {
    /// Its neighbours in its list, while it waits.
    pub(super) before: u32,
    pub(super) after: u32,
    /// When its time comes.
    pub(super) at_millis: u32,
    /// Which flow it is of: places are used again.
    mark: u32,
    /// The client's next number, its SYN's and one.
    pub(super) client_next: u32,
    /// Our number towards the client.
    pub(super) cookie: u32,
    /// From the server's numbers to those that the client knows.
    pub(super) delta: u32,
    /// From the server's clock to the one that the client knows.
    pub(super) time_delta: u32,
    /// The client's clock, when it was last heard,
    pub(super) client_time: u32,
    /// and what it was told of ours.
    pub(super) own_time: u32,
    /// The client's window, in units of its scale.
    pub(super) client_window: u16,
    /// The server's, in those that the client was told.
    pub(super) server_window: u16,
    pub(super) mss_bytes: u16,
    /// As [`Client::tried`].
    pub(super) tried: [u16; 2],
    pub(super) stage: Stage,
    pub(super) flags: u8,
    pub(super) client_scale: u8,
    /// The scale that the client was promised.
    pub(super) offer_scale: u8,
    /// By how many bits windows are shifted to the left, of segments for the client,
    pub(super) client_shift: i8,
    /// and for the server.
    pub(super) server_shift: i8,
    /// Servers so far, this one included.
    pub(super) servers: u8,
    /// How often it was sent what it waits for an answer to.
    pub(super) sent: u8,
    /// Of its list.
    pub(super) list: u8,
}

/// How long one is.
pub(super) const ENTRY_BYTES: usize = 64;
const _: () = assert!(size_of::<Entry>() == ENTRY_BYTES);

impl Entry {
    /// A place for one.
    pub(super) const FREE: Self = Self {
        before: NONE,
        after: NONE,
        at_millis: 0,
        mark: 0,
        client_next: 0,
        cookie: 0,
        delta: 0,
        time_delta: 0,
        client_time: 0,
        own_time: 0,
        client_window: 0,
        server_window: 0,
        mss_bytes: 0,
        stage: Stage::Free,
        flags: 0,
        client_scale: 0,
        offer_scale: 0,
        client_shift: 0,
        server_shift: 0,
        servers: 0,
        tried: [0; 2],
        sent: 0,
        list: super::timer::LOOSE,
    };

    /// Of a client whose cookie was right, and its flow.
    pub(super) fn new(client: &Client, original: &Key, offer_scale: u8, mss_bytes: u16, proxy: bool) -> Self {
        let [client_time, own_time] = client.time.unwrap_or_default();
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        Self {
            mark: mark(original),
            client_next: client.isn.wrapping_add(1),
            cookie: client.cookie,
            client_time,
            own_time,
            client_window: client.window,
            mss_bytes: client.mss_bytes.min(mss_bytes),
            stage: Stage::SynSent,
            flags: flag(client.time.is_some(), TIME)
                | flag(client.sack, SACK)
                | flag(client.ecn, ECN)
                | flag(client.scale.is_some(), SCALES)
                | flag(proxy, PROXY),
            client_scale: client.scale.unwrap_or(0),
            offer_scale,
            servers: client.tries.saturating_add(1),
            tried: client.tried,
            ..Self::FREE
        }
    }

    /// The client, for another server.
    pub(super) fn client(&self) -> Client {
        Client {
            isn: self.client_next.wrapping_sub(1),
            cookie: self.cookie,
            mss_bytes: self.mss_bytes,
            window: self.client_window,
            scale: self.is(SCALES).then_some(self.client_scale),
            sack: self.is(SACK),
            ecn: self.is(ECN),
            time: self.is(TIME).then_some([self.client_time, self.own_time]),
            tries: self.servers,
            tried: self.tried,
        }
    }

    pub(super) const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it is of the flow that has this key.
    pub(super) fn is_of(&self, original: &Key) -> bool {
        self.stage != Stage::Free && self.mark == mark(original)
    }

    /// The number of the server's next byte behind its SYN, as it has it.
    pub(super) const fn server_next(&self) -> u32 {
        self.cookie.wrapping_add(1).wrapping_sub(self.delta)
    }

    /// Ours of the SYN to the server.
    pub(super) fn own_isn(&self, original: &Key) -> u32 {
        let gap = if self.is(PROXY) { proxy::len_bytes(original.is_v6()) } else { 0 };
        self.client_next.wrapping_sub(1).wrapping_sub(gap.into())
    }

    /// The client's clock and the server's, as a segment for the server has them.
    pub(super) fn time_for_server(&self) -> Option<[u32; 2]> {
        self.is(TIME).then_some([self.client_time, self.own_time.wrapping_sub(self.time_delta)])
    }

    /// What becomes of the client's segments.
    #[inline(always)]
    pub(super) const fn to_server(&self) -> Renumber {
        Renumber {
            sequence: 0,
            acknowledgement: self.delta.wrapping_neg(),
            time: 0,
            echo: self.time_delta.wrapping_neg(),
            window: self.server_shift,
            blanks_sack: self.is(BLANKS_SACK),
        }
    }

    /// And of the server's.
    #[inline(always)]
    pub(super) const fn to_client(&self) -> Renumber {
        Renumber {
            sequence: self.delta,
            acknowledgement: 0,
            time: self.time_delta,
            echo: 0,
            window: self.client_shift,
            blanks_sack: false,
        }
    }
}

/// By what a flow is told from another that has its place: no secret, for nobody gains by it.
#[expect(clippy::cast_possible_truncation, reason = "halves of it")]
fn mark(original: &Key) -> u32 {
    let ports = u32::from(original.source_port()) << 16 | u32::from(original.destination_port());
    let bits = match (original.ends_v4(), original.ends_v6()) {
        (Some(ends), _) => ends.source.to_bits(),
        (None, Some(ends)) => {
            let bits = ends.source.to_bits();
            (bits as u32).wrapping_add((bits >> 64) as u32)
        }
        _ => 0,
    };
    bits.rotate_left(7).wrapping_add(ports)
}
