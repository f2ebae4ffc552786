//! Segments for tests, made of plain bytes.

use paravane_net::Frame;
use smoltcp::wire::checksum;

use crate::packet::testing::{Carries, Said, Sample, plain, single};

/// A segment, as somebody else makes it.
#[derive(Clone, Debug)]
pub(super) struct Say {
    pub(super) sample: Sample,
    pub(super) acknowledgement: u32,
    pub(super) window: u16,
}

impl Say {
    pub(super) fn new(is_v6: bool, flags: u8, sequence: u32, acknowledgement: u32) -> Self {
        let sample = Sample {
            sequence,
            payload: Vec::new(),
            ports: [40_000, 80],
            ..plain(is_v6, Carries::Tcp(Vec::new(), flags))
        };
        Self { sample, acknowledgement, window: 0x1000 }
    }

    pub(super) fn options(mut self, mut options: Vec<u8>) -> Self {
        options.resize(options.len().next_multiple_of(4), 1);
        let Carries::Tcp(old, _) = &mut self.sample.carries else { panic!() };
        *old = options;
        self
    }

    pub(super) fn time(self, value: u32, echo: u32) -> Self {
        self.options([&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat())
    }

    pub(super) fn data(mut self, data: &[u8]) -> Self {
        self.sample.payload = data.to_vec();
        self
    }

    pub(super) fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    pub(super) fn bytes(&self, said: Said) -> Vec<u8> {
        let mut bytes = self.sample.bytes(said);
        let at = self.sample.transport_at();
        let end = bytes.len() - self.sample.padding;
        bytes[at + 8..at + 12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        bytes[at + 14..at + 16].copy_from_slice(&self.window.to_be_bytes());
        if matches!(said, Said::Good | Said::Unverified) {
            bytes[at + 16..at + 18].fill(0);
            let pseudo = self.sample.pseudo(end - at);
            let sum = !checksum::combine(&[pseudo, checksum::data(&bytes[at..end])]);
            bytes[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    pub(super) fn frame(&self, said: Said) -> Frame {
        let mut frame = single(&self.bytes(said));
        self.sample.say(said, &mut frame);
        frame
    }
}
