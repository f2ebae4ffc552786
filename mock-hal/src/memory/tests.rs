use std::ptr::NonNull;

use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, DeviceTag, Dma, DmaBox, DmaErrorReason, DmaRequest, Mapped, Quiet};

use super::*;

fn device(memory: &Memory) -> DeviceDma<Memory> {
    DeviceDma::new(memory.clone(), DeviceTag::unique(), 64)
}

fn quiet(of: &DeviceDma<Memory>) -> Quiet<'_> {
    // SAFETY: no device runs in these tests.
    unsafe { Quiet::vouch(of.device()) }
}

fn strict(change: impl FnOnce(&mut Settings)) -> Memory {
    let mut settings = Settings { panics: true, leaks: Some(0), ..Settings::default() };
    change(&mut settings);
    Memory::with_settings(settings)
}

#[test]
fn both_sides_see_the_same_bytes() {
    let memory = Memory::default();
    let mut shared = DmaBox::<[u8; 8], _>::zeroed(&device(&memory), Align::new(512)).unwrap();
    let addr = shared.dma_addr().get();
    assert!(addr > u64::from(u32::MAX), "the upper half of an address is in use");
    shared.write(b"to it...");
    assert_eq!(memory.device_get(addr), Ok(*b"to it..."));
    memory.device_write(addr + 4, b"back").unwrap();
    assert_eq!(&shared.read(), b"to iback");
}

#[test]
fn an_access_past_the_end_is_refused_and_written_down() {
    let memory = Memory::default();
    let shared = DmaBox::<[u8; 8], _>::zeroed(&device(&memory), Align::BYTE).unwrap();
    let addr = shared.dma_addr().get();
    assert_eq!(memory.device_get::<8>(addr + 4).unwrap_err().kind, FaultKind::Overrun);
    assert_eq!(memory.device_write(addr + 8, &[0]).unwrap_err().kind, FaultKind::Unmapped);
    assert_eq!(memory.faults().len(), 2);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no stack to look for a site in")]
// The address begins with the domain's number.
#[should_panic(expected = "34000004, but it runs past the end: \
                           offset 4 of region #1 (8 bytes, coherent, owned by both; asked for by paravane_mock_hal::memory::tests::")]
fn an_overrun_names_region_offset_owner_and_site() {
    let memory = strict(|_| ());
    let shared = DmaBox::<[u8; 8], _>::zeroed(&device(&memory), Align::BYTE).unwrap();
    let _ = memory.device_get::<8>(shared.dma_addr().get() + 4);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no stack to look for a site in")]
fn freed_memory_is_out_of_reach() {
    let memory = Memory::default();
    let of = device(&memory);
    let shared = DmaBox::<u64, _>::zeroed(&of, Align::BYTE).unwrap();
    let addr = shared.dma_addr().get();
    assert_eq!((memory.regions(), memory.bytes()), (1, 8));
    assert!(shared.free(&quiet(&of)).is_ok());
    assert_eq!((memory.regions(), memory.bytes()), (0, 0));
    let fault = memory.device_get::<1>(addr).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Gone);
    assert!(
        fault.report.contains("owned by nobody, given back by paravane_mock_hal::memory::tests::"),
        "{fault}"
    );
}

#[test]
fn a_write_to_freed_memory_is_seen_at_the_end() {
    let memory = Memory::default();
    let request = DmaRequest::new(std::num::NonZeroUsize::new(16).unwrap(), Align::BYTE);
    let region = memory.alloc(request).unwrap();
    let stale = region.cpu();
    // SAFETY: no device knows it.
    unsafe { memory.free(region) };
    let stale = stale.as_ptr().wrapping_add(3);
    // SAFETY: none by the book, which is the point; the memory is kept by the domain, so nothing
    // else is hit.
    unsafe { stale.write(1) };
    let verdict = memory.verdict();
    assert!(verdict[0].starts_with("written after it was given back: offset 3 of region #1"), "{verdict:?}");
}

#[test]
fn a_write_past_either_end_is_seen_when_freed() {
    for (offset, said) in [(-1_isize, "offset -1 of"), (16, "offset 16 of")] {
        let memory = Memory::default();
        let request = DmaRequest::new(std::num::NonZeroUsize::new(16).unwrap(), Align::new(256));
        let region = memory.alloc(request).unwrap();
        let outside = region.cpu().as_ptr().wrapping_offset(offset);
        // SAFETY: guard bytes are memory of the domain; as above.
        unsafe { outside.write(1) };
        // SAFETY: no device knows it.
        unsafe { memory.free(region) };
        assert!(memory.violations()[0].contains(said), "{:?}", memory.violations());
    }
}

#[test]
fn a_mapping_has_a_direction() {
    let memory = Memory::default();
    let sent = Mapped::new(&device(&memory), vec![1_u8, 2, 3], Direction::ToDevice).ok().unwrap();
    assert_eq!(memory.device_get(sent.dma_addr().get()), Ok([1, 2, 3]));
    let refused = memory.device_write(sent.dma_addr().get(), &[9]).unwrap_err();
    assert_eq!(refused.kind, FaultKind::Direction);
    assert_eq!(memory.mappings(), 1);
}

#[test]
#[should_panic(
    expected = "that is the wrong direction: offset 0 of mapping #1 (3 bytes, ToDevice, owned by the device;"
)]
fn a_wrong_direction_fails_the_test() {
    let memory = strict(|_| ());
    let sent = Mapped::new(&device(&memory), vec![1_u8, 2, 3], Direction::ToDevice).ok().unwrap();
    let _ = memory.device_write(sent.dma_addr().get(), &[9]);
}

