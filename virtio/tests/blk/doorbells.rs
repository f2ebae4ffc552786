//! Doorbells that say where the queue goes on. The model holds each against what is in the ring.

use paravane_block::{Request, RequestQueue as _};
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::virtio::{Layout, Personality, Place, feature};
use paravane_virtio::SetUpError;
use paravane_virtio::blk::{Config, StartError};
use paravane_virtio::feature::RingFeatures;
use paravane_virtio::transport::QueueError;

use crate::support::{Bench, Data, SECTOR, completed, stop};

fn benches() -> [Bench; 2] {
    [Bench::new(), Bench::packed()].map(|bench| {
        let offered = bench.model().offered() | feature::NOTIFICATION_DATA;
        bench.model().offer(offered);
        bench
    })
}

#[test]
fn a_doorbell_says_where_the_queue_goes_on() {
    for bench in benches() {
        let mut up = bench.start();
        assert!(up.control.features().has_ring(RingFeatures::NOTIFICATION_DATA));
        // Some laps, with batches that do not divide them.
        for round in 0..60 {
            let count = 1 + round % 5;
            for token in 0..count {
                let pieces = vec![SECTOR; 1 + token % 8];
                up.queue.submit(Request::read(0, bench.data(&pieces))).unwrap();
            }
            up.queue.publish();
            for _ in 0..count {
                completed(&mut up).result.unwrap();
            }
        }
        assert_eq!(up.queue.counters().doorbells, 60);
        assert_eq!(bench.model().doorbells.len(), 60);
        stop(up);
        bench.assert_at_rest();
    }
}

#[test]
fn a_reminder_says_what_the_doorbell_said() {
    for bench in benches() {
        bench.model().class.serves_doorbells = false;
        let mut up = bench.start();
        up.queue.submit(Request::read(0, bench.data(&[SECTOR]))).unwrap();
        up.queue.publish();
        up.queue.remind();
        assert_eq!(bench.model().doorbells.len(), 2);
        bench.model().tick();
        completed(&mut up).result.unwrap();
        stop(up);
        bench.assert_at_rest();
    }
}

/// A device that offers the data has 32 bits of doorbell for each queue, or is not started.
#[test]
fn a_doorbell_that_is_too_short_for_the_data_is_refused() {
    let mut personality = Personality::qemu();
    let notify = personality.layout.notify;
    personality.layout = Layout { notify: Place { len_bytes: 2, ..notify }, ..personality.layout };
    let bench = Bench::of(paravane_mock_hal::model::virtio::Blk::new(8), personality);
    let start = || bench.device().start::<Data>(&Config::default(), Interrupts::POLLING);
    assert!(start().is_ok_and(|up| stop(up) == 0));
    let offered = bench.model().offered() | feature::NOTIFICATION_DATA;
    bench.model().offer(offered);
    let error = start().unwrap_err().into_error();
    let outside = QueueError::NoDoorbell { queue: 0, offset_bytes: 0, len_bytes: 2 };
    assert_eq!(error, StartError::SetUp(SetUpError::Queue(outside)));
    bench.assert_at_rest();
}
