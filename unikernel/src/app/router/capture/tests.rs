use paravane_mock_hal::MockPlatform;
use paravane_net::{FrameLayout, FramePool};

use super::super::testing::udp_frame;
use super::*;

fn at(millis: u64) -> Instant {
    Instant::default().saturating_add(Duration::from_millis(millis))
}

fn capture(query: &str) -> Capture {
    let names = ["public", "private"];
    let query = Query::read(query, &names).unwrap();
    Capture::begin(query, &names, "paravane test", 1_000_000_000_000, at(0)).unwrap()
}

/// A burst of frames of UDP, to these ports, each of so many bytes in all.
fn burst(pool: &FramePool, ports: &[u16], bytes: usize) -> Burst {
    let mut burst = Burst::new();
    for port in ports {
        let mut frame = pool.get().unwrap();
        assert!(frame.append(&udp_frame(*port, bytes)));
        burst.push(frame);
    }
    burst
}

fn pool() -> FramePool {
    FramePool::new(MockPlatform::new(), FrameLayout::new(64)).unwrap()
}

/// The blocks of a file: kind and body.
fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut blocks = Vec::new();
    while !file.is_empty() {
        let (kind, len) = (word(file, 0), usize::try_from(word(file, 4)).unwrap());
        assert_eq!(len % 4, 0);
        assert_eq!(word(file, len - 4) as usize, len, "the length stands at both ends");
        blocks.push((kind, file[8..len - 4].to_vec()));
        file = &file[len..];
    }
    blocks
}

fn all(capture: &mut Capture, now: Instant) -> Vec<u8> {
    core::iter::from_fn(|| capture.piece(now)).flatten().collect()
}

#[test]
fn what_passes_is_in_the_file_with_its_time_and_way() {
    let (pool, mut capture) = (pool(), capture("filter=port+53&seconds=1"));
    capture.came(InterfaceId(0), &burst(&pool, &[53, 80, 53], 61), at(10));
    capture.goes(InterfaceId(1), &burst(&pool, &[53, 53], 200), 1, at(20));
    let blocks = blocks(&all(&mut capture, at(1000)));
    let kinds: Vec<_> = blocks.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [0x0a0d_0d0a, 1, 1, 6, 6, 6, 5, 5]);
    let words = |block: usize| -> Vec<u32> {
        blocks[block].1.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    };
    let first = words(3);
    let micros = u64::from(first[1]) << 32 | u64::from(first[2]);
    assert_eq!((first[0], micros, first[3], first[4]), (0, 1_000_000_010_000, 61, 61));
    assert_eq!(&blocks[3].1[20..81], &udp_frame(53, 61)[..]);
    assert_eq!(
        &blocks[3].1[84..],
        [2, 0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        "in, behind three bytes that fill a word"
    );
    let out = words(5);
    assert_eq!((out[0], out[3], out[4]), (1, 128, 200), "the first bytes, and how long it was");
    assert_eq!(&blocks[5].1[20 + 128..], [2, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(words(6)[..5], [0, words(6)[1], words(6)[2], 4 | 8 << 16, 2], "two were let through");
    assert!(capture.piece(at(1000)).is_none());
}

#[test]
fn it_ends_after_its_time_and_its_packets() {
    let pool = pool();
    let mut one = capture("packets=3&interface=private");
    one.came(InterfaceId(0), &burst(&pool, &[1], 60), at(0));
    one.came(InterfaceId(1), &burst(&pool, &[1, 2, 3, 4], 60), at(0));
    assert_eq!(blocks(&all(&mut one, at(1))).iter().filter(|(kind, _)| *kind == 6).count(), 3);
    let mut late = capture("seconds=2");
    late.came(InterfaceId(0), &burst(&pool, &[1], 60), at(2000));
    assert_eq!(blocks(&late.piece(at(1999)).unwrap()).len(), 3, "the file begins at once");
    assert_eq!(late.piece(at(1999)), Some(Vec::new()), "and waits");
    assert_eq!(blocks(&late.piece(at(2000)).unwrap()).len(), 2);
    assert_eq!(late.piece(at(2000)), None);
}

#[test]
fn what_does_not_fit_is_counted_and_nothing_grows() {
    let (pool, mut capture) = (pool(), capture("bytes=1536&packets=100000"));
    let room = capture.ring.capacity();
    let frames = burst(&pool, &[1; 32], 1000);
    for _ in 0..64 {
        capture.came(InterfaceId(0), &frames, at(1));
    }
    assert_eq!(capture.ring.capacity(), room);
    let fit = RING_BYTES / (1000 + pcapng::PACKET_BYTES);
    let file = blocks(&all(&mut capture, at(20_000)));
    assert_eq!(file.iter().filter(|(kind, _)| *kind == 6).count(), fit);
    let (_, statistics) = &file[file.len() - 2];
    assert_eq!(statistics[16..24], 2048_u64.to_le_bytes());
    assert_eq!(statistics[28..36], (2048 - fit as u64).to_le_bytes());
}

#[test]
fn what_is_asked_wrongly_is_said() {
    for (query, wrong) in [
        ("interface=admin", "there is no interface 'admin'; there are public, private"),
        ("seconds=301", "seconds is a number from 1 to 300"),
        ("packets=0", "packets is a number from 1 to 100000"),
        ("bytes=1537", "bytes is a number from 14 to 1536"),
        ("bytes=+20", "bytes is a number from 14 to 1536"),
        ("filter=tcp%2", "'filter': behind each '%'"),
        ("filter=foo", "filter:1: 'foo' is no word of a filter"),
        ("second=1", "no such parameter 'second'; there are: interface, filter"),
        ("seconds=1&seconds=2", "'seconds' is said twice"),
    ] {
        let reason = Query::read(query, &["public", "private"]).unwrap_err();
        assert!(reason.starts_with(wrong), "{query}: {reason}");
    }
    let encoded = Query::read("filter=host%2010.0.0.1+and%20port%2080", &[]).unwrap();
    assert_eq!(encoded.filter, filter::Filter::read("host 10.0.0.1 and port 80").unwrap());
}
