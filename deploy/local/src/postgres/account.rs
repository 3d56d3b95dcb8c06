//! Which user PostgreSQL runs as: it refuses to run as root.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Error, Result};

/// Who runs the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// Ourselves: we are not root.
    Own,
    /// The account `postgres` of this machine, by its numbers.
    Postgres { user: u32, group: u32 },
    /// A user namespace in which root's files belong to an ordinary user.
    Namespace,
}

impl Account {
    /// The way that fits this process and this machine.
    pub(crate) fn detect() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::Own;
        }
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        parse(&accounts).unwrap_or(Self::Namespace)
    }

    /// The command that a program is started through; it ends in `exec`.
    pub(crate) fn wrapper(self) -> Vec<String> {
        match self {
            Self::Own => Vec::new(),
            Self::Postgres { user, group } => {
                vec![
                    "setpriv".into(),
                    format!("--reuid={user}"),
                    format!("--regid={group}"),
                    "--clear-groups".into(),
                    "--".into(),
                ]
            }
            Self::Namespace => {
                ["unshare", "-U", "--map-user=1000", "--map-group=1000", "--"].map(String::from).into()
            }
        }
    }

    /// Gives a folder to the server's user.
    pub(crate) fn own(self, folder: &Path) -> Result<()> {
        match self {
            Self::Postgres { user, group } => std::os::unix::fs::chown(folder, Some(user), Some(group))
                .map_err(Error::io(format!("giving {} to the user postgres", folder.display()))),
            Self::Own | Self::Namespace => Ok(()),
        }
    }

    /// Whether the server's user can reach and write a folder.
    pub(crate) fn reaches(self, folder: &Path) -> bool {
        let mut line = self.wrapper();
        line.extend(["test".into(), "-w".into()]);
        Command::new(&line[0])
            .args(&line[1..])
            .arg(folder.join("."))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// The account `postgres` in the text of `/etc/passwd`.
fn parse(accounts: &str) -> Option<Account> {
    let line = accounts.lines().find(|line| line.starts_with("postgres:"))?;
    let mut numbers = line.split(':').skip(2);
    Some(Account::Postgres { user: numbers.next()?.parse().ok()?, group: numbers.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_account() {
        let text = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(parse(text), Some(Account::Postgres { user: 101, group: 104 }));
        assert_eq!(parse("root:x:0:0::/root:/bin/sh\n"), None);
    }
}
