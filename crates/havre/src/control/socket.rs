//! The sockets' files: made for their owner only, replaced when its gateway is dead, removed at the
//! end.
//!
//! **Invariant.** From the moment that the socket has its name, nobody but its owner and root can
//! connect; before that it lies in a directory of mode 0700. A name that is no socket, or a socket
//! that is answered, is left alone.
//!
//! **Deliberately absent.** A lock: whoever makes the socket holds the catalog's already.
//!
//! **Crash.** Leaves the socket, or the private directory, behind; the next start takes both.

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;
use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// The names in the catalog's directory of the socket for orders, and of the one for a keeper in a
/// process of its own.
const SOCKET: &str = "control.sock";
const KEEPER_SOCKET: &str = "keeper.sock";
/// The private directories that they are made in.
const NURSERY: &str = ".control.new";
const KEEPER_NURSERY: &str = ".keeper.new";
/// Bytes of a path that a socket's address takes, with room to spare for what is appended.
const ADDRESS_BYTES_MAX: usize = 80;

/// Where the gateway of this catalog listens for orders.
#[must_use]
pub fn socket_path(catalog: &Path) -> PathBuf {
    directory_of(catalog).join(SOCKET)
}

/// Where it listens for a keeper.
#[must_use]
pub fn keeper_socket_path(catalog: &Path) -> PathBuf {
    directory_of(catalog).join(KEEPER_SOCKET)
}

/// Refuses a peer that is neither this process's user nor root. A socket's mode says so too; this
/// holds whatever became of the file.
pub(crate) fn check_peer(stream: &UnixStream) -> Result<()> {
    let peer = stream.peer_cred().context("ask who connects")?.uid();
    if peer != 0 && peer != geteuid().as_raw() {
        bail!("user {peer} may not connect");
    }
    Ok(())
}

fn directory_of(catalog: &Path) -> &Path {
    catalog.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The socket's file. Dropped, it is removed, unless another process has taken the name.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Socket {
    /// Makes the socket of this catalog, whose lock the caller holds, and listens there.
    ///
    /// # Errors
    /// When another process answers there, the name is another file's, or the system refuses.
    pub fn open(catalog: &Path) -> Result<(Self, UnixListener)> {
        Self::open_as(SOCKET, NURSERY, directory_of(catalog))
    }

    /// The same of the socket for a keeper.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for_keeper(catalog: &Path) -> Result<(Self, UnixListener)> {
        Self::open_as(KEEPER_SOCKET, KEEPER_NURSERY, directory_of(catalog))
    }

    fn open_as(name: &str, nursery: &str, directory: &Path) -> Result<(Self, UnixListener)> {
        let path = directory.join(name);
        check_free(directory, &path, name)?;
        let nursery = directory.join(nursery);
        clear(&nursery, name).with_context(|| format!("remove {}", nursery.display()))?;
        DirBuilder::new()
            .mode(0o700)
            .create(&nursery)
            .with_context(|| format!("create {}", nursery.display()))?;
        let made = make(&nursery, &path, name);
        // It is empty by now, or holds what could not be named.
        clear(&nursery, name).with_context(|| format!("remove {}", nursery.display()))?;
        let (listener, metadata) = made.with_context(|| format!("listen at {}", path.display()))?;
        Ok((Self { path, device: metadata.dev(), inode: metadata.ino() }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let own = |found: &Metadata| found.dev() == self.device && found.ino() == self.inode;
        if self.path.symlink_metadata().is_ok_and(|found| own(&found))
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "a socket could not be removed");
        }
    }
}

/// Binds in the private directory, narrows the mode, and gives the socket its name, over a dead
/// one.
fn make(nursery: &Path, path: &Path, name: &str) -> io::Result<(UnixListener, Metadata)> {
    let made = nursery.join(name);
    let listener = with_short(nursery, |short| UnixListener::bind(short.join(name)))?;
    std::fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    let metadata = made.symlink_metadata()?;
    std::fs::rename(&made, path)?;
    Ok((listener, metadata))
}

/// Refuses a name that somebody uses.
fn check_free(directory: &Path, path: &Path, name: &str) -> Result<()> {
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
    };
    if !found.file_type().is_socket() {
        bail!("{} is no socket; move it away", path.display());
    }
    let connect = |short: &Path| std::os::unix::net::UnixStream::connect(short.join(name));
    match with_short(directory, connect) {
        Ok(_) => bail!("another process listens at {}", path.display()),
        // Nobody has it open any more, or it went away just now.
        Err(_) => Ok(()),
    }
}

/// Removes the private directory and the socket in it; nothing there is as good.
fn clear(nursery: &Path, name: &str) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    };
    gone(std::fs::remove_file(nursery.join(name)))?;
    gone(std::fs::remove_dir(nursery))
}

/// Calls `act` with a path of the directory that fits into a socket's address, which takes 108
/// bytes: a longer one goes by way of the open directory.
pub(super) fn with_short<T>(
    directory: &Path,
    act: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    if directory.as_os_str().len() <= ADDRESS_BYTES_MAX {
        return act(directory);
    }
    let open = File::open(directory)?;
    act(Path::new(&format!("/proc/self/fd/{}", open.as_raw_fd())))
}
