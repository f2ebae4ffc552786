//! One end of a TCP connection, as much of it as is needed over cables that lose nothing: nothing
//! is sent twice, and what comes twice or too early is not taken.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use crate::link::Side;
use crate::packet;

/// What a host of Linux offers.
const WINDOW: u16 = 64_240;
const MSS: u16 = 1460;

/// What a segment brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing that is to be answered.
    Nothing,
    /// The connection is open.
    Opened,
    /// Bytes, or the end of them.
    Bytes,
    /// Both ends have said all, and know.
    Over,
    /// The peer breaks the connection off.
    Reset,
}

/// One end.
#[derive(Debug)]
pub(crate) struct End {
    side: Side,
    own: SocketAddrV4,
    peer: SocketAddrV4,
    /// The next number to send, and the next that comes.
    next: TcpSeqNumber,
    expected: TcpSeqNumber,
    is_open: bool,
    has_closed: bool,
    /// The peer takes bytes.
    pub(crate) may_send: bool,
    /// What came and was not read yet.
    pub(crate) received: Vec<u8>,
    /// The peer has nothing more to say.
    pub(crate) peer_has_closed: bool,
}

impl End {
    /// One that asks for a connection, and its first segment.
    pub(crate) fn connect(side: Side, own: SocketAddrV4, peer: SocketAddrV4, first: u32) -> (Self, Vec<u8>) {
        let mut end = Self::new(side, own, peer, first);
        let frame = end.first(None);
        (end, frame)
    }

    /// One that accepts the connection that `syn` asks for, and its first segment.
    pub(crate) fn accept(
        side: Side,
        own: SocketAddrV4,
        peer: SocketAddrV4,
        first: u32,
        syn: &TcpRepr<'_>,
    ) -> (Self, Vec<u8>) {
        let mut end = Self::new(side, own, peer, first);
        end.expected = syn.seq_number + 1;
        let frame = end.first(Some(end.expected));
        (end, frame)
    }

    fn new(side: Side, own: SocketAddrV4, peer: SocketAddrV4, first: u32) -> Self {
        Self {
            side,
            own,
            peer,
            next: TcpSeqNumber(first.cast_signed()),
            expected: TcpSeqNumber(0),
            is_open: false,
            has_closed: false,
            may_send: false,
            received: Vec::new(),
            peer_has_closed: false,
        }
    }

    /// Takes a segment of its connection in.
    pub(crate) fn take(&mut self, tcp: &TcpRepr<'_>) -> Heard {
        let acknowledges_all = tcp.ack_number == Some(self.next);
        self.may_send = tcp.window_len > 0;
        match tcp.control {
            TcpControl::Rst => return Heard::Reset,
            TcpControl::Syn if acknowledges_all && !self.is_open => {
                self.expected = tcp.seq_number + 1;
                self.is_open = true;
                return Heard::Opened;
            }
            // It was answered before.
            TcpControl::Syn => return Heard::Nothing,
            _ => {}
        }
        let was_open = self.is_open;
        self.is_open |= acknowledges_all;
        if tcp.seq_number != self.expected {
            return Heard::Nothing;
        }
        self.received.extend_from_slice(tcp.payload);
        self.expected += tcp.payload.len();
        let ends = tcp.control == TcpControl::Fin && !self.peer_has_closed;
        if ends {
            self.expected += 1;
            self.peer_has_closed = true;
        }
        match (ends || !tcp.payload.is_empty(), was_open) {
            (true, _) => Heard::Bytes,
            (false, false) if self.is_open => Heard::Opened,
            _ if self.is_over(acknowledges_all) => Heard::Over,
            _ => Heard::Nothing,
        }
    }

    /// Whether both have said all, when the peer `has_all`.
    fn is_over(&self, has_all: bool) -> bool {
        self.has_closed && self.peer_has_closed && has_all
    }

    /// A segment with `bytes`, which are the last that it has to say if it `closes`.
    pub(crate) fn send(&mut self, bytes: &[u8], closes: bool) -> Vec<u8> {
        let control = if closes { TcpControl::Fin } else { TcpControl::Psh };
        let frame = self.segment(control, bytes);
        self.next = self.next + bytes.len() + usize::from(closes);
        self.has_closed |= closes;
        frame
    }

    /// A segment that says what came.
    pub(crate) fn acknowledge(&self) -> Vec<u8> {
        self.segment(TcpControl::None, &[])
    }

