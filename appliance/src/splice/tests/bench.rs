//! One flow, to which segments come one by one.

use etherparse::{IpNumber, NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use paravane_net::Frame;

use super::super::*;
use super::segment::Say;
use super::world::{Plan, at, random};
use crate::flow::{self, Direction, Hit, Key, New, Segment, Table, Tag};
use crate::packet::Packet;
use crate::packet::edit::Ends;
use crate::packet::testing::{Said, bytes_of, pool};

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;
/// The client's number, our cookie, and the server's number.
pub(super) const C: u32 = 0xffff_fff0;
pub(super) const K: u32 = 5_000_000;
pub(super) const S: u32 = 900_000_000;
/// Clocks: the client's, ours, and the server's.
pub(super) const CLIENT_TIME: u32 = 1000;
pub(super) const OWN_TIME: u32 = 0xffff_ff00;
pub(super) const SERVER_TIME: u32 = 77;

pub(super) const CLIENT: Client = Client {
    isn: C,
    cookie: K,
    mss_bytes: 1300,
    window: 0x2000,
    scale: Some(3),
    sack: true,
    ecn: false,
    time: Some([CLIENT_TIME, OWN_TIME]),
    tries: 0,
    tried: [u16::MAX; 2],
};
pub(super) const SERVICE: Service = Service { offer: Offer { scale: 7, ..Plan::OFFER }, proxy: false };
pub(super) const PROXY: Service = Service { proxy: true, ..SERVICE };

/// A frame of ours, as another reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) to: Side,
    pub(super) flags: u8,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) window: u16,
    pub(super) options: Vec<TcpOptionElement>,
    pub(super) data: Vec<u8>,
    pub(super) ports: [u16; 2],
}

impl Sent {
    pub(super) fn of(to: Side, frame: &Frame) -> Self {
        let bytes = bytes_of(frame);
        super::is_right(&bytes);
        assert_eq!(bytes[..12], [0; 12]);
        let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!() };
        let Some(NetSlice::Ipv4(_) | NetSlice::Ipv6(_)) = &packet.net else { panic!() };
        assert_eq!(packet.payload_ip_number(), Some(IpNumber::TCP));
        Self {
            to,
            flags: tcp.slice()[13],
            sequence: tcp.sequence_number(),
            acknowledgement: tcp.acknowledgment_number(),
            window: tcp.window_size(),
            options: tcp
                .options_iterator()
                .map(Result::unwrap)
                .filter(|one| *one != TcpOptionElement::Noop)
                .collect(),
            data: tcp.payload().to_vec(),
            ports: [tcp.source_port(), tcp.destination_port()],
        }
    }

    pub(super) fn brief(&self) -> (Side, u8, u32, u32) {
        (self.to, self.flags, self.sequence, self.acknowledgement)
    }
}

trait PayloadIpNumber {
    fn payload_ip_number(&self) -> Option<IpNumber>;
}

impl PayloadIpNumber for SlicedPacket<'_> {
    fn payload_ip_number(&self) -> Option<IpNumber> {
        match self.net.as_ref()? {
            NetSlice::Ipv4(ip) => Some(ip.payload().ip_number),
            NetSlice::Ipv6(ip) => Some(ip.payload().ip_number),
            _ => None,
        }
    }
}

/// One flow, and what was done for it.
pub(super) struct Bench {
    pub(super) is_v6: bool,
    pub(super) flows: Table,
    pub(super) splices: Splices,
    pub(super) hit: Hit,
    pub(super) sent: Vec<Sent>,
    pub(super) done: Vec<&'static str>,
    pub(super) client: Option<Client>,
}

pub(super) fn ends(is_v6: bool) -> [Key; 2] {
    let v = |first: u8| -> core::net::IpAddr { if is_v6 { [first; 16].into() } else { [first; 4].into() } };
    let ends = |source, destination, [source_port, destination_port]: [u16; 2], zone| {
        Key::new(Ends { source, destination, source_port, destination_port }, 6, zone).unwrap()
    };
    [ends(v(0x20), v(0x30), [40_000, 80], 0), ends(v(0x40), v(0x50), [8080, 6000], 1)]
}

impl Bench {
    pub(super) fn new(is_v6: bool, frames: u32) -> Self {
        let mut flows = Table::new(flow::Limits::new(8), &mut random());
        flows.set_service(0, flow::Service { picks_up: true, ..flow::Service::GENERAL });
        let [original, reply] = ends(is_v6);
        let first = Segment::test(ACK, C.wrapping_add(1), K + 1, 0);
        let tag = Tag { service: 0, server: 0 };
        let new = New { original, reply, tag, direction: Direction::Original, segment: Some(&first) };
        let hit = flows.open(&new, at(0), &mut |_, _, _| {}).unwrap();
        let splices = Splices::new(8, Settings::GENERAL, pool(frames));
        Self { is_v6, flows, splices, hit, sent: Vec::new(), done: Vec::new(), client: None }
    }

    pub(super) fn begun(is_v6: bool, client: Client, service: &Service) -> Self {
        let mut bench = Self::new(is_v6, 16);
        bench.begin(&client, service);
        bench
    }