#[test]
fn a_bounced_mapping_is_a_copy_and_poisoned_meanwhile() {
    let memory = strict(|settings| settings.bounces = true);
    let mut own = *b"before";
    let bytes = NonNull::from(&mut own[..]);
    // SAFETY: `own` stays until `unmap`.
    let mapping = unsafe { memory.map(bytes, Direction::Both) }.unwrap();
    // SAFETY: `own` is alive.
    assert_eq!(unsafe { bytes.cast::<[u8; 6]>().read() }, [POISON; 6], "the device has it");
    assert_eq!(memory.device_get(mapping.dma().get()), Ok(*b"before"));
    memory.device_write(mapping.dma().get(), b"after!").unwrap();
    // SAFETY: mapped here, and there is no device.
    unsafe { memory.unmap(mapping) };
    assert_eq!(&own, b"after!");
}

#[test]
fn allocations_fail_when_told() {
    let memory = Memory::default();
    memory.limit_allocations(Some(1));
    assert!(DmaBox::<u64, _>::zeroed(&device(&memory), Align::BYTE).is_ok());
    assert!(DmaBox::<u64, _>::zeroed(&device(&memory), Align::BYTE).is_err());
    let second = strict(|settings| settings.failing_allocations = [2].into());
    let made = |_| DmaBox::<u64, _>::zeroed(&device(&second), Align::BYTE).is_ok();
    assert_eq!([0, 1, 2].map(made), [true, false, true]);
}

#[test]
fn limits_are_kept_and_told() {
    let memory = strict(|settings| {
        settings.max_segment_bytes = 64;
        settings.mapping_granule = Align::PAGE;
        settings.address_bits = 24;
    });
    assert_eq!(memory.limits().address_bits, 24);
    let error = DmaBox::<[u8; 65], _>::zeroed(&device(&memory), Align::BYTE).err().unwrap();
    assert_eq!(error.reason, DmaErrorReason::TooLong { max_segment_bytes: 64 });
    let (error, _) =
        Mapped::new(&device(&memory), vec![0_u8; 3], Direction::Both).err().unwrap().into_parts();
    assert_eq!(error.reason, DmaErrorReason::Alignment { align: Align::PAGE });
    let region = memory.alloc(DmaRequest::new(std::num::NonZeroUsize::MIN, Align::BYTE)).unwrap();
    assert!(region.dma().get() < 1 << 24);
    // SAFETY: no device knows it.
    unsafe { memory.free(region) };
}

