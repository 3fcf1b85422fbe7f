//! What stands after a Match.

use super::*;

/// The logins agent and other; what each gets.
fn both(text: &str) -> Result<[crate::config::Login; 2], String> {
    let directory = Directory::new("both");
    let sshd = directory.read(text, &["AllowUsers agent other"], &[]);
    let mut logins = sshd.map_err(|e| e.to_string())?.config.logins;
    let mut take = |name: &str| {
        let name = crate::model::LoginName::try_from(name.to_owned()).unwrap();
        logins.remove(&name).unwrap()
    };
    Ok([take("agent"), take("other")])
}

#[test]
fn what_stands_after_a_match_is_for_its_logins_and_comes_first() {
    let [agent, other] = both(
        "ForceCommand a\nAcceptEnv A\nMatch User ag*\n ForceCommand b\n AcceptEnv B\n AcceptEnv C\n\
         Match User other\n ForceCommand none\n AllowTcpForwarding no\n\
         Match all\n ForceCommand c\n SetEnv X=1 Y=2\n SandboxShell /bin/sh\n",
    )
    .unwrap();
    assert_eq!(agent.force_command.as_deref(), Some("b"));
    assert_eq!(agent.accept_env, ["B", "C"]);
    assert!(agent.forwarding.local);
    assert_eq!(other.force_command, None);
    assert_eq!(other.accept_env, ["A"]);
    assert!(!other.forwarding.local);
    for login in [agent, other] {
        assert_eq!(login.set_env.len(), 2);
        assert_eq!(login.shell, PathBuf::from("/bin/sh"));
    }
}

#[test]
fn what_is_included_after_a_match_is_for_its_logins() {
    let directory = Directory::new("within");
    let part = directory.write("part", "SetEnv A=1\nMatch User a*\nSandboxShell /bin/sh\n");
    let text = format!(
        "Match User *,!other\nInclude {}\nForceCommand x\n",
        part.display()
    );
    let [agent, other] = both(&text).unwrap();
    assert_eq!((agent.set_env.len(), other.set_env.len()), (1, 0));
    assert_eq!(agent.shell, PathBuf::from("/bin/sh"));
    assert_eq!(other.shell, PathBuf::from("/bin/bash"));
    assert_eq!(agent.force_command.as_deref(), Some("x"));
    assert_eq!(other.force_command, None);
}

#[test]
fn what_is_withheld_from_everybody_can_be_given_to_a_login() {
    let [agent, other] = both(
        "PermitTTY no\nPubkeyAuthentication no\nAuthenticationMethods none\nPermitUserEnvironment LANG,MY_*\n\
         Match User agent\nPermitTTY yes\nMatch all\nPubkeyAuthentication yes\nAuthenticationMethods any\n",
    )
    .unwrap();
    assert!(agent.terminal && !other.terminal);
    assert_eq!(agent.key_env, ["LANG", "MY_*"]);
}

#[test]
fn what_is_everybodys_is_refused_after_a_match() {
    for (line, said) in [
        ("Port 22", "Directive 'Port' is not allowed"),
        ("MaxAuthTries 3", "refused: everybody gets the same"),
        ("PasswordAuthentication yes", "refused: passwords"),
    ] {
        let error = both(&format!("Match User nobody\n{line}\n")).unwrap_err();
        assert!(
            error.contains(": line 5: ") && error.contains(said),
            "{error}"
        );
    }
    let chains =
        "Match User agent\nAuthenticationMethods keyboard-interactive,publickey\nSandboxCodes /c\n";
    let error = both(chains).unwrap_err();
    assert!(error.contains("different methods"), "{error}");
}
