//! Secrets come from the environment or from files, never from the configuration itself.

use std::{
    cell::RefCell,
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::HeaderName;
use ring::rand::{SecureRandom, SystemRandom};

use super::{Secret, Texts, Token, TokenKey, after::headers::is_plain, raw::Section};

/// The folder of the TOML file, and the environment.
pub(super) struct Surroundings<'e> {
    pub(super) folder: PathBuf,
    pub(super) env: &'e dyn Fn(&str) -> Option<String>,
    /// The TOML file, and the process file's text: where that is not given, it is put here when it is read.
    pub(super) texts: RefCell<Texts>,
    /// The files that the TOML file names, as they were read.
    pub(super) files: RefCell<Vec<PathBuf>>,
}

/// A secret, and whether others on this machine may read the file that it is in.
pub(super) struct Found {
    pub(super) text: Secret,
    pub(super) exposed: bool,
}

impl Surroundings<'_> {
    /// A path as the TOML file means it: relative to itself.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// A path that is to be written to, and so may be of nothing yet; the error is the rule.
    pub(super) fn place(&self, text: &str) -> Result<PathBuf, String> {
        if text.contains(char::is_control) {
            return Err("must be a path, without control characters".to_owned());
        }
        Ok(self.path(text))
    }

    /// Reads a file that the TOML file names; the error is the rule.
    pub(super) fn read(&self, text: &str) -> Result<String, String> {
        let path = self.path(text);
        self.files.borrow_mut().push(path.clone());
        read(&path)
    }

    /// The same of a file that need not be text, and is no longer than so many bytes.
    pub(super) fn read_bounded(&self, text: &str, most: u64) -> Result<Vec<u8>, String> {
        let path = self.path(text);
        self.files.borrow_mut().push(path.clone());
        let mut bytes = Vec::new();
        let read = fs::File::open(&path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
        read.map_err(|e| format!("must name a file that can be read: {e}"))?;
        if bytes.len() as u64 > most {
            return Err(format!("must name a file of {} MB at most", most >> 20));
        }
        Ok(bytes)
    }

    /// The process file's text.
    pub(super) fn process(&self, text: &str) -> Result<String, String> {
        let mut texts = self.texts.borrow_mut();
        match &texts.process {
            Some(given) => Ok(given.clone()),
            None => Ok(texts.process.insert(read(&self.path(text))?).clone()),
        }
    }

    /// What a secret's reference points to.
    pub(super) fn secret(&self, reference: &str) -> Result<Found, String> {
        if !is_reference(reference) {
            return Err("must be \"env:NAME\" or \"file:path\": a secret does not stand in this file".to_owned());
        }
        let found = if let Some(name) = reference.strip_prefix("env:") {
            let text = (self.env)(name).map(Secret::new);
            Found { text: text.ok_or("must name an environment variable that is set")?, exposed: false }
        } else {
            let name = reference.strip_prefix("file:").unwrap_or_default();
            let mut text = self.read(name).map(Secret::new)?;
            let exposed = fs::metadata(self.path(name)).is_ok_and(|meta| lets_others_read(meta.mode(), meta.uid()));
            // The line's end, cut off in place.
            let text_mut = text.expose_mut();
            if text_mut.ends_with('\n') {
                text_mut.pop();
                text_mut.truncate(text_mut.strip_suffix('\r').unwrap_or(text_mut).len());
            }
            Found { text, exposed }
        };
        if found.text.expose().is_empty() { Err("must not lead to an empty secret".to_owned()) } else { Ok(found) }
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("must name a file that can be read: {e}"))
}

/// Whether a file's mode lets in others than its owner. Root may give a file to a group: to the one that a service, or a
/// container, runs as.
const fn lets_others_read(mode: u32, owner: u32) -> bool {
    let others = if owner == 0 { 0o037 } else { 0o077 };
    mode & others != 0
}

/// Said of a secret's file whose mode lets others in.
pub(super) const EXPOSED: &str = "names a file that others on this machine may read; chmod 600 it";

