//! The mirror, played: written from what it is, not from its driver.

use paravane_mock_hal::model::virtio::{Class, Virtio};

/// Its only feature bit.
pub(super) const SAYS_MAX: u64 = 1;

/// What a mirror has that others have not.
pub(super) struct Mirror {
    /// Its own features.
    pub(super) features: u64,
    /// How long a text can be, if it says so.
    pub(super) max_bytes: u32,
    /// How many texts it has mirrored since it was reset.
    pub(super) mirrored: usize,
}

impl Class for Mirror {
    const TYPE: u16 = 63;
    const PCI_CLASS: u8 = 0xff;
    const PLAYED: u64 = SAYS_MAX;

    fn queues(&self) -> u16 {
        1
    }

    fn features(&self) -> u64 {
        self.features
    }

    /// As long as what is offered needs.
    fn config(&self) -> Vec<u8> {
        if self.features & SAYS_MAX == 0 { Vec::new() } else { self.max_bytes.to_le_bytes().to_vec() }
    }

    fn gate(&self, offset_bytes: usize) -> Option<u64> {
        (offset_bytes < 4).then_some(SAYS_MAX)
    }

    fn notified(device: &mut Virtio<Self>, queue: u16) {
        device.answer_all(queue.into(), mirror);
    }

    fn tick(device: &mut Virtio<Self>) {
        device.answer_all(0, mirror);
    }

    fn reset(&mut self) {
        self.mirrored = 0;
    }
}

/// Holds a request against the rules, and answers it.
fn mirror(device: &mut Virtio<Mirror>, text: &[u8], room: usize) -> Vec<u8> {
    if room != text.len() {
        device.ring_violation(0, format!("room for {room} bytes behind a text of {}", text.len()));
    }
    if device.has(SAYS_MAX) && text.len() > device.class.max_bytes as usize {
        device.ring_violation(0, format!("a text of {} bytes", text.len()));
    }
    device.class.mirrored += 1;
    text.iter().rev().copied().collect()
}