#[test]
fn narrow_devices_get_narrow_addresses() {
    let memory = Memory::default();
    let of = DeviceDma::new(memory, DeviceTag::unique(), 32);
    let shared = DmaBox::<u64, _>::zeroed(&of, Align::PAGE).unwrap();
    assert_eq!(shared.dma_addr().high(), 0);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no stack to look for a site in")]
#[should_panic(
    expected = "1 pieces of memory are out, 0 expected\nout: region #1 (8 bytes, coherent, owned by both; \
                           asked for by paravane_mock_hal::memory::tests::"
)]
fn a_leak_fails_the_test() {
    let memory = strict(|_| ());
    // Its address is out, so dropping it parks it.
    let _ = DmaBox::<u64, _>::zeroed(&device(&memory), Align::BYTE).unwrap().dma_addr();
}

#[test]
fn a_leak_may_be_expected() {
    let memory = strict(|_| ());
    memory.expect_leak(Some(1));
    let _ = DmaBox::<u64, _>::zeroed(&device(&memory), Align::BYTE).unwrap().dma_addr();
}

#[test]
fn memory_that_a_device_has_cannot_be_freed_or_given_twice() {
    let memory = Memory::default();
    let of = device(&memory);
    let shared = DmaBox::<[u8; 64], _>::zeroed(&of, Align::BYTE).unwrap();
    let addr = shared.dma_addr().get();
    let lease = |at, len_bytes| Lease::new(at, len_bytes, Direction::FromDevice, &"nic".into());
    let first = memory.take_lease(lease(addr, 32)).unwrap();
    assert_eq!(shared.read()[..33], [&[POISON; 32][..], &[0]].concat(), "the device's, so not to be read");
    memory.take_lease(lease(addr + 16, 32)).unwrap();
    assert!(memory.violations()[0].starts_with("given to device `nic` while it is out already: 32 bytes"));
    memory.end_lease(&first);
    assert!(shared.free(&quiet(&of)).is_ok());
    let said = &memory.violations()[1];
    assert!(said.starts_with("given back while the device has it: 32 bytes at dma:"), "{said}");
}

#[test]
fn bytes_that_a_device_reads_are_left_alone_until_it_is_done() {
    let memory = Memory::default();
    let of = device(&memory);
    let mut shared = DmaBox::<[u8; 64], _>::zeroed(&of, Align::BYTE).unwrap();
    let addr = shared.dma_addr().get();
    let take = || memory.take_lease(Lease::new(addr, 33, Direction::ToDevice, &"nic".into())).unwrap();
    let first = take();
    memory.end_lease(&first);
    assert_eq!(memory.violations(), [""; 0]);
    let second = take();
    let mut bytes = [0; 64];
    bytes[32] = 1;
    shared.write(&bytes);
    memory.end_lease(&second);
    let said = &memory.violations()[0];
    assert!(said.starts_with("changed while the device had it: 33 bytes at dma:"), "{said}");
    assert!(shared.free(&quiet(&of)).is_ok());
}

/// A device that was misled may still have a buffer that its driver gave to another use.
#[test]
fn what_a_device_writes_over_what_it_has_to_read_is_not_the_drivers_doing() {
    let memory = Memory::default();
    let of = device(&memory);
    let mut shared = DmaBox::<[u8; 64], _>::zeroed(&of, Align::BYTE).unwrap();
    let addr = shared.dma_addr().get();
    for (driver_writes, complaints) in [(false, 0), (true, 1)] {
        let lease = Lease::new(addr + 8, 32, Direction::ToDevice, &"nic".into());
        let lease = memory.take_lease(lease).unwrap();
        memory.write_as("nic", addr, &[7; 20]).unwrap();
        if driver_writes {
            shared.write(&[9; 64]);
        }
        memory.end_lease(&lease);
        assert_eq!(memory.violations().len(), complaints);
    }
    assert!(shared.free(&quiet(&of)).is_ok());
}

