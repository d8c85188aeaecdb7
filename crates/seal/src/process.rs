//! What the process must do so that keys in memory do not reach a disk.
//!
//! **Invariant.** After [`forbid_core_dumps`] returned `Ok`, a crash of this process writes no
//! memory.
//!
//! **Deliberately absent.** Locking memory against swap: it takes `unsafe`, and is the operator's
//! to decide (encrypted swap, or none).
//!
//! **Crash.** The limit is the process's and its children's; call it first.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids core dumps of this process and its children, and other processes of the same user to
/// trace or read its memory (attack A22). Call it before the root key is read.
///
/// # Errors
/// When the system refuses; the caller should then not go on.
pub fn forbid_core_dumps() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
