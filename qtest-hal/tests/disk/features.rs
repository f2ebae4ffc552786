//! What QEMU's disk says about itself, and what it can be told.

use paravane_block::{
    Control as _, Events, RangeLimits, Request, RequestQueue as _, SectorRange, SubmitError,
};
use paravane_virtio::blk::{BlkFeatures, Config};

use crate::{SECTOR, SECTORS, bytes_of, disk, disk_by, next};

#[test]
fn a_disk_says_how_it_is_made() {
    let options = ",logical_block_size=1024,physical_block_size=4096,min_io_size=8192,opt_io_size=65536,\
                   discard_granularity=4096,max-discard-sectors=64,max-write-zeroes-sectors=128,\
                   cyls=16,heads=4,secs=32";
    let Some((_machine, up, _pool)) = disk(&[0; SECTORS * SECTOR], options) else { return };
    let info = up.control.info();
    assert_eq!((info.block_bytes, info.read_only, info.write_cache), (1024, false, true));
    assert_eq!(info.topology.physical_block_bytes(info.block_bytes), Some(4096));
    assert_eq!((info.topology.min_io_blocks, info.topology.optimal_io_blocks), (8, 64));
    assert_eq!(info.discard, RangeLimits::new(64, 8, 1024));
    assert_eq!(info.write_zeroes, RangeLimits::new(128, 0, 1024));
    assert!(info.zeroes_unmap && info.secure_erase.is_none() && !info.lifetime);
    let geometry = info.geometry.unwrap();
    assert_eq!((geometry.cylinders, geometry.heads, geometry.sectors), (16, 4, 32));
    up.stop(&mut |_, _| panic!("nothing was in flight")).unwrap();
}

#[test]
fn a_range_longer_than_the_disk_takes_is_zeroes_from_end_to_end() {
    let options = ",max-write-zeroes-sectors=24,max-discard-sectors=24";
    let Some((machine, mut up, _pool)) = disk(&[0x5a; SECTORS * SECTOR], options) else { return };
    for may_unmap in [false, true] {
        let range = SectorRange { sector: 5 + 200 * u64::from(may_unmap), sectors: 100 };
        up.queue.submit(Request::write_zeroes(range, may_unmap)).unwrap();
        next(&mut up).result.unwrap();
    }
    up.queue.submit(Request::flush()).unwrap();
    next(&mut up).result.unwrap();
    let bytes = machine.disk_bytes(0).unwrap();
    for (sector, bytes) in bytes.chunks(SECTOR).enumerate() {
        let zero = (5..105).contains(&sector) || (205..305).contains(&sector);
        assert_eq!(bytes, [if zero { 0 } else { 0x5a }; SECTOR], "sector {sector}");
    }
    up.stop(&mut |_, _| panic!("nothing was in flight")).unwrap();
}

#[test]
fn a_cache_is_switched_off_and_on() {
    let Some((_machine, mut up, _pool)) = disk(&[0; SECTORS * SECTOR], "") else { return };
    assert!(up.control.features().has(BlkFeatures::CONFIG_WCE));
    assert!(up.control.write_cache());
    assert!(up.control.set_write_cache(false) && !up.control.write_cache());
    assert!(up.control.set_write_cache(true) && up.control.write_cache());
    up.queue.submit(Request::flush()).unwrap();
    next(&mut up).result.unwrap();
    up.stop(&mut |_, _| panic!("nothing was in flight")).unwrap();
}

#[test]
fn a_read_only_disk_says_so() {
    let drive = "file={file},format=raw,readonly=on";
    let disk = disk_by(&[7; SECTORS * SECTOR], "", drive, &Config::default());
    let Some((_machine, mut up, pool)) = disk else { return };
    assert!(up.control.info().read_only);
    let data = vec![pool.get().unwrap()];
    let failed = up.queue.submit(Request::write(0, data)).unwrap_err();
    let (error, request) = failed.into_parts();
    assert_eq!(error, SubmitError::ReadOnly);
    up.queue.submit(Request::read(0, request.data.unwrap())).unwrap();
    let read = next(&mut up);
    read.result.unwrap();
    assert_eq!(bytes_of(&read.request.data.unwrap()), [7; 4096]);
    up.stop(&mut |_, _| panic!("nothing was in flight")).unwrap();
}

#[test]
fn a_disk_grows_while_it_runs() {
    let Some((machine, mut up, pool)) = disk(&[0; SECTORS * SECTOR], "") else { return };
    let end = SECTORS as u64;
    let read = |sector| {
        let mut buffer = pool.get().unwrap();
        assert!(buffer.set_len_bytes(SECTOR));
        Request::read(sector, vec![buffer])
    };
    assert!(up.queue.submit(read(end)).is_err());
    machine.monitor().command_line(&format!("block_resize d0 {}B", 2 * end * 512)).unwrap();
    let mut events = Events::empty();
    for _ in 0..1000 {
        events |= up.control.poll().unwrap();
        if !events.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!((events, up.control.capacity_sectors()), (Events::CAPACITY, 2 * end));
    up.queue.submit(read(end)).unwrap();
    next(&mut up).result.unwrap();
    up.stop(&mut |_, _| panic!("nothing was in flight")).unwrap();
}
