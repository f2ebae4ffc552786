//! A disk with a file system, its driver, and a look at what is on it.

use std::io::{Cursor, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Mutex, MutexGuard};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use paravane_block::{BlockBuffer, BlockLayout, BlockPool, Config, Disk, RequestQueue};
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::model::virtio::blk::bits;
use paravane_mock_hal::model::virtio::{Blk, Personality, Virtio, VirtioBlk};
use paravane_virtio::blk::Device;
use paravane_virtio::transport::mmio::MmioTransport;

use crate::app::files::Volume;

pub(super) type Queue = Box<dyn RequestQueue<BlockBuffer>>;

/// Which file system.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Fat16,
    Fat32,
}

/// What a file called `name` holds.
pub(super) fn content(name: &str, len: usize) -> Vec<u8> {
    let seed = name.bytes().fold(7_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    (0_u32..).take(len).map(|at| (seed.wrapping_mul(at | 1) >> 11).to_le_bytes()[0]).collect()
}

/// A file system with these files, so long each, and a folder.
pub(super) fn made(kind: Kind, files: &[(&str, usize)]) -> Vec<u8> {
    let (len, fat) = match kind {
        Kind::Fat16 => (4 << 20, FatType::Fat16),
        Kind::Fat32 => (36 << 20, FatType::Fat32),
    };
    let mut image = Cursor::new(vec![0; len]);
    format_volume(&mut image, FormatVolumeOptions::new().fat_type(fat).bytes_per_cluster(512)).unwrap();
    image.seek(SeekFrom::Start(0)).unwrap();
    let system = FileSystem::new(&mut image, FsOptions::new()).unwrap();
    system.root_dir().create_dir("folder").unwrap();
    for (name, len) in files {
        system.root_dir().create_file(name).unwrap().write_all(&content(name, *len)).unwrap();
    }
    system.unmount().unwrap();
    image.into_inner()
}

/// What a file system holds under a name.
pub(super) fn bytes_of(image: &[u8], name: &str) -> Option<Vec<u8>> {
    let system = FileSystem::new(Cursor::new(image.to_vec()), FsOptions::new()).unwrap();
    let mut file = system.root_dir().open_file(name).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// A disk and its driver.
pub(super) struct Bench {
    pub(super) platform: MockPlatform,
    model: Arc<Mutex<VirtioBlk>>,
    queue: Mutex<Option<Queue>>,
    pool: BlockPool,
    lens: Vec<(String, usize)>,
}

impl Bench {
    /// A disk with nothing but a file system on it.
    pub(super) fn with(kind: Kind, files: &[(&str, usize)]) -> Self {
        let mut bench = Self::of(made(kind, files), false);
        bench.lens = files.iter().map(|(name, len)| ((*name).to_owned(), *len)).collect();
        bench
    }

    /// A disk that holds `image`.
    pub(super) fn of(image: Vec<u8>, is_read_only: bool) -> Self {
        let personality = Personality::microvm();
        let platform = MockPlatform::new();
        // A volume is not unmounted, so nothing stops its disk.
        platform.memory().expect_leak(None);
        let (start, line) = personality.place(0);
        let mut blk = Blk::new(0).with_disk(image);
        if is_read_only {
            blk.features |= bits::RO;
        }
        let plugged = Virtio::plug_mmio(&platform, start, line, blk, personality);
        let pool = BlockPool::new(platform.clone(), BlockLayout::new(4)).unwrap();
        let transport = MmioTransport::open(plugged.claim(&platform).unwrap()).unwrap();
        let device = Device::new(transport, platform.clone()).unwrap();
        let config = Config::default().with_entries(16).into();
        let running = device.start::<BlockBuffer>(&config, Interrupts::POLLING).unwrap();
        let queue: Queue = Box::new(running.queue);
        Self { platform, model: plugged.model, queue: Mutex::new(Some(queue)), pool, lens: Vec::new() }
    }

    pub(super) fn model(&self) -> MutexGuard<'_, VirtioBlk> {
        self.model.lock().unwrap()
    }

    pub(super) fn queue(&self) -> Queue {
        self.queue.lock().unwrap().take().unwrap()
    }

    pub(super) fn disk(&self, queue: Queue) -> Disk<Queue, MockPlatform> {
        let limit = core::time::Duration::from_secs(1);
        Disk::new(queue, self.pool.clone(), self.platform.clone(), limit)
    }

    pub(super) fn mount(&self) -> Volume<Queue, MockPlatform> {
        self.try_mount().unwrap()
    }

    pub(super) fn try_mount(&self) -> Result<Volume<Queue, MockPlatform>, super::MountError> {
        Volume::mount(self.disk(self.queue()), self.platform.clone())
    }

    pub(super) fn len_of(&self, name: &str) -> usize {
        self.lens.iter().find(|(known, _)| known == name).unwrap().1
    }

    pub(super) fn image(&self) -> Vec<u8> {
        self.model().class.disk.clone()
    }

    pub(super) fn lose_power(&self) {
        self.model().class.lose_power();
    }

    pub(super) fn free_clusters(&self) -> u32 {
        free_clusters(&self.image())
    }

    /// Both FATs are the same, nothing of the program's own is left, and the driver kept the rules.
    pub(super) fn assert_clean(&self) {
        let image = self.image();
        assert_clean(&image);
        assert_eq!(self.model().violations, [""; 0]);
    }
}

/// How many clusters are free by the FAT itself, whatever the hints say.
pub(super) fn free_clusters(image: &[u8]) -> u32 {
    let mut image = image.to_vec();
    // FAT32's hint, so that it is counted.
    if image[0x52..0x57] == *b"FAT32" {
        image[512 + 488..512 + 496].fill(0xff);
    }
    let system = FileSystem::new(Cursor::new(image), FsOptions::new()).unwrap();
    system.stats().unwrap().free_clusters()
}

pub(super) fn assert_clean(image: &[u8]) {
    let word = |at: usize| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let long = u32::from_le_bytes([image[36], image[37], image[38], image[39]]) as usize;
    let (start, len) = (word(14) * 512, if word(22) == 0 { long } else { word(22) } * 512);
    assert!(image[start..start + len] == image[start + len..start + 2 * len], "the FATs differ");
    let system = FileSystem::new(Cursor::new(image.to_vec()), FsOptions::new()).unwrap();
    let names: Vec<_> = system.root_dir().iter().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.starts_with('~')), "{names:?}");
}
