//! Disks for other crates' users: each behind the feature that is called like the crate.
//!
//! | Feature | For | Gives |
//! |---|---|---|
//! | `embedded-io` | whatever reads and writes bytes | [`Bytes`](crate::Bytes): `Read`, `Write`, `Seek` |
//! | `embedded-sdmmc` | FAT file systems | [`SharedDisk`](crate::SharedDisk): `BlockDevice` |
//! | `gpt_disk_io` | partition tables | [`Disk`](crate::Disk): `BlockIo` |

#[cfg(feature = "embedded-io")]
pub(crate) mod bytes;
#[cfg(feature = "gpt_disk_io")]
mod gpt;
#[cfg(feature = "embedded-sdmmc")]
pub(crate) mod sdmmc;