/// Whether a text says where a secret is, so that it can be shown.
pub(super) fn is_reference(text: &str) -> bool {
    let variable = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    text.strip_prefix("env:").is_some_and(variable) || text.strip_prefix("file:").is_some_and(|path| !path.is_empty())
}

/// Whether a text says of which header a secret is the value, and where it is: `authorization: env:NAME`; or a header that
/// is never one.
pub(super) fn is_header(text: &str) -> bool {
    if is_plain(text) {
        return true;
    }
    text.split_once(": ").is_some_and(|(name, value)| HeaderName::from_str(name).is_ok() && is_reference(value))
}

/// `[token]`
pub(super) fn token(mut section: Section<'_>, around: &Surroundings<'_>) -> Option<Token> {
    section.hide("keys");
    let ephemeral = section.flag("ephemeral");
    let found = section.list("keys", &[], |text| {
        let found = around.secret(text)?;
        Ok((key(found.text.expose())?, found.exposed))
    });
    let empty = found.as_ref().is_some_and(Vec::is_empty);
    let mut keys: Vec<TokenKey> = Vec::new();
    for (index, (key, exposed)) in found.into_iter().flatten().enumerate() {
        if exposed {
            section.item_warn("keys", index, EXPOSED);
        }
        if let Some(twin) = keys.iter().position(|earlier| earlier.0 == key.0) {
            section.item_fault("keys", index, &format!("must differ from token.keys[{twin}]"));
        }
        keys.push(key);
    }
    section.means("keys", None);
    match (section.has("keys"), ephemeral) {
        (true, true) => section.fault("ephemeral", "must not be true beside token.keys"),
        (false, false) => section.fault("keys", "must be set, or token.ephemeral = true; `resetgate key` makes a key"),
        (true, false) if empty => section.fault("keys", "must have at least one key"),
        (false, true) => {
            section.warn("ephemeral", "ends every open reset at exit, and works with one process only");
            match TokenKey::draw() {
                Some(key) => keys.push(key),
                None => section.fault("ephemeral", "needs the system's randomness, which failed"),
            }
        }
        _ => {}
    }
    section.finish();
    Some(Token { keys, ephemeral })
}

/// A key's text: base64 of 32 bytes, as `resetgate key` prints it.
pub(super) fn key(text: &str) -> Result<TokenKey, String> {
    let engine = |alphabet| {
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        GeneralPurpose::new(alphabet, config)
    };
    let decode = |alphabet| engine(alphabet).decode(text.trim()).map(Secret::of);
    let bytes = decode(&STANDARD).or_else(|_| decode(&URL_SAFE)).map_err(|_| "must lead to base64")?;
    let bytes = bytes.expose();
    let mut key = Secret::of([0; 32]);
    if bytes.len() != key.expose().len() {
        return Err(format!("must lead to the base64 of 32 bytes, not of {}; `resetgate key` makes one", bytes.len()));
    }
    key.expose_mut().copy_from_slice(bytes);
    if key == Secret::of([0; 32]) {
        return Err("must not lead to a key of zeros".to_owned());
    }
    Ok(TokenKey(key))
}

/// The key that a reference leads to: `env:NAME`, or `file:path` from the folder that this process is in.
///
/// # Errors
/// The rule that it breaks.
pub fn named_key(reference: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<TokenKey, String> {
    let (texts, files) = (RefCell::default(), RefCell::default());
    key(Surroundings { folder: PathBuf::new(), env, texts, files }.secret(reference)?.text.expose())
}

impl TokenKey {
    /// A fresh key; none where the system has no randomness.
    pub fn draw() -> Option<Self> {
        let mut bytes = Secret::of([0; 32]);
        SystemRandom::new().fill(bytes.expose_mut()).ok()?;
        Some(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_may_give_a_secret_to_a_group() {
        for (mode, owner, exposed) in [
            (0o100_400, 1000, false),
            (0o100_600, 1000, false),
            (0o100_640, 1000, true),
            (0o100_604, 1000, true),
            (0o100_440, 0, false),
            (0o100_640, 0, false),
            (0o100_660, 0, true),
            (0o100_644, 0, true),
        ] {
            assert_eq!(lets_others_read(mode, owner), exposed, "{mode:o} {owner}");
        }
    }
}
