//! Nothing of this process's memory gets onto a disk: there are passwords and keys in it.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids core dumps, also to a handler that the kernel would pipe them into, and to look into this process as another
/// one of the same user. To be called before a secret is read.
///
/// # Errors
/// What the system refused. The program can run all the same; the memory of a crash is then what the system makes of it.
pub fn forbid() -> io::Result<()> {
    let limit = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // The limit alone does not hold for a handler (core(5)).
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(limit?)
}
