//! A disk of a drill's own: an ext4 image behind a loop device.
//!
//! **Invariant.** It is unmounted and its image is gone when it was removed.
//!
//! **Deliberately absent.** What goes wrong with it: `power` cuts it, `faults` fills it.
//!
//! **Crash.** An image left mounted by a run that was killed itself is unmounted by the next.

use crate::process::{on_path, run};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// A mounted image.
pub(super) struct Disk {
    image: PathBuf,
    mount_point: PathBuf,
}

impl Disk {
    /// Makes an empty disk; the inner error is the reason why this machine does not permit it.
    pub(super) fn make(
        image: PathBuf,
        mount_point: PathBuf,
        bytes: u64,
    ) -> Result<Result<Self, String>> {
        if !on_path("mkfs.ext4") {
            return Ok(Err("there is no mkfs.ext4 on the path".to_owned()));
        }
        let disk = Self { image, mount_point };
        disk.unmount()?;
        fs::create_dir_all(&disk.mount_point)?;
        File::create(&disk.image)?.set_len(bytes)?;
        let mut format = Command::new("mkfs.ext4");
        format.args(["-q", "-F", "-E", "lazy_itable_init=1"]).arg(&disk.image);
        run(&mut format, "disk-mkfs", DEADLINE)?;
        if let Err(error) = disk.mount() {
            return Ok(Err(format!("mounting a loop device is not permitted: {}", short(&error))));
        }
        Ok(Ok(disk))
    }

    pub(super) fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    pub(super) fn mount(&self) -> Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&self.image).arg(&self.mount_point);
        run(&mut mount, "disk-mount", DEADLINE).map(drop)
    }

    /// Mounts it again with another option: `ro` or `rw`.
    pub(super) fn remount(&self, option: &str) -> Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{option}")]).arg(&self.mount_point);
        run(&mut mount, "disk-mount", DEADLINE).map(drop)
    }

    fn is_mounted(&self) -> Result<bool> {
        let mounts = fs::read_to_string("/proc/mounts").context("read the mounts")?;
        let point = self.mount_point.to_string_lossy();
        Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(&*point)))
    }

    pub(super) fn unmount(&self) -> Result<()> {
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

    /// Unmounts the disk and removes its image.
    pub(super) fn remove(self) -> Result<()> {
        self.unmount()?;
        fs::remove_file(&self.image).context("remove the image")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.image.exists() {
            let _ = Command::new("umount").args(["-q", "-l"]).arg(&self.mount_point).status();
        }
    }
}

/// The last line of an error.
pub(super) fn short(error: &anyhow::Error) -> String {
    error.to_string().lines().last().unwrap_or_default().to_owned()
}
