//! A folder as a carrier, for development: one file a mail, readable by nobody else.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::PathBuf,
};

use async_trait::async_trait;
use tokio::{fs, io::AsyncWriteExt};

use super::{Carrier, Outcome, Trouble, letter::Written};
use crate::reset::ports::Secret;

/// Where the files go.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder (0700) if it is not there, and tries whether it takes files: better no start than mails that
    /// fail one by one.
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let trial = path.join(format!(".{}.tmp", std::process::id()));
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&trial)?;
        std::fs::remove_file(&trial)?;
        let mode = std::fs::metadata(&path)?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(
                mode = format!("{:o}", mode & 0o7777),
                "others can list the mail folder; 0700 would be right"
            );
        }
        Ok(Self(path))
    }

    /// Writes under another name first, so that whoever watches the folder never reads half a mail.
    async fn write(&self, id: &str, content: &[u8]) -> io::Result<()> {
        let draft = self.0.join(format!(".{id}.tmp"));
        let written = async {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).await?;
            file.write_all(content).await?;
            file.flush().await?;
            fs::rename(&draft, self.0.join(format!("{id}.eml"))).await
        };
        let result = written.await;
        if result.is_err() {
            // A draft left behind would stand in the way of the next attempt, which bears the same name.
            let _ = fs::remove_file(&draft).await;
        }
        result
    }
}

#[async_trait]
impl Carrier for Folder {
    async fn carry(&self, letter: &Written) -> Outcome {
        let Ok(message) = letter.message() else { return Outcome::Refused(Trouble::new("letter")) };
        match self.write(&letter.id, Secret::of(message.formatted()).expose()).await {
            Ok(()) => Outcome::Taken,
            Err(_) => Outcome::Failed(Trouble::new("file")),
        }
    }

    async fn probe(&self) -> Result<(), Trouble> {
        match fs::metadata(&self.0).await {
            Ok(found) if found.is_dir() => Ok(()),
            _ => Err(Trouble::new("file")),
        }
    }
}
