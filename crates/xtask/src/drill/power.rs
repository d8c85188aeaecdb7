//! A disk whose power can be cut: an ext4 image behind a loop device.
//!
//! **Invariant.** After a cut only what the file system had made durable is there:
//! `EXT4_IOC_SHUTDOWN` without a flush of the log drops the rest.
//!
//! **Deliberately absent.** Torn sectors and lying caches; the ioctl cannot make them.
//!
//! **Crash.** An image left mounted by a run that was killed itself is unmounted by the next.

use super::cut_script;
use crate::process::{run, target};
use crate::server::Server;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DISK_BYTES: u64 = 6 * 1024 * 1024 * 1024;
const DEADLINE: Duration = Duration::from_secs(60);

/// A mounted image.
pub(super) struct Disk {
    image: PathBuf,
    mount_point: PathBuf,
}

impl Disk {
    /// Makes an empty disk; the inner error is the reason why this machine does not permit it.
    pub(super) fn make(name: &str) -> Result<Result<Self, String>> {
        let folder = target().join("data").join(name);
        let disk = Self { image: folder.join("disk.img"), mount_point: folder.join("mount") };
        disk.unmount()?;
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&disk.mount_point)?;
        File::create(&disk.image)?.set_len(DISK_BYTES)?;
        let mut format = Command::new("mkfs.ext4");
        format.args(["-q", "-F", "-E", "lazy_itable_init=1"]).arg(&disk.image);
        run(&mut format, "power-mkfs", DEADLINE)?;
        if let Err(error) = disk.mount() {
            return Ok(Err(format!("mounting a loop device is not permitted: {}", short(&error))));
        }
        // Whether the ioctl is permitted shows only when it is tried.
        if let Err(error) = disk.shut_down() {
            disk.unmount()?;
            return Ok(Err(format!("EXT4_IOC_SHUTDOWN is not permitted: {}", short(&error))));
        }
        disk.unmount()?;
        disk.mount()?;
        Ok(Ok(disk))
    }

    pub(super) fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Cuts the power under a running server, ends it, and brings the disk up again.
    pub(super) fn cut(&mut self, server: Server) -> Result<()> {
        self.shut_down()?;
        server.kill()?;
        self.unmount()?;
        self.mount()
    }

    fn mount(&self) -> Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&self.image).arg(&self.mount_point);
        run(&mut mount, "power-mount", DEADLINE).map(drop)
    }

    fn is_mounted(&self) -> Result<bool> {
        let mounts = fs::read_to_string("/proc/mounts").context("read the mounts")?;
        let point = self.mount_point.to_string_lossy();
        Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(&*point)))
    }

    fn unmount(&self) -> Result<()> {
        // The killed server's files may take a moment to close.
        for _ in 0..50 {
            if !self.is_mounted()?
                || Command::new("umount").arg("-q").arg(&self.mount_point).status()?.success()
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("cannot unmount {}", self.mount_point.display())
    }

    fn shut_down(&self) -> Result<()> {
        let mut cut = Command::new("python3");
        cut.arg(cut_script()).arg(&self.mount_point);
        run(&mut cut, "power-cut", DEADLINE).map(drop)
    }

    /// Unmounts the disk and removes its image.
    pub(super) fn remove(self) -> Result<()> {
        self.unmount()?;
        let folder = self.image.parent().context("the image lies in a folder")?;
        fs::remove_dir_all(folder).context("remove the image")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.image.exists() {
            let _ = Command::new("umount").args(["-q", "-l"]).arg(&self.mount_point).status();
        }
    }
}

fn short(error: &anyhow::Error) -> String {
    error.to_string().lines().last().unwrap_or_default().to_owned()
}
