//! Disks with FAT file systems: made before a guest starts, looked into after it ended. The file
//! systems are `fatfs`'s, which nobody here wrote.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use fscommon::StreamSlice;
use tempfile::TempDir;

const SECTOR: u64 = 512;

/// Where on the disk the file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing is in front of it.
    Whole,
    /// The only partition of a master boot record, from the first MiB on.
    Mbr,
}

impl Place {
    fn start(self) -> u64 {
        match self {
            Self::Whole => 0,
            Self::Mbr => 1 << 20,
        }
    }
}

/// A disk in a file, which goes with this value.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
    place: Place,
}

impl Disk {
    /// A disk of `mib` MiB with FAT16, or FAT32 from 160 on, and these files.
    ///
    /// # Errors
    ///
    /// The folder for temporary files is not writable, or the file system has no room.
    pub fn make(place: Place, mib: u64, files: &[(&str, &[u8])]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("paravane-disk-").tempdir()?;
        let disk = Self { folder, place };
        let len_bytes = mib << 20;
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(disk.path())?;
        file.set_len(len_bytes)?;
        if place == Place::Mbr {
            let sectors = u32::try_from((len_bytes - place.start()) / SECTOR)?;
            let mut front = [0; 512];
            front[446 + 4] = 0x0e;
            front[446 + 8..446 + 12].copy_from_slice(&u32::try_from(place.start() / SECTOR)?.to_le_bytes());
            front[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
            front[510..].copy_from_slice(&[0x55, 0xaa]);
            file.write_all(&front)?;
        }
        let mut slice = StreamSlice::new(file, place.start(), len_bytes)?;
        let kind = if mib < 160 { FatType::Fat16 } else { FatType::Fat32 };
        let options = FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(2048);
        format_volume(&mut slice, options).context("formatting")?;
        slice.seek(SeekFrom::Start(0))?;
        let system = FileSystem::new(slice, FsOptions::new())?;
        for (name, bytes) in files {
            system
                .root_dir()
                .create_file(name)?
                .write_all(bytes)
                .with_context(|| format!("making {name}"))?;
        }
        system.unmount()?;
        Ok(disk)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// What the file system holds under `name` now; `None`: nothing.
    ///
    /// # Errors
    ///
    /// The file system is none any more, or a file of it cannot be read to its end.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path())?;
        let len_bytes = file.metadata()?.len();
        let system =
            FileSystem::new(StreamSlice::new(file, self.place.start(), len_bytes)?, FsOptions::new())?;
        let Ok(mut file) = system.root_dir().open_file(name) else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("reading {name} on the disk"))?;
        Ok(Some(bytes))
    }

    /// Cuts the disk to so many MiB.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn cut(&self, mib: u64) -> Result<()> {
        Ok(OpenOptions::new().write(true).open(self.path())?.set_len(mib << 20)?)
    }

    /// Has the FAT16 lead from the first cluster of the file with this short name to one that there
    /// is not.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn tear(&self, short_name: &[u8; 11]) -> Result<()> {
        let mut bytes = fs::read(self.path())?;
        let system = bytes.get_mut(usize::try_from(self.place.start())?..).context("no file system")?;
        let entry = system.windows(11).position(|window| window == short_name).context("no such entry")?;
        let word = |at: usize| usize::from(u16::from_le_bytes([system[at], system[at + 1]]));
        ensure!(word(22) > 0, "only FAT16 can be torn here");
        let at = word(14) * 512 + word(entry + 26) * 2;
        system[at..at + 2].copy_from_slice(&0xffee_u16.to_le_bytes());
        Ok(fs::write(self.path(), bytes)?)
    }
}

/// QEMU's options for `disk` as a virtio-blk device.
#[must_use]
pub fn options(disk: &Path, device: &str, drive: &str) -> Vec<String> {
    let drive = format!("file={},if=none,id=disk,format=raw{drive}", disk.display());
    ["-drive".into(), drive, "-device".into(), format!("{device},drive=disk")].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_can_be_read_and_torn() {
        let long = vec![7; 10_000];
        for (place, mib) in [(Place::Mbr, 16), (Place::Whole, 16), (Place::Whole, 160)] {
            let disk = Disk::make(place, mib, &[("a.txt", b"text"), ("A long name.bin", &long)]).unwrap();
            assert_eq!(disk.read("a.txt").unwrap().unwrap(), b"text");
            assert!(disk.read("A long name.bin").unwrap().unwrap() == long);
            assert_eq!(disk.read("b.txt").unwrap(), None);
            assert_eq!(disk.tear(b"ALONGN~1BIN").is_ok(), mib == 16);
            assert_eq!(disk.read("A long name.bin").is_err(), mib == 16);
        }
    }
}