/// What `docs/testing-your-driver.md` says of leases that the tests above do not show.
#[test]
fn leases_are_by_name_and_end_when_they_are_ended() {
    let memory = Memory::default();
    let of = device(&memory);
    let mut shared = DmaBox::<[u8; 64], _>::zeroed(&of, Align::BYTE).unwrap();
    let addr = shared.dma_addr().get();
    let [nic, disk] = ["nic", "disk"].map(|name| crate::DeviceMemory::new(&memory, name));
    drop(nic.take(addr, 16, Direction::ToDevice).unwrap());
    drop(nic.take(addr + 16, 16, Direction::Both).unwrap());
    let of_disk = disk.take(addr + 32, 16, Direction::FromDevice).unwrap();
    assert_eq!(shared.read()[16..33], [&[0; 16][..], &[POISON]].concat(), "both may write: not poisoned");
    drop(disk.take(addr, 1, Direction::ToDevice).unwrap());
    let said = &memory.violations()[0];
    assert!(
        said.starts_with("given to device `disk` while it is out already"),
        "though it was dropped: {said}"
    );
    shared.write(&[7; 64]);
    nic.give_all_back();
    disk.give_back(&of_disk);
    assert_eq!(
        memory.violations().len(),
        1,
        "a reset looks at no contents, and nobody's at what he may write"
    );
    disk.give_all_back();
    assert!(shared.free(&quiet(&of)).is_ok());
    assert_eq!(memory.violations().len(), 1, "no one has it any more");
}

#[test]
fn memory_that_a_device_has_is_not_to_be_unmapped() {
    let memory = Memory::default();
    let of = device(&memory);
    let mapped = Mapped::new(&of, vec![0_u8; 16], Direction::ToDevice).ok().unwrap();
    let _ = crate::DeviceMemory::new(&memory, "nic").take(mapped.dma_addr().get(), 16, Direction::ToDevice);
    assert!(mapped.unmap(&quiet(&of)).is_ok());
    assert!(memory.violations()[0].starts_with("given back while the device has it: 16 bytes"));
}

#[test]
fn what_is_mapped_for_the_device_to_write_is_poisoned() {
    let memory = Memory::default();
    let of = device(&memory);
    for (direction, seen) in [(Direction::FromDevice, POISON), (Direction::Both, 7), (Direction::ToDevice, 7)]
    {
        let mapped = Mapped::new(&of, vec![7_u8; 16], direction).ok().unwrap();
        let back = mapped.unmap(&quiet(&of)).ok().unwrap();
        assert_eq!(back, [seen; 16], "{direction:?}");
    }
}

#[test]
fn freed_twice_is_said() {
    let memory = strict(|_| ());
    let elsewhere = Memory::default();
    let region = elsewhere.alloc(DmaRequest::new(std::num::NonZeroUsize::MIN, Align::BYTE)).unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // SAFETY: none: the region is another domain's. The call notices.
        unsafe { memory.free(region) };
    }));
    let said = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("is no region of this domain"), "{said}");
    memory.forgive();
}

#[test]
fn writes_by_devices_can_be_watched() {
    let memory = Memory::default();
    let shared = DmaBox::<[u8; 8], _>::zeroed(&device(&memory), Align::BYTE).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    memory.observe(Box::new(move |write| {
        log.lock().unwrap().push((write.number, write.offset_bytes, write.bytes.to_vec()));
    }));
    memory.device_write(shared.dma_addr().get() + 2, b"hi").unwrap();
    assert_eq!(*seen.lock().unwrap(), [(1, 2, b"hi".to_vec())]);
}
