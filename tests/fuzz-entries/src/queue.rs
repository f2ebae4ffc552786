//! What any virtio device can do to its queues.

use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::model::virtio::{Class, Plugged};

use crate::input::Input;

/// A used element, if there is a used ring: a device that misheard may have none.
pub(crate) fn put<C: Class>(plugged: &Plugged<C>, queue: usize, id: u32, len_bytes: u32) {
    let mut model = plugged.lock();
    if model.queues[queue].is_enabled {
        model.put(queue, id, len_bytes);
    }
}

/// Shows the elements that were put, and `ahead` more.
pub(crate) fn show<C: Class>(plugged: &Plugged<C>, queue: usize, ahead: u16) {
    let mut model = plugged.lock();
    if model.queues[queue].is_enabled {
        model.show(queue, ahead);
    }
}

/// Noise over one of a queue's three areas. The device has the memory for itself after it overwrote
/// what its driver wrote: were it to follow that, it would go where no driver led it.
pub(crate) fn scribble<C: Class>(
    plugged: &Plugged<C>,
    platform: &MockPlatform,
    queue: usize,
    input: &mut Input<'_>,
) {
    let mut model = plugged.lock();
    // By nothing, but who has what cannot be told from here on.
    model.misplace(queue, 0);
    let queue = &mut model.queues[queue];
    let area = input.pick([2, 2, 1, 0]);
    let entries = u64::from(queue.entries);
    let len_bytes = if queue.is_packed() {
        [16 * entries, 4, 4][area]
    } else {
        [16 * entries, 6 + 2 * entries, 6 + 8 * entries][area]
    };
    let (offset, noise) = input.noise(len_bytes);
    if queue.is_enabled {
        queue.is_stopped |= area != 2;
        let at = queue.areas[area] + offset;
        drop(model);
        platform.memory().device_write(at, &noise).unwrap();
    }
}
