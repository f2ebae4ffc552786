//! A FAT disk under the image: files fetched and stored over HTTP, and what the disk holds when
//! QEMU is gone.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::json;

use crate::fat::{self, Disk, Place};
use crate::guest::{self, Guest, Plan};
use crate::http::{Body, Request};
use crate::image;
use crate::noise::Noise;
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

/// What FAT, a file's words and a second driver add to the image that serves NICs alone.
const MAX_IMAGE_BYTES: u64 = 862 * 1024;
/// A file of some MiB, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
const LINE_LIMIT: Duration = Duration::from_secs(20);
/// A client that stops in the middle waits so long for an answer that does not come.
const CUT_LIMIT: Duration = Duration::from_secs(3);
/// No multiple of anything that it is moved by.
const LARGE: usize = 5_000_001;

/// Where the disk is.
const PCI: &str = "virtio-blk-pci,disable-legacy=on,disable-modern=off,addr=0x10";
const MMIO: &str = "virtio-blk-device,bus=virtio-mmio-bus.5";

/// The image is built once, whichever case comes first.
fn files_image() -> Result<PathBuf> {
    static IMAGE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = IMAGE.get_or_init(|| image::build(image::FILES).map_err(|error| format!("{error:#}")));
    built.clone().map_err(|error| anyhow!(error))
}

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, body: fn(Subject<'_>) -> Result<String>| {
        Case::new(format!("files/{name}"), move |_| body(Subject { image: &files_image()? }))
    };
    vec![
        case("image-size", |subject| super::boot::image_size(subject.image, MAX_IMAGE_BYTES)),
        case("q35/mbr", |subject| whole_life(subject, Machine::Q35, Place::Mbr, 48)),
        case("microvm/whole-disk", |subject| whole_life(subject, Machine::Microvm, Place::Whole, 160)),
        case("q35/configured", configured),
        case("q35/killed-while-storing", killed_while_storing),
        case("q35/short-disk", short_disk),
        case("q35/torn-fat", torn_fat),
        case("q35/full-disk", full_disk),
        case("q35/read-only-disk", read_only_disk),
        case("q35/stuck-disk", stuck_disk),
    ]
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    // Endless.
    let _ = Noise::new(seed).read_exact(&mut bytes);
    bytes
}

/// A q35 with a NIC and `disk`.
fn plan(disk: &Disk, drive: &str) -> Plan {
    Plan::new(Machine::Q35, &[NicModel::Vmxnet3], "auto").extras(fat::options(&disk.path(), PCI, drive))
}

/// `GET /files/name`. The status, and the body.
fn fetch(guest: &mut Guest, name: &str) -> Result<(u16, Vec<u8>)> {
    let mut body = Vec::new();
    let target = format!("/files/{name}");
    let response = guest.request(0, Request::new("GET", &target), &mut body, LIMIT)?;
    Ok((response.status, body))
}

/// `PUT /files/name`. The status.
fn store(guest: &mut Guest, name: &str, bytes: &[u8]) -> Result<u16> {
    let target = format!("/files/{name}");
    let body = Body::Sized { source: &mut &*bytes, len_bytes: bytes.len() as u64 };
    let request = Request::new("PUT", &target).with_body(body).expecting_continue();
    let mut client = guest.client(0, LIMIT)?;
    Ok(client.send(request, &mut io::sink())?.status)
}

fn expect_file(guest: &mut Guest, name: &str, wanted: &[u8]) -> Result<()> {
    let (status, body) = fetch(guest, name)?;
    ensure!(status == 200, "GET {name}: status {status}: {:?}", String::from_utf8_lossy(&body));
    ensure!(body == wanted, "GET {name}: {} bytes that are not those of the disk", body.len());
    Ok(())
}

fn expect_status(what: &str, status: u16, wanted: u16) -> Result<()> {
    ensure!(status == wanted, "{what}: expected status {wanted}, got {status}");
    Ok(())
}

/// What does not need the disk works on.
fn expect_others_serve(guest: &mut Guest) -> Result<()> {
    guest.get(0, "/")?;
    guest.download(0, 100_000, Duration::from_secs(30)).map(drop)
}

fn expect_on_disk(disk: &Disk, name: &str, wanted: &[u8]) -> Result<()> {
    let found = disk.read(name)?.with_context(|| format!("{name} is not on the disk"))?;
    ensure!(found == wanted, "{name} on the disk is not what was stored");
    Ok(())
}

