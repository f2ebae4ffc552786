//! Which words a driver may look at twice in a call.

use paravane_mock_hal::ChangingLoads;
use paravane_mock_hal::model::virtio::net::TX;

use super::kind::Scene;
use super::place::Place;

/// Whether a driver may look again whether a descriptor of a packed ring was used: it does where
/// its ring is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    Once,
    Again,
}

/// What the driver looked at twice in a call may be nothing but an index or a wish: it looks at
/// those again on purpose, and each look stands for itself. Not what names a buffer, or says how
/// long it is.
pub fn assert_looks_once<P: Place>(scene: &Scene<P>, loads: &ChangingLoads, marks: Marks) {
    let model = scene.place.lock();
    let memory = scene.platform.memory();
    let mut others = Vec::new();
    for place in loads.again_at() {
        let Some(addr) = memory.dma_address_of(place) else { continue };
        let is_hint = model.queues.iter().enumerate().any(|(number, queue)| {
            let device_area = queue.areas[2];
            let event = device_area + 4 + 8 * u64::from(queue.entries);
            // Of a packed ring the device's wish, and whether a descriptor was used yet; of a split
            // one flags, index and event.
            let slot = addr.wrapping_sub(queue.areas[0]);
            // For one frame alone that was sent the length is loaded with that, which nobody asks
            // for.
            let is_mark = slot % 16 == 12 || slot % 16 == 8 && number == TX;
            let is_mark = is_mark && marks == Marks::Again && slot < 16 * u64::from(queue.entries);
            addr == device_area || if queue.is_packed() { is_mark } else { addr == event }
        });
        if !is_hint {
            let areas: Vec<_> = model.queues.iter().map(|queue| queue.areas).collect();
            others.push(format!("{addr:#x}, of queues at {areas:x?}"));
        }
    }
    assert!(others.is_empty(), "loaded twice in a call: {others:#?}");
}
