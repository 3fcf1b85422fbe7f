//! Lists in text; those in OpenSSH's binary form are proven with ssh-keygen's under tests/ssh.

use super::*;

const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDscceDmMFuGdh2h5T19Mkso5ne4TFyCV45kiy00Kd2q";
const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBFAENn15VaCCrKWEmbyWiHr9Gfbx\
    lNjxkJ5t4uompxMhRdydnJulBK8573l1Bnc6gItMb8KohO+Djh8LuoSyQwA=";

fn data(line: &str) -> KeyData {
    PublicKey::from_openssh(line).unwrap().key_data().clone()
}

#[test]
fn a_list_of_keys_revokes_those_and_no_other() {
    let text = format!("# gone\n\n{ED25519} J\u{fc}rgen\n");
    let lists = Revocations::parse(&[Vec::new(), text.into_bytes()]).unwrap();
    assert_eq!(lists.find(&data(ED25519), None), Some(Revoked::Key));
    assert_eq!(lists.find(&data(P256), None), None);
    assert_eq!(Revocations::default().find(&data(ED25519), None), None);
}

#[test]
fn a_file_that_is_no_list_names_itself() {
    let text = format!("{ED25519}\nnobody\n");
    let error = Revocations::parse(&[Vec::new(), text.into_bytes()]).unwrap_err();
    assert_eq!((error.file, error.problem), (2, RevocationProblem::Line(2)));
    let error = Revocations::parse(&[[MAGIC, b"\0"].concat()]).unwrap_err();
    assert_eq!(error.problem, RevocationProblem::Krl(KrlError::Length));
}
