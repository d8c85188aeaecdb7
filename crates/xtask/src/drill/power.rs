//! A disk whose power can be cut.
//!
//! **Invariant.** After a cut only what the file system had made durable is there:
//! `EXT4_IOC_SHUTDOWN` without a flush of the log drops the rest.
//!
//! **Deliberately absent.** Torn sectors and lying caches; the ioctl cannot make them.
//!
//! **Crash.** See [`super::disk`].

use super::cut_script;
use super::disk::{Disk, short};
use crate::process::{run, target};
use crate::server::Server;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const DISK_BYTES: u64 = 6 * 1024 * 1024 * 1024;
const DEADLINE: Duration = Duration::from_secs(60);

/// A mounted image that can be cut.
pub(super) struct CutDisk(Disk);

impl CutDisk {
    /// Makes an empty disk; the inner error is the reason why this machine does not permit it.
    pub(super) fn make(name: &str) -> Result<Result<Self, String>> {
        let folder = target().join("data").join(name);
        fs::create_dir_all(&folder)?;
        let made = Disk::make(folder.join("disk.img"), folder.join("mount"), DISK_BYTES)?;
        let disk = match made {
            Ok(disk) => Self(disk),
            Err(reason) => return Ok(Err(reason)),
        };
        // Whether the ioctl is permitted shows only when it is tried.
        if let Err(error) = disk.shut_down() {
            disk.0.unmount()?;
            return Ok(Err(format!("EXT4_IOC_SHUTDOWN is not permitted: {}", short(&error))));
        }
        disk.0.unmount()?;
        disk.0.mount()?;
        Ok(Ok(disk))
    }

    pub(super) fn mount_point(&self) -> &Path {
        self.0.mount_point()
    }

    /// Cuts the power under a running server, ends it, and brings the disk up again.
    pub(super) fn cut(&mut self, server: Server) -> Result<()> {
        self.shut_down()?;
        server.kill()?;
        self.0.unmount()?;
        self.0.mount()
    }

    fn shut_down(&self) -> Result<()> {
        let mut cut = Command::new("python3");
        cut.arg(cut_script()).arg(self.mount_point());
        run(&mut cut, "power-cut", DEADLINE).map(drop)
    }

    /// Unmounts the disk and removes its image, with the folder of both.
    pub(super) fn remove(self) -> Result<()> {
        let folder = self.mount_point().parent().context("it lies in a folder")?.to_owned();
        self.0.remove()?;
        fs::remove_dir_all(folder).context("remove the image's folder")
    }
}
