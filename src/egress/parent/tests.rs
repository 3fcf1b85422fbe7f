//! What is read of an upstream proxy's answer, and of the file of its credentials.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_status_line_is_read_strictly() {
    for (head, expected) in [
        ("HTTP/1.1 200 Connection established\r\n", Some(200)),
        ("HTTP/1.0 200 OK\r\n", Some(200)),
        ("HTTP/1.1 407 \r\n", Some(407)),
        ("HTTP/1.1 200\r\n", Some(200)),
        ("HTTP/1.1 2000 x\r\n", None),
        ("HTTP/1.1 20\r\n", None),
        ("HTTP/1.1 +20 \r\n", None),
        ("HTTP/2 200 OK\r\n", None),
        ("ICY 200 OK\r\n", None),
        ("SSH-2.0-x\r\n", None),
        ("", None),
    ] {
        assert_eq!(status(head.as_bytes()), expected, "{head:?}");
    }
    assert_eq!(
        end_of_head(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nSSH-"),
        Some(25)
    );
    assert_eq!(end_of_head(b"HTTP/1.1 200 OK\r\nA: b\r\n"), None);
}

#[test]
fn credentials_are_one_line_that_root_alone_reads() {
    let name = format!("sandgate-credentials-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let read = |text: &str, mode: u32| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        authorization(&path)
    };
    // RFC 7617 §2's own example.
    let known = read("Aladdin:open sesame\n", 0o600).unwrap();
    assert_eq!(known.as_str(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(read("user:", 0o400).is_ok() && read("u:p:q\r\n", 0o600).is_ok());
    let long = format!("u:{}", "hush".repeat(1024));
    for (text, mode) in [
        ("u:hush", 0o640),
        ("", 0o600),
        ("hush", 0o600),
        (":hush", 0o600),
        ("u:hush\nmore", 0o600),
        ("u:hu\0sh", 0o600),
        (&long, 0o600),
    ] {
        let error = read(text, mode).unwrap_err().to_string();
        assert!(
            !error.contains("hush") && error.contains("sandgate-credentials"),
            "{error}"
        );
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(
        authorization(&path),
        Err(ParentError::Read { .. })
    ));
}

#[tokio::test]
async fn an_answer_ends_with_its_head_however_it_comes() {
    let whole = b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nSSH-2.0-server\r\n\r\n";
    let head = whole.len() - "SSH-2.0-server\r\n\r\n".len();
    for cut in 0..=whole.len() {
        let (first, rest) = whole.split_at(cut);
        let (found, mut early) = answer(&mut AsyncReadExt::chain(first, rest)).await.unwrap();
        // What is not there yet is read by whoever relays.
        early.extend_from_slice(whole.get(found.len() + early.len()..).unwrap());
        assert_eq!((&found[..], &early[..]), whole.split_at(head), "{cut}");
        if cut < head {
            let error = answer(&mut &first[..]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
    }
    let endless = [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'a'; 1 << 20]].concat();
    let error = answer(&mut &endless[..]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
