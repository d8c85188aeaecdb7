//! Takes a trial gateway's local site away, and puts it back.
//!
//! **Invariant.** While it is away every operation on it fails, and nothing makes it anew.
//!
//! **Deliberately absent.** Sites that hang or lie: they need a wire in between.
//!
//! **Crash.** The folder lies beside its place; a run begins with new folders.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A site's folder that was moved away.
pub(crate) struct StoppedSite {
    folder: PathBuf,
    aside: PathBuf,
}

impl StoppedSite {
    /// Moves the folder of the site `name` away, and puts a link to nowhere into its place: as with
    /// an unmounted disk a gateway starts, and finds nothing there.
    pub(crate) fn stop(data: &Path, name: &str) -> Result<Self> {
        let folder = data.join("sites").join(name);
        let aside = folder.with_extension("stopped");
        fs::rename(&folder, &aside).with_context(|| format!("move {} away", folder.display()))?;
        std::os::unix::fs::symlink("nowhere", &folder)?;
        Ok(Self { folder, aside })
    }

    /// Puts the folder back.
    pub(crate) fn restore(&self) -> Result<()> {
        fs::remove_file(&self.folder)?;
        fs::rename(&self.aside, &self.folder).context("put the site back")
    }
}