fn whole_life(subject: Subject<'_>, machine: Machine, place: Place, mib: u64) -> Result<String> {
    let (large, small) = (noise(1, LARGE), noise(2, 700));
    let disk = Disk::make(
        place,
        mib,
        &[("large.bin", &large), ("A long name.html", &small), ("old.bin", &large[..9999])],
    )?;
    let (nic, device) =
        if machine == Machine::Q35 { (NicModel::Vmxnet3, PCI) } else { (NicModel::VirtioMmio, MMIO) };
    let plan = Plan::new(machine, &[nic], "auto").extras(fat::options(&disk.path(), device, ""));
    let (stored, new) = (noise(3, LARGE / 2), noise(4, 3_000_003));
    let start = Instant::now();
    guest::run(subject.image, &plan, |guest| {
        expect_file(guest, "large.bin", &large)?;
        let fetched = start.elapsed();
        expect_file(guest, "a%20long%20NAME.html", &small)?;
        expect_status("GET of what is not there", fetch(guest, "none.bin")?.0, 404)?;
        expect_status("GET of a folder above", fetch(guest, "..%2fx")?.0, 400)?;
        let source = &mut Noise::new(1);
        let chunked =
            Request::new("PUT", "/files/new.bin").with_body(Body::Chunked { source, len_bytes: 1000 });
        let response = guest.request(0, chunked, &mut io::sink(), LIMIT)?;
        expect_status("PUT without a length", response.status, 411)?;

        expect_status("PUT over a long name", store(guest, "A%20long%20name.html", &new)?, 204)?;
        expect_file(guest, "A%20long%20name.html", &new)?;
        expect_status("PUT of an old file", store(guest, "old.bin", &stored)?, 204)?;
        expect_status("PUT of a new file", store(guest, "new.bin", &new)?, 201)?;
        // Right behind the answer.
        guest.kill()?;
        Ok(fetched)
    })?;
    for (name, wanted) in
        [("large.bin", &large), ("old.bin", &stored), ("new.bin", &new), ("A long name.html", &new)]
    {
        expect_on_disk(&disk, name, wanted)?;
    }
    Ok(format!("5 files whole after kill -9, {:.1} s", start.elapsed().as_secs_f64()))
}

/// Addresses from the file; where both speak, the command line wins; one line for an unknown key.
fn configured(subject: Subject<'_>) -> Result<String> {
    let text = "# by a test\nadmin = \"10.77.0.2/24\"\nwibble = \"1\"\npublic = \"10.99.0.1/8\"\nirq = \"polling\"\n";
    let disk = Disk::make(Place::Mbr, 16, &[("paravane.toml", text.as_bytes())])?;
    let mut plan = Plan::new(Machine::Q35, &[NicModel::Vmxnet3, NicModel::VirtioModern], "msix")
        .extras(fat::options(&disk.path(), PCI, ""))
        .word("public=10.77.1.2/24");
    plan.addressed = false;
    guest::run(subject.image, &plan, |guest| {
        let line = guest.wait_line(0, &["paravane.toml:3: 'wibble' ignored"], LINE_LIMIT)?.line;
        let status = guest.status(0)?;
        ensure!(status.nic("admin")?.interrupts == "msix", "the command line's irq does not win");
        guest.get(1, "/").context("the command line's address of NIC public")?;
        let others = guest.qemu().console().lines_from(0);
        let ignored = others.iter().filter(|line| line.contains("ignored")).count();
        ensure!(ignored == 1, "{ignored} lines about what is ignored, not one");
        expect_file(guest, "paravane.toml", text.as_bytes())?;
        Ok(crate::console::text(&line).to_owned())
    })
}

/// Gives so many bytes, and then nothing more.
struct Breaking<'a>(&'a [u8]);

impl Read for Breaking<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self.0.read(room)? {
            0 => Err(io::Error::other("as planned")),
            len => Ok(len),
        }
    }
}

/// A client goes in the middle of a file, and so does QEMU in the middle of another: the old files
/// are there.
fn killed_while_storing(subject: Subject<'_>) -> Result<String> {
    let (old, new) = (noise(1, 300_000), noise(2, LARGE));
    let disk = Disk::make(Place::Mbr, 48, &[("a.bin", &old), ("b.bin", &old)])?;
    guest::run(subject.image, &plan(&disk, ""), |guest| {
        for name in ["a.bin", "b.bin", "c.bin"] {
            let target = format!("/files/{name}");
            let source = &mut Breaking(&new[..LARGE / 2]);
            let request =
                Request::new("PUT", &target).with_body(Body::Sized { source, len_bytes: LARGE as u64 });
            if guest.client(0, CUT_LIMIT)?.send(request, &mut io::sink()).is_ok() {
                bail!("half a file was answered");
            }
            if name == "a.bin" {
                // The file can be stored once the guest knows that the client is gone.
                let deadline = Instant::now() + LINE_LIMIT;
                while store(guest, "a.bin", &old)? != 204 {
                    ensure!(Instant::now() < deadline, "a file whose client went stays taken");
                }
            }
        }
        guest.kill()
    })?;
    expect_on_disk(&disk, "a.bin", &old)?;
    expect_on_disk(&disk, "b.bin", &old)?;
    ensure!(disk.read("c.bin")?.is_none(), "half of c.bin is on the disk");
    Ok("old files whole, no half of a new one".into())
}

