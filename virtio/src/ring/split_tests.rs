use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, DeviceTag, DmaBox};
use paravane_mock_hal::MockPlatform;

use super::*;

/// A lap that was named is left as it is; not so once a chain takes another one's place in it.
#[test]
fn a_chain_out_of_turn_is_named_though_the_lap_is() {
    let of = DeviceDma::new(MockPlatform::builder().allow_leaks().build(), DeviceTag::unique(), 64);
    let mut ring = SplitRing::new(&of, QueueSize::new(4).unwrap(), false).unwrap();
    let memory = DmaBox::<u64, _>::zeroed(&of, Align::new(8)).unwrap();
    let segment = Segment { addr: memory.dma_addr(), len_bytes: 8, writable: true };
    (0..4).for_each(|number| ring.post(number, segment));
    ring.took(4, 4);
    let named = |ring: &SplitRing<_>| -> Vec<_> {
        ring.memory().avail_run(0, 4).iter().map(|place| place.load()).collect()
    };
    assert_eq!(named(&ring), [0, 1, 2, 3]);
    for number in [2, 0, 1, 3] {
        ring.post(number, segment);
    }
    assert_eq!(named(&ring), [2, 0, 1, 3]);
}
