//! What outlives a process where codes are in memory: the key that names accounts, digests of codes, what is left of tries
//! and budgets. It goes from a drain to the next start in `codes.state_file`, and over a socket at an upgrade.
//!
//! It is used once: a start removes the file before it serves, so that no code that has been used comes back.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    config::TokenKey,
    flows::memory,
    keys::{self, KeysError, estate},
    limits,
    reset::ports::Secret,
};

/// More than a cache of the usual size weighs, with every budget in use.
const MAX_BYTES: u64 = 1 << 30;

/// The keys by which records and budgets are found.
pub(super) struct Names {
    /// Of accounts.
    pub(super) ids: Secret<[u8; 32]>,
    /// Of clients and accounts, in the limits.
    pub(super) hash: Secret<[u8; 32]>,
}

impl Names {
    /// Fresh ones.
    pub(super) fn draw() -> Result<Self, KeysError> {
        let key = || keys::random_key().ok_or(KeysError::Crypto);
        Ok(Self { ids: key()?, hash: key()? })
    }

    fn bytes(&self) -> Secret<Vec<u8>> {
        Secret::of([self.ids.expose().as_slice(), self.hash.expose()].concat())
    }

    /// Those that such bytes begin with, and what comes after them.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (ids, rest) = bytes.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        Some((Self { ids: Secret::of(*ids), hash: Secret::of(*hash) }, rest))
    }
}

/// All of it.
pub(super) struct Estate {
    pub(super) names: Names,
    pub(super) flows: memory::Kept,
    pub(super) limits: limits::Kept,
}

/// What is written after the names.
type Rest = (memory::Kept, limits::Kept);

/// Seals what is to be left. `None` if that fails.
pub(super) fn seal(keys: &[TokenKey], names: &Names, flows: memory::Kept, limits: limits::Kept) -> Option<Vec<u8>> {
    let rest: Rest = (flows, limits);
    let mut bytes = names.bytes();
    let rest = Secret::of(postcard::to_stdvec(&rest).ok()?);
    bytes.expose_mut().extend_from_slice(rest.expose());
    estate::seal(keys, bytes.expose())
}

/// Opens what was left; `None` if it is not ours.
pub(super) fn open(keys: &[TokenKey], sealed: &[u8]) -> Option<Estate> {
    let bytes = estate::open(keys, sealed)?;
    let (names, rest) = Names::read(bytes.expose())?;
    let (flows, limits): Rest = postcard::from_bytes(rest).ok()?;
    Some(Estate { names, flows, limits })
}

/// Seals the names alone. `None` if that fails.
pub(super) fn seal_names(keys: &[TokenKey], names: &Names) -> Option<Vec<u8>> {
    estate::seal(keys, names.bytes().expose())
}

/// Opens them; `None` if they are not ours.
pub(super) fn open_names(keys: &[TokenKey], sealed: &[u8]) -> Option<Names> {
    let bytes = estate::open(keys, sealed)?;
    let (names, rest) = Names::read(bytes.expose())?;
    rest.is_empty().then_some(names)
}

/// `codes.state_file` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("codes.state_file {path}: {source}")]
pub struct StateError {
    path: PathBuf,
    source: io::Error,
}

/// `codes.state_file`
pub(super) struct StateFile(PathBuf);

impl StateFile {
    /// The file of that name, in a folder that can be written to; it is made if there is none.
    pub(super) fn new(path: &Path) -> Result<Self, StateError> {
        let file = Self(path.to_owned());
        file.try_out().map_err(|source| file.failed(source))?;
        Ok(file)
    }

    /// Else it would turn out when there is nothing to be done any more.
    fn try_out(&self) -> io::Result<()> {
        if let Some(folder) = self.0.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        drop(self.write(b"")?);
        fs::remove_file(self.beside("new"))
    }

    /// What the process before has left, if it has. What cannot be opened is put aside, and the start goes on without it.
    pub(super) fn read(&self, keys: &[TokenKey]) -> Result<Option<Estate>, StateError> {
        let mut sealed = Vec::new();
        match File::open(&self.0) {
            Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.and_then(|file| file.take(MAX_BYTES).read_to_end(&mut sealed)),
        }
        .map_err(|fault| self.failed(fault))?;
        let estate = open(keys, &sealed);
        if estate.is_none() {
            tracing::warn!("codes.state_file cannot be opened with token.keys: it is put aside, and open resets end");
            fs::rename(&self.0, self.beside("unreadable")).map_err(|fault| self.failed(fault))?;
        }
        Ok(estate)
    }

    /// To be called when what was read is about to be used, and the start cannot fail any more.
    pub(super) fn forget(&self) -> Result<(), StateError> {
        match fs::remove_file(&self.0) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => Err(self.failed(fault)),
            _ => Ok(()),
        }
    }

    /// Leaves it to the next process: all of it, or nothing.
    pub(super) fn leave(&self, sealed: &[u8]) -> Result<(), StateError> {
        let left = || {
            self.write(sealed)?.sync_all()?;
            fs::rename(self.beside("new"), &self.0)
        };
        left().map_err(|source| self.failed(source))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<File> {
        let path = self.beside("new");
        match fs::remove_file(&path) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(fault),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        Ok(file)
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }

    fn failed(&self, source: io::Error) -> StateError {
        StateError { path: self.0.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn keys() -> [TokenKey; 1] {
        [TokenKey(Secret::of([7; 32]))]
    }

    fn sealed(names: &Names) -> Vec<u8> {
        seal(&keys(), names, memory::Kept::default(), limits::Kept::default()).unwrap()
    }

    #[test]
    fn what_is_left_is_used_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/codes");
        let file = StateFile::new(&path).unwrap();
        assert!(file.read(&keys()).unwrap().is_none());
        let names = Names::draw().unwrap();
        file.leave(&sealed(&names)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let next = StateFile::new(&path).unwrap();
        let estate = next.read(&keys()).unwrap().unwrap();
        assert!(estate.names.ids == names.ids && estate.names.hash == names.hash);
        next.forget().unwrap();
        assert!(file.read(&keys()).unwrap().is_none());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn what_others_wrote_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes");
        let file = StateFile::new(&path).unwrap();
        let other = [TokenKey(Secret::of([8; 32]))];
        for text in [b"".to_vec(), b"garbage".to_vec(), sealed(&Names::draw().unwrap())] {
            fs::write(&path, text).unwrap();
            assert!(file.read(&other).unwrap().is_none());
            assert!(!path.exists() && file.beside("unreadable").exists());
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_named_at_start() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let told = StateFile::new(&folder.path().join("file/codes")).err().unwrap().to_string();
        assert!(told.starts_with("codes.state_file ") && told.contains("file/codes: "), "{told}");
    }
}