fn short_disk(subject: Subject<'_>) -> Result<String> {
    let disk = Disk::make(Place::Mbr, 16, &[("a.txt", b"text")])?;
    disk.cut(9)?;
    guest::run(subject.image, &plan(&disk, ""), |guest| {
        let words = ["disk: 00:10.0 1af4:1042", "MBR partition 1", "the disk has 18432", "not mounted"];
        let line = guest.wait_line(0, &words, LINE_LIMIT)?.line;
        expect_status("GET", fetch(guest, "a.txt")?.0, 503)?;
        expect_status("PUT", store(guest, "a.txt", b"x")?, 503)?;
        expect_others_serve(guest)?;
        Ok(crate::console::text(&line).to_owned())
    })
}

fn torn_fat(subject: Subject<'_>) -> Result<String> {
    let bytes = noise(1, 100_000);
    let disk = Disk::make(Place::Mbr, 16, &[("torn.bin", &bytes), ("good.bin", &bytes)])?;
    disk.tear(b"TORN    BIN")?;
    guest::run(subject.image, &plan(&disk, ""), |guest| {
        expect_status("GET of a torn file", fetch(guest, "torn.bin")?.0, 500)?;
        let line = guest.wait_line(0, &["files: torn.bin: the file system is torn"], LINE_LIMIT)?.line;
        expect_file(guest, "good.bin", &bytes)?;
        expect_others_serve(guest)?;
        expect_status("PUT over a torn file", store(guest, "torn.bin", &bytes)?, 204)?;
        expect_file(guest, "torn.bin", &bytes)?;
        Ok(crate::console::text(&line).to_owned())
    })
}

fn full_disk(subject: Subject<'_>) -> Result<String> {
    let (old, large) = (noise(1, 13_000_000), noise(2, 3_000_000));
    let disk = Disk::make(Place::Mbr, 16, &[("old.bin", &old), ("a.bin", &old[..500])])?;
    guest::run(subject.image, &plan(&disk, ""), |guest| {
        expect_status("PUT of too much", store(guest, "new.bin", &large)?, 507)?;
        expect_status("PUT of too much over a file", store(guest, "a.bin", &large)?, 507)?;
        let line = guest.wait_line(0, &["files: ", "the disk is full"], LINE_LIMIT)?.line;
        expect_status("GET of what had no room", fetch(guest, "new.bin")?.0, 404)?;
        expect_file(guest, "a.bin", &old[..500])?;
        expect_status("PUT of what fits", store(guest, "small.bin", &large[..1_000_000])?, 201)?;
        expect_file(guest, "small.bin", &large[..1_000_000])?;
        expect_others_serve(guest)?;
        guest.kill()?;
        Ok(crate::console::text(&line).to_owned())
    })
    .and_then(|line| {
        expect_on_disk(&disk, "old.bin", &old)?;
        expect_on_disk(&disk, "small.bin", &large[..1_000_000])?;
        Ok(line)
    })
}

fn read_only_disk(subject: Subject<'_>) -> Result<String> {
    let bytes = noise(1, 100_000);
    let disk = Disk::make(Place::Mbr, 16, &[("a.bin", &bytes)])?;
    guest::run(subject.image, &plan(&disk, ",readonly=on"), |guest| {
        expect_status("PUT", store(guest, "a.bin", b"x")?, 403)?;
        expect_status("PUT", store(guest, "b.bin", b"x")?, 403)?;
        let line = guest.wait_line(0, &["files: a.bin: the disk is read-only"], LINE_LIMIT)?.line;
        expect_file(guest, "a.bin", &bytes)?;
        expect_others_serve(guest)?;
        Ok(crate::console::text(&line).to_owned())
    })
}

/// From some time on the disk answers nothing: that is said once, and nobody waits for it again.
fn stuck_disk(subject: Subject<'_>) -> Result<String> {
    let bytes = noise(1, 1_000_000);
    let disk = Disk::make(Place::Mbr, 16, &[("a.bin", &bytes), ("b.bin", &bytes)])?;
    guest::run(subject.image, &plan(&disk, ""), |guest| {
        expect_file(guest, "a.bin", &bytes)?;
        let slow = json!({ "device": "disk", "bps": 1, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0 });
        guest.qemu().monitor()?.execute("block_set_io_throttle", slow)?;
        // The first requests may still go through.
        let deadline = Instant::now() + LIMIT;
        while guest.qemu().console().find(0, &["the disk is given up"]).is_none() {
            ensure!(Instant::now() < deadline, "nobody noticed that the disk is stuck");
            let answered = fetch(guest, "b.bin");
            ensure!(
                answered.is_err() || answered.is_ok_and(|(status, _)| [200, 500].contains(&status)),
                "b.bin"
            );
        }
        let line = guest.wait_line(0, &["does not answer"], LINE_LIMIT)?.line;
        let asked = Instant::now();
        for _ in 0..5 {
            expect_status("GET from a disk that was given up", fetch(guest, "a.bin")?.0, 503)?;
        }
        expect_others_serve(guest)?;
        Ok(format!(
            "{}; then 5 answers in {:.1} s",
            crate::console::text(&line),
            asked.elapsed().as_secs_f64()
        ))
    })
}
