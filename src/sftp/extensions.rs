//! OpenSSH's extensions, and two of the drafts' that its clients use (OpenSSH's PROTOCOL, §4).

use rustix::fs::{StatVfs, StatVfsMountFlags};

use super::packet::{Fields, LONGEST_DATA, LONGEST_PACKET, Reply};
use super::paths::{self, resolve};
use super::server::Server;
use super::status::Refusal;

/// As VERSION lists them: names and versions.
pub(super) const EXTENSIONS: &[(&str, &str)] = &[
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
    ("copy-data", "1"),
    ("home-directory", "1"),
    ("users-groups-by-id@openssh.com", "1"),
];

impl Server<'_> {
    pub(super) fn extended(
        &mut self,
        fields: &mut Fields<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        match fields.string()? {
            b"posix-rename@openssh.com" => paths::replace(fields, reply),
            b"statvfs@openssh.com" => {
                capacity(&rustix::fs::statvfs(fields.string()?)?, reply);
                Ok(())
            }
            b"fstatvfs@openssh.com" => {
                let descriptor = self.handles.descriptor(fields)?;
                capacity(&rustix::fs::fstatvfs(descriptor)?, reply);
                Ok(())
            }
            b"hardlink@openssh.com" => paths::link(fields, reply),
            b"fsync@openssh.com" => self.fsync(fields, reply),
            b"lsetstat@openssh.com" => paths::lsetstat(fields, reply),
            b"limits@openssh.com" => {
                self.limits(reply);
                Ok(())
            }
            b"expand-path@openssh.com" => {
                let path = self.expand(fields.string()?)?;
                reply.path(&resolve(&path)?);
                Ok(())
            }
            b"copy-data" => self.copy(fields, reply),
            b"home-directory" => {
                reply.path(self.home_of(fields.string()?)?);
                Ok(())
            }
            b"users-groups-by-id@openssh.com" => self.names_of_ids(fields, reply),
            _ => Err(Refusal::Unsupported),
        }
    }

    fn limits(&self, reply: &mut Reply) {
        reply.extended();
        reply.u64(LONGEST_PACKET.into());
        // Of one READ, of one WRITE.
        reply.u64(LONGEST_DATA.into());
        reply.u64(LONGEST_DATA.into());
        reply.u64(self.handles.most());
    }

    /// `~`, `~/…`, `~user` and `~user/…`; any other path stays as it is.
    fn expand(&self, path: &[u8]) -> Result<Vec<u8>, Refusal> {
        let Some(rest) = path.strip_prefix(b"~") else {
            return Ok(path.to_vec());
        };
        let slash = rest.iter().position(|b| *b == b'/');
        let (user, rest) = rest.split_at(slash.unwrap_or(rest.len()));
        Ok([self.home_of(user)?, rest].concat())
    }

    /// Nobody's name is this user's.
    fn home_of(&self, user: &[u8]) -> Result<&[u8], Refusal> {
        if user.is_empty() {
            return Ok(self.home);
        }
        self.accounts.home(user).ok_or(Refusal::NoSuchUser)
    }

    /// Two strings of ids in, two strings of names out; an id without a name has an empty one.
    fn names_of_ids(&self, fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
        let (uids, gids) = (fields.string()?, fields.string()?);
        let users = packed(uids, |uid| self.accounts.user(uid))?;
        let groups = packed(gids, |gid| self.accounts.group(gid))?;
        reply.extended();
        reply.string(&users);
        reply.string(&groups);
        Ok(())
    }
}

fn packed<'a>(ids: &[u8], name: impl Fn(u32) -> Option<&'a [u8]>) -> Result<Vec<u8>, Refusal> {
    let (mut ids, mut names) = (Fields::of(ids), Vec::new());
    while !ids.is_empty() {
        let name = name(ids.u32()?).unwrap_or_default();
        names.extend_from_slice(&u32::try_from(name.len()).unwrap_or(0).to_be_bytes());
        names.extend_from_slice(name);
    }
    Ok(names)
}

fn capacity(system: &StatVfs, reply: &mut Reply) {
    let has = |flag, bit| if system.f_flag.contains(flag) { bit } else { 0 };
    reply.extended();
    for value in [
        system.f_bsize,
        system.f_frsize,
        system.f_blocks,
        system.f_bfree,
        system.f_bavail,
        system.f_files,
        system.f_ffree,
        system.f_favail,
        system.f_fsid,
        // SSH_FXE_STATVFS_ST_RDONLY, SSH_FXE_STATVFS_ST_NOSUID.
        has(StatVfsMountFlags::RDONLY, 1) | has(StatVfsMountFlags::NOSUID, 2),
        system.f_namemax,
    ] {
        reply.u64(value);
    }
}
