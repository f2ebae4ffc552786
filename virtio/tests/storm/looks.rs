//! Which words a driver may look at twice in a call.

use paravane_mock_hal::model::virtio::Queue;
use paravane_mock_hal::model::virtio::net::TX;
use paravane_mock_hal::{ChangingLoads, MockPlatform};

use super::kind::Scene;
use super::place::Place;

/// Whether a driver may look again whether a descriptor of a packed ring was used: it does where
/// its ring is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    Once,
    Again,
}

/// Where a queue is, and what it is like.
#[derive(Clone, Copy)]
pub struct Shape {
    areas: [u64; 3],
    entries: u16,
    is_packed: bool,
}

/// The queues as they are now: one that the device gives up later is forgotten there, and not here.
pub fn shapes<P: Place>(scene: &Scene<P>) -> Vec<Shape> {
    let model = scene.place.lock();
    let shape = |queue: &Queue| {
        let (areas, entries, is_packed) = (queue.areas, queue.entries, queue.is_packed());
        Shape { areas, entries, is_packed }
    };
    model.queues.iter().map(shape).collect()
}

/// What the driver looked at twice in a call may be nothing but an index or a wish: it looks at
/// those again on purpose, and each look stands for itself. Not what names a buffer, or says how
/// long it is.
pub fn assert_looks_once(platform: &MockPlatform, shapes: &[Shape], loads: &ChangingLoads, marks: Marks) {
    let mut others = Vec::new();
    for place in loads.again_at() {
        let Some(addr) = platform.memory().dma_address_of(place) else { continue };
        let is_hint = shapes.iter().enumerate().any(|(number, queue)| {
            let device_area = queue.areas[2];
            let event = device_area + 4 + 8 * u64::from(queue.entries);
            // Of a packed ring the device's wish, and whether a descriptor was used yet; of a split
            // one flags, index and event.
            let slot = addr.wrapping_sub(queue.areas[0]);
            // For one frame alone that was sent the length is loaded with that, which nobody asks
            // for.
            let is_mark = slot % 16 == 12 || slot % 16 == 8 && number == TX;
            let is_mark = is_mark && marks == Marks::Again && slot < 16 * u64::from(queue.entries);
            addr == device_area || if queue.is_packed { is_mark } else { addr == event }
        });
        if !is_hint {
            let areas: Vec<_> = shapes.iter().map(|queue| queue.areas).collect();
            others.push(format!("{addr:#x}, of queues at {areas:x?}"));
        }
    }
    assert!(others.is_empty(), "loaded twice in a call: {others:#?}");
}