    /// One whose client's window is open.
    pub(super) fn open(service: &Service) -> Self {
        let mut bench = Self::begun(false, CLIENT, service);
        assert_eq!(bench.server(&syn_ack(service)), Verdict::Drop(Reason::Answer));
        if service.proxy {
            let ack = server(ACK, S + 1, C.wrapping_add(1)).time(SERVER_TIME, CLIENT_TIME);
            assert_eq!(bench.server(&ack), Verdict::Pass);
        }
        bench.sent.clear();
        bench
    }

    pub(super) fn act(&mut self, outputs: Vec<(u32, Output)>) {
        for (index, output) in outputs {
            assert_eq!(index, self.hit.index);
            match output {
                Output::Send(to, frame) => self.sent.push(Sent::of(to, &frame)),
                Output::Opened => {}
                Output::TryAnother(client) => {
                    self.done.push("another");
                    self.client = Some(client);
                }
                Output::GaveUp => self.done.push("gave up"),
                Output::Closed => self.done.push("closed"),
            }
        }
    }

    pub(super) fn begin(&mut self, client: &Client, service: &Service) {
        let mut outputs = Vec::new();
        let flow = self.flows.get(self.hit.index).unwrap();
        let out = &mut |index, output| outputs.push((index, output));
        assert!(self.splices.begin(self.hit.index, flow, client, service, at(0), out));
        self.act(outputs);
    }

    pub(super) fn take(&mut self, from: Side, say: &Say, said: Said) -> (Verdict, Vec<u8>) {
        let mut say = say.clone();
        let [original, reply] = ends(self.is_v6);
        let key = if from == Side::Client { original } else { reply };
        let address = |address: core::net::IpAddr| match address {
            core::net::IpAddr::V4(v4) => [v4.octets()[0]; 16],
            core::net::IpAddr::V6(v6) => v6.octets(),
        };
        say.sample.is_v6 = self.is_v6;
        (say.sample.source, say.sample.destination) = (address(key.source()), address(key.destination()));
        say.sample.ports = [key.source_port(), key.destination_port()];
        let mut frame = say.frame(said);
        let mut outputs = Vec::new();
        let packet = Packet::read(&frame).unwrap();
        let mut transport = packet.transport(&frame).unwrap().unwrap();
        let Self { flows, splices, hit, .. } = self;
        let flow = flows.get(hit.index).unwrap();
        let out = &mut |index, output| outputs.push((index, output));
        let (packet, transport, index) = (&packet, &mut transport, hit.index);
        let mut arrived = Arrived { index, flow, packet, transport, frame: &mut frame };
        let verdict = match from {
            Side::Client => splices.from_client(&mut arrived, at(0), out),
            Side::Server => splices.from_server(&mut arrived, at(0), out),
        };
        self.act(outputs);
        (verdict, bytes_of(&frame))
    }

    pub(super) fn client(&mut self, say: &Say) -> Verdict {
        self.take(Side::Client, say, Said::Unverified).0
    }

    pub(super) fn server(&mut self, say: &Say) -> Verdict {
        self.take(Side::Server, say, Said::Unverified).0
    }

    /// Passed on, as another reader sees it.
    pub(super) fn passed(&mut self, from: Side, say: &Say) -> Sent {
        let (verdict, mut bytes) = self.take(from, say, Said::Unverified);
        assert_eq!(verdict, Verdict::Pass);
        bytes[..12].fill(0);
        Sent::of(from, &crate::packet::testing::single(&bytes))
    }

    /// What is sent at that time; when it is to be called again.
    pub(super) fn poll(&mut self, millis: u64) -> Option<u64> {
        let mut outputs = Vec::new();
        let out = &mut |index, output| outputs.push((index, output));
        let next = self.splices.poll(&self.flows, at(millis), 8, out);
        self.act(outputs);
        next.map(|next| next.since(at(0)).as_millis() as u64)
    }

    pub(super) fn sent(&mut self) -> Vec<(Side, u8, u32, u32)> {
        core::mem::take(&mut self.sent).iter().map(Sent::brief).collect()
    }
}

pub(super) fn server(flags: u8, sequence: u32, acknowledgement: u32) -> Say {
    Say::new(false, flags, sequence, acknowledgement)
}

pub(super) fn client(flags: u8, sequence: u32, acknowledgement: u32) -> Say {
    Say::new(false, flags, sequence, acknowledgement)
}

/// As the server answers that does what was promised.
pub(super) fn syn_ack(service: &Service) -> Say {
    let gap = if service.proxy { 28 } else { 0 };
    let time = [&[8, 10][..], &SERVER_TIME.to_be_bytes(), &CLIENT_TIME.to_be_bytes()].concat();
    let options = [&[2, 4, 5, 0xb4, 4, 2][..], &time, &[1, 3, 3, 7]].concat();
    server(SYN | ACK, S, C.wrapping_sub(gap).wrapping_add(1)).options(options).window(0x8000)
}

pub(super) const C1: u32 = C.wrapping_add(1);