    fn segment(&self, control: TcpControl, payload: &[u8]) -> Vec<u8> {
        let (src_port, dst_port) = (self.own.port(), self.peer.port());
        let ack_number = Some(self.expected);
        let plain = TcpRepr { src_port, dst_port, control, ack_number, payload, ..empty() };
        let tcp = TcpRepr { seq_number: self.next, ..plain };
        packet::segment(self.side, *self.own.ip(), *self.peer.ip(), &tcp)
    }

    fn first(&mut self, ack_number: Option<TcpSeqNumber>) -> Vec<u8> {
        let (src_port, dst_port, control) = (self.own.port(), self.peer.port(), TcpControl::Syn);
        let max_seg_size = Some(MSS);
        let plain = TcpRepr { src_port, dst_port, control, ack_number, max_seg_size, ..empty() };
        let tcp = TcpRepr { seq_number: self.next, ..plain };
        self.next += 1;
        packet::segment(self.side, *self.own.ip(), *self.peer.ip(), &tcp)
    }
}

/// What a host says to a segment of a connection that it does not know: `tcp`, from `from` to `to`.
pub(crate) fn refuse(side: Side, from: Ipv4Addr, to: Ipv4Addr, tcp: &TcpRepr<'_>) -> Option<Vec<u8>> {
    if tcp.control == TcpControl::Rst {
        return None;
    }
    let (src_port, dst_port, control) = (tcp.dst_port, tcp.src_port, TcpControl::Rst);
    let (seq_number, ack_number) = match tcp.ack_number {
        Some(number) => (number, None),
        None => (TcpSeqNumber(0), Some(tcp.seq_number + tcp.segment_len())),
    };
    let answer = TcpRepr { src_port, dst_port, control, seq_number, ack_number, ..empty() };
    Some(packet::segment(side, to, from, &answer))
}

const fn empty() -> TcpRepr<'static> {
    TcpRepr {
        src_port: 0,
        dst_port: 0,
        control: TcpControl::None,
        seq_number: TcpSeqNumber(0),
        ack_number: None,
        window_len: WINDOW,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(end: &mut End, frame: &[u8]) -> Heard {
        packet::with_segment(frame, |_, _, tcp| end.take(tcp)).unwrap()
    }

    fn ends() -> (End, End) {
        let [client, server] =
            [(1, 1000), (2, 80)].map(|(host, port)| SocketAddrV4::new([10, 77, 1, host].into(), port));
        let (mut client_end, syn) = End::connect(Side::Public, client, server, u32::MAX);
        let accept = |tcp: &TcpRepr<'_>| End::accept(Side::Private, server, client, 7, tcp);
        let (mut server_end, answer) = packet::with_segment(&syn, |_, _, tcp| accept(tcp)).unwrap();
        assert_eq!(hear(&mut client_end, &answer), Heard::Opened);
        assert_eq!(hear(&mut client_end, &answer), Heard::Nothing, "once");
        let acknowledgement = client_end.acknowledge();
        assert_eq!(hear(&mut server_end, &acknowledgement), Heard::Opened);
        (client_end, server_end)
    }

    #[test]
    fn two_ends_open_talk_and_close() {
        let (mut client, mut server) = ends();
        let question = client.send(b"question", false);
        assert_eq!(hear(&mut server, &question), Heard::Bytes);
        assert_eq!(hear(&mut server, &question), Heard::Nothing, "what came is not taken twice");
        assert_eq!(server.received, b"question");
        let answer = server.send(b"answer", true);
        assert_eq!(hear(&mut client, &answer), Heard::Bytes);
        assert!(client.received == b"answer" && client.peer_has_closed);
        let end = client.send(b"", true);
        assert_eq!(hear(&mut server, &end), Heard::Bytes);
        assert_eq!(hear(&mut client, &server.acknowledge()), Heard::Over);
    }

    #[test]
    fn who_does_not_know_a_connection_says_so() {
        let (mut client, mut server) = ends();
        let frame = client.send(b"?", false);
        let refused = |side, frame: &[u8]| {
            packet::with_segment(frame, |from, to, tcp| refuse(side, from, to, tcp)).unwrap()
        };
        let reset = refused(Side::Private, &frame).unwrap();
        assert_eq!(hear(&mut client, &reset), Heard::Reset);
        assert_eq!(refused(Side::Public, &reset), None, "and that is the end");
        assert_eq!(hear(&mut server, &frame), Heard::Bytes);
    }
}
