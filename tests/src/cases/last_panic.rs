//! The last panic, kept over a warm reset, told once, and believed only where it adds up.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::guest::{self, Plan};
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

const LINE_LIMIT: Duration = Duration::from_secs(20);
const PAGE_BYTES: u64 = 4096;
/// How long a record is at most, its head among it.
const RECORD_BYTES: usize = 1024;
const HEAD_BYTES: usize = 64;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("last-panic/found", |subject| found(subject, Machine::Q35)),
        Case::new("last-panic/found-on-microvm", |subject| found(subject, Machine::MicrovmAcpi)),
        Case::new("last-panic/damaged", damaged),
    ]
}

/// A record as `unikernel/src/last_panic/record.rs` describes it.
fn record(text: &str) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    bytes[..8].copy_from_slice(b"PVNPANIC");
    bytes[12..14].copy_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
    bytes[16..24].copy_from_slice(&61_002_003_u64.to_le_bytes());
    bytes[24] = 3;
    bytes[32..35].copy_from_slice(b"old");
    bytes.extend(text.as_bytes());
    let sum = bytes[12..]
        .iter()
        .fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    bytes.resize(RECORD_BYTES, 0);
    bytes
}

/// Where the page behind the image's segments is.
///
/// Spec: System V ABI, "Program Header".
fn page_of(image: &Path) -> Result<u64> {
    const LOAD: u64 = 1;
    let elf = fs::read(image)?;
    let word = |at: usize| -> Result<u64> {
        let bytes = elf.get(at..).and_then(|rest| rest.first_chunk::<8>());
        Ok(u64::from_le_bytes(*bytes.context("the image ends early")?))
    };
    let (start, count) = (usize::try_from(word(32)?)?, usize::from(elf[56]));
    let mut end = 0;
    for header in (0..count).map(|number| start + 56 * number) {
        if word(header)? & 0xffff_ffff == LOAD {
            end = end.max(word(header + 24)? + word(header + 40)?);
        }
    }
    ensure!(end > 0, "the image has no segments");
    Ok(end.next_multiple_of(PAGE_BYTES))
}

/// Boots with `bytes` in the page. What the status then says of the last panic.
fn boot_with(subject: Subject<'_>, machine: Machine, bytes: &[u8], said: &[&str]) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("page");
    fs::write(&file, bytes)?;
    let nic = if machine == Machine::Q35 { NicModel::Vmxnet3 } else { NicModel::VirtioMmio };
    let page = page_of(subject.image)?;
    let loader = format!("loader,file={},addr={page:#x},force-raw=on", file.display());
    let plan = Plan::new(machine, &[nic], "auto").extras(vec!["-device".into(), loader]);
    guest::run(subject.image, &plan, |guest| {
        guest.wait_line(0, said, LINE_LIMIT)?;
        let status: Value = serde_json::from_slice(&guest.get(0, "/status.json")?)?;
        Ok(status["last_panic"].clone())
    })
}

/// What an earlier boot kept is told, on the console and in the status.
fn found(subject: Subject<'_>, machine: Machine) -> Result<String> {
    let said = ["last panic: build old, 61.002 s after it began, number 3 in a row: panic at x.rs: ouch"];
    let told = boot_with(subject, machine, &record("panic at x.rs: ouch"), &said)?;
    let wanted =
        json!({ "message": "panic at x.rs: ouch", "build": "old", "uptime_us": 61_002_003, "in_a_row": 3 });
    ensure!(told == wanted, "the status has {told}");
    Ok("told, on the console and in the status".into())
}

/// What does not add up, or cannot be printed, is told by nobody.
fn damaged(subject: Subject<'_>) -> Result<String> {
    let (mut turned, mut long) = (record("ouch"), record("ouch"));
    turned[HEAD_BYTES + 1] ^= 4;
    long[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let strangers = [
        ("its bytes do not add up", turned),
        ("it says a length or a count that none has", long),
        ("its text is not printable", record("\u{1b}[2Jouch")),
    ];
    for (why, bytes) in &strangers {
        let said = ["last panic: something was kept, and is no record", why];
        let told = boot_with(subject, Machine::Q35, bytes, &said)?;
        ensure!(told.is_null(), "{why}, and the status has {told}");
    }
    Ok(format!("{} records that are none, and the machine serves", strangers.len()))
}
