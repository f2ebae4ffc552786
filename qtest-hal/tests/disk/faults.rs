//! I/O errors, as QEMU's `blkdebug` makes them.

use std::collections::BTreeMap;

use paravane_block::{Completion, Operation, Request, RequestFault, RequestQueue as _, SectorRange};
use paravane_virtio::blk::Config;

use crate::{SECTOR, bytes_of, disk_by, next};

const SECTORS: usize = 1024;
const BAD_READ: u64 = 100;
const BAD_WRITE: u64 = 200;
const BAD_DISCARD: u64 = 304;

/// Errors at these places, and of the first flush.
fn drive() -> String {
    let mut drive = "format=raw,discard=unmap,file.driver=blkdebug,file.image.filename={file}".to_owned();
    let bad = [("read", BAD_READ), ("write", BAD_WRITE), ("discard", BAD_DISCARD)];
    for (number, (kind, sector)) in bad.into_iter().enumerate() {
        let rule = format!("file.inject-error.{number}");
        drive += &format!(",{rule}.event=none,{rule}.iotype={kind},{rule}.sector={sector},{rule}.errno=5");
    }
    drive + ",file.inject-error.3.event=none,file.inject-error.3.iotype=flush,file.inject-error.3.once=on"
}

#[test]
fn an_error_is_the_one_requests_that_met_it_and_nothing_else_is_lost() {
    let image: Vec<u8> = (0..SECTORS * SECTOR).map(|at| (at / SECTOR * 7).to_le_bytes()[0]).collect();
    // Merged requests would share their errors.
    let options = ",request-merging=off,queue-size=1024";
    let config = Config::default().with_entries(1024);
    let Some((_machine, mut up, pool)) = disk_by(&image, options, &drive(), &config) else { return };
    let data = |sectors: usize| {
        let mut buffer = pool.get().unwrap();
        assert!(buffer.set_len_bytes(sectors * SECTOR));
        vec![buffer]
    };
    let mut out = BTreeMap::new();
    let mut submit = |up: &mut crate::Up, request: Request<_>| {
        let token = out.len() as u64;
        out.insert(token, request.operation);
        up.queue.submit(request.with_token(token)).unwrap();
    };
    for sector in (BAD_READ - 40..BAD_READ + 40).step_by(4) {
        submit(&mut up, Request::read(sector, data(4)));
    }
    for sector in (BAD_WRITE - 40..BAD_WRITE + 40).step_by(4) {
        submit(&mut up, Request::write(sector, data(4)));
    }
    for sector in (BAD_DISCARD - 48..BAD_DISCARD + 48).step_by(8) {
        submit(&mut up, Request::discard(SectorRange { sector, sectors: 8 }));
    }
    let mut failed = Vec::new();
    while !out.is_empty() {
        let Completion { request, result } = next(&mut up);
        assert_eq!(out.remove(&request.token), Some(request.operation), "once, and as it was");
        match (request.operation, result) {
            (Operation::Read { sector }, Ok(())) => {
                let start = usize::try_from(sector).unwrap() * SECTOR;
                assert_eq!(bytes_of(&request.data.unwrap()), image[start..start + 4 * SECTOR]);
            }
            (_, Ok(())) => {}
            (operation, Err(error)) => {
                let expected = (operation, request.token, RequestFault::Io);
                assert_eq!((error.operation, error.token, error.fault), expected);
                failed.push(operation);
            }
        }
    }
    failed.sort_by_key(|operation| format!("{operation:?}"));
    let expected = [
        Operation::Discard { sector: BAD_DISCARD, sectors: 8 },
        Operation::Read { sector: BAD_READ },
        Operation::Write { sector: BAD_WRITE },
    ];
    assert_eq!(failed, expected);

    let mut flush = || {
        up.queue.submit(Request::flush().with_token(9)).unwrap();
        next(&mut up).result
    };
    let error = flush().unwrap_err();
    assert_eq!((error.operation, error.token, error.fault), (Operation::Flush, 9, RequestFault::Io));
    assert_eq!(flush(), Ok(()));
    assert_eq!(pool.free(), pool.buffers());
    up.stop(&mut |_, _| panic!("nothing was in flight")).unwrap();
}
