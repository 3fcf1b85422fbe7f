//! Names of users and groups, from /etc/passwd and /etc/group as this process sees them.
//!
//! Not through the C library, whose name services would load code from the file system and may connect to daemons.

use std::collections::BTreeMap;

/// What the two files say; where they can't be read, nobody has a name.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: BTreeMap<u32, Vec<u8>>,
    groups: BTreeMap<u32, Vec<u8>>,
    homes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Accounts {
    pub(super) fn read() -> Self {
        let text = |path| std::fs::read(path).unwrap_or_default();
        Self::parse(&text("/etc/passwd"), &text("/etc/group"))
    }

    /// passwd(5), group(5). The first of two lines for one id holds, as for getpwuid(3).
    pub(super) fn parse(passwd: &[u8], group: &[u8]) -> Self {
        let mut accounts = Self::default();
        for line in passwd.split(|b| *b == b'\n') {
            let fields: Vec<&[u8]> = line.split(|b| *b == b':').collect();
            if let [name, _, uid, _, _, home, _] = *fields
                && let Some(uid) = id(uid)
            {
                accounts.users.entry(uid).or_insert_with(|| name.to_vec());
                let home = home.to_vec();
                accounts.homes.entry(name.to_vec()).or_insert(home);
            }
        }
        for line in group.split(|b| *b == b'\n') {
            let mut fields = line.split(|b| *b == b':');
            if let (Some(name), _, Some(gid)) = (fields.next(), fields.next(), fields.next())
                && let Some(gid) = id(gid)
            {
                accounts.groups.entry(gid).or_insert_with(|| name.to_vec());
            }
        }
        accounts
    }

    pub(super) fn user(&self, uid: u32) -> Option<&[u8]> {
        self.users.get(&uid).map(Vec::as_slice)
    }

    pub(super) fn group(&self, gid: u32) -> Option<&[u8]> {
        self.groups.get(&gid).map(Vec::as_slice)
    }

    pub(super) fn home(&self, user: &[u8]) -> Option<&[u8]> {
        self.homes.get(user).map(Vec::as_slice)
    }
}

fn id(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}
