//! An honest device, and second looks that would be answered falsely: the driver takes none, so it
//! does not notice.
//!
//! Without `EVENT_IDX` the used index and the device's wish lie in one word of 32 bits, and a call
//! looks at each half; hence with it.

use crate::support::*;
use paravane_net::{Burst, RxQueue, TxQueue};

#[test]
fn no_word_is_loaded_twice_in_a_call() {
    for offered in [0, MRG_RXBUF, MRG_RXBUF | OFFLOADS] {
        let is_mergeable = offered & MRG_RXBUF != 0;
        let buffer_bytes = if is_mergeable { 1024 } else { 2048 };
        let bench = Bench::with_buffers(BASIC | EVENT_IDX | offered, 1024, buffer_bytes);
        let mut up = bench.start();
        let loads = bench.plugged.changing_loads(&bench.platform, 1);
        let mut received = Burst::new();
        for turn in 0..200_u8 {
            let frames = turn % 9;
            for seed in 0..frames {
                // Of one buffer, or of two.
                let len = if is_mergeable && seed == 3 { 1500 } else { 60 + usize::from(turn) };
                assert!(bench.model().deliver(&bytes(len, seed)));
            }
            loads.next_call();
            assert_eq!(up.rx.receive(&mut received), Ok(frames.into()));
            while let Some(frame) = received.pop() {
                assert!(!content(&frame).is_empty());
            }
            let mut to_send = burst((0..frames).map(|seed| {
                let mut frame = bench.frame(&bytes(60, seed));
                if seed == 2 {
                    frame.set_next(bench.frame(&[7; 9]));
                }
                frame
            }));
            loads.next_call();
            assert_eq!(up.tx.transmit(&mut to_send), Ok(frames.into()));
            assert_eq!(bench.sent().len(), usize::from(frames));
            loads.next_call();
            assert_eq!(up.tx.reclaim(), Ok(frames.into()));
            for arm in [true, false] {
                loads.next_call();
                let _ = if arm { up.rx.arm().unwrap() } else { up.tx.arm().unwrap() };
            }
        }
        assert!(loads.loads() > 1000);
        assert_eq!((loads.again(), loads.changed()), (0, 0));
        bench.assert_clean();
    }
}
