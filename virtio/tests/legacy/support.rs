//! What both kinds of place have in common.

use paravane_block::{BlockBuffer, BlockPool, Request};
use paravane_mock_hal::model::virtio::VirtioNet;
use paravane_mock_hal::model::virtio::net::bits;

pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub const FEATURES: u64 = bits::MAC | bits::STATUS | bits::MRG_RXBUF;
const SECTOR: usize = 512;

/// No rule was broken, and nothing refused.
pub fn assert_clean(model: &VirtioNet) {
    assert_eq!((&model.violations, &model.refusals), (&Vec::new(), &Vec::new()));
}

/// What is written to a sector, all of it `fill`, is read back, and a flush is done. Each request
/// is by `done`, which gives its data back.
pub fn writes_reads_flushes(
    pool: &BlockPool,
    fill: u8,
    mut done: impl FnMut(Request<BlockBuffer>) -> Option<BlockBuffer>,
) {
    let mut buffer = pool.get().unwrap();
    assert!(buffer.set_len_bytes(SECTOR) && buffer.copy_in(0, &[fill; SECTOR]));
    let mut buffer = done(Request::write(5, buffer)).unwrap();
    assert!(buffer.copy_in(0, &[0; SECTOR]));
    let buffer = done(Request::read(5, buffer)).unwrap();
    let mut read = [0; SECTOR];
    assert!(buffer.copy_out(0, &mut read));
    assert_eq!(read, [fill; SECTOR]);
    assert!(done(Request::flush()).is_none());
}
