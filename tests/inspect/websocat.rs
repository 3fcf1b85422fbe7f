//! A client that knows no proxy: it is given its connection by a program that does, as its manual says.

use super::clients::requests;
use super::secure::{NETWORK, Secure};
use super::support::{Daemon, Finished, World, websocat};

/// Says `input` by `mode` (`--text`, `--binary`) to a path, and gives what came back. websocat's `ws-c:` is a
/// client over whatever transport, `cmd:` a program as one.
fn say(daemon: &Daemon<'_>, environment: &str, mode: &str, path: &str) -> Finished {
    let line = format!(
        "{environment} {} {mode} --one-message --no-close --tls-domain secure.example \
         --ws-c-uri=ws://secure.example:9443{path} - \
         ws-c:ssl-connect:cmd:'socat - PROXY:127.0.0.1:secure.example:9443,proxyport=3128'",
        websocat().display()
    );
    daemon.ssh().seconds(30).input("said\n").run(line)
}

#[test]
fn websocat_says_what_rules_allow() {
    let world = World::new();
    let secure = Secure::start(&world);
    let program = websocat();
    {
        let daemon = Daemon::start(&world, &secure.setup_with(NETWORK, &[&program]));
        let text = say(&daemon, "", "--text", "/chat");
        assert_eq!(text.out(), "said\n", "{text}");
        assert!(requests(&daemon, "deny").is_empty());

        // The upgrade of another path, and then a frame that no rule allows.
        let elsewhere = say(&daemon, "", "--text", "/other");
        assert_eq!(elsewhere.out(), "", "{elsewhere}");
        assert_ne!(elsewhere.code(), 0, "{elsewhere}");
        let binary = say(&daemon, "", "--binary", "/chat");
        assert_eq!(binary.out(), "", "{binary}");
        let denied = requests(&daemon, "deny");
        let denied: Vec<_> = (denied.iter())
            .map(|event| format!("{} {}", event.text("/method"), event.text("/path")))
            .collect();
        assert_eq!(denied, ["GET /other", "WEBSOCKET_BINARY /chat"]);

        // Without the bundle that every session's environment names it believes nobody.
        let doubting = say(
            &daemon,
            "SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/nonexistent",
            "--text",
            "/chat",
        );
        assert_eq!(doubting.out(), "", "{doubting}");
        assert!(
            doubting.err().contains("certificate verify failed"),
            "{doubting}"
        );
    }
    // The control: with a rule for it, binary comes back.
    let open = NETWORK.replace("method: WEBSOCKET_TEXT", "method: '*'");
    let daemon = Daemon::start(&world, &secure.setup_with(&open, &[&program]));
    let binary = say(&daemon, "", "--binary", "/chat");
    assert_eq!(binary.out(), "said\n", "{binary}");
}
