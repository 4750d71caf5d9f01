//! This process's memory: none of it gets onto a disk, for there are passwords and keys in it, and none is taken that nobody
//! asked for.

use std::{hint, io};

use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
    thread::disable_transparent_huge_pages,
};

/// Forbids core dumps, also to a handler that the kernel would pipe them into, and to look into this process as another
/// one of the same user. To be called before a secret is read.
///
/// # Errors
/// What the system refused. The program can run all the same; the memory of a crash is then what the system makes of it.
pub fn forbid_dumps() -> io::Result<()> {
    let limit = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // The limit alone does not hold for a handler (core(5)).
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(limit?)
}

/// Has the kernel give small pages only. With huge ones (where `transparent_hugepage/enabled` is `always`) a few bytes take
/// two megabytes: this process had half as much again, and more whenever the kernel found some to put together.
///
/// # Errors
/// What the system refused. The program can run all the same.
pub fn forbid_huge_pages() -> io::Result<()> {
    Ok(disable_transparent_huge_pages(true)?)
}

/// More than the allocator keeps for the next one that asks.
const LARGE: usize = 1 << 20;

/// Has the allocator return to the system what has been free for a second. It looks for such only when something large is
/// freed, and a process that is asked no more frees nothing. To be called every few seconds; it touches no memory. What one
/// thread has freed of another's stays with that one, until it is at work again.
pub fn give_back() {
    drop(hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}
