//! A login's files of keys and secrets, and what its program for keys says.

use std::io::Read;
use std::os::fd::OwnedFd;

use super::{Given, Monitor, Refusal, unexpected};
use crate::model::LoginName;
use crate::sandbox::protocol::{KeyFiles, LARGEST_KEYS, OfferedKey, Request};

impl Monitor {
    /// The text of the login's authorized_keys files, read afresh. `None` (an unknown login) does the
    /// same work on a configured login's files; the caller discards what it gets.
    pub async fn authorized_keys(&self, login: Option<&LoginName>) -> Result<Vec<u8>, Refusal> {
        let login = login.cloned();
        let files = self.read(Request::AuthorizedKeys { login }).await?;
        Ok(files.join(&b'\n'))
    }

    /// The contents of the login's other files of keys, read afresh; each is there, or none is given.
    /// `None` as above.
    pub async fn key_files(
        &self,
        login: Option<&LoginName>,
        kind: KeyFiles,
    ) -> Result<Vec<Vec<u8>>, Refusal> {
        let login = login.cloned();
        self.read(Request::KeyFiles { login, kind }).await
    }

    /// What the login's program for keys says of this one; nothing where there is no such program. `None` as
    /// above.
    pub async fn keys_command(
        &self,
        login: Option<&LoginName>,
        offered: OfferedKey,
    ) -> Result<Vec<u8>, Refusal> {
        let login = login.cloned();
        let _place = self
            .0
            .commands
            .acquire()
            .await
            .map_err(|e| Refusal(e.to_string()))?;
        let output = self.read(Request::KeysCommand { login, offered }).await?;
        Ok(output.concat())
    }

    async fn read(&self, request: Request) -> Result<Vec<Vec<u8>>, Refusal> {
        let files = match self.ask(request).await? {
            Given::Keys(files) => files,
            other => return Err(unexpected(&other)),
        };
        let read = |file: OwnedFd| {
            let mut contents = Vec::new();
            // A regular file, which the monitor has measured; one that grows is not cut short.
            let mut file = std::fs::File::from(file).take(LARGEST_KEYS + 1);
            match file.read_to_end(&mut contents) {
                Ok(_) if contents.len() as u64 <= LARGEST_KEYS => Ok(contents),
                Ok(_) => Err(Refusal("a file of keys is larger than 1 MiB".into())),
                Err(e) => Err(Refusal(format!("a file of keys: {e}"))),
            }
        };
        files.into_iter().map(read).collect()
    }
}
