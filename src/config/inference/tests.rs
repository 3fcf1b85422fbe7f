//! Routes to models, good and bad.

use std::path::Path;

use super::*;

const GOOD: &str = "\
host_keys: [k]
providers:
  paid: {secrets: {KEY: {file: key}}, endpoints: [{host: models.example, port: 8443}]}
inference:
  routes:
    claude: {upstream: 'https://models.example:8443/team/', protocol: anthropic, models: {small: s-1}, credential: {provider: paid, secret: KEY}}
    local: {upstream: 'http://127.0.0.1:11434', protocol: openai, default: llama, timeouts: {idle: 5}}
sandboxes:
  agent: {inference: {routes: [local, claude], tokens_per_day: 1000}}
logins:
  a: {authorized_keys: [a], policy: p, sandbox: agent}
";

fn parsed(text: &str) -> Result<super::super::Config, String> {
    crate::config::parse(Path::new("/etc/sandgate.yaml"), text).map_err(|e| e.to_string())
}

#[test]
fn routes_are_what_they_say_and_sandboxes_have_those_that_they_name() {
    let config = parsed(GOOD).unwrap();
    let claude = &config.inference["claude"];
    assert_eq!(claude.upstream.to_string(), "models.example:8443");
    assert_eq!(
        (claude.transport, claude.prefix.as_str()),
        (Transport::Tls, "/team")
    );
    let credential = claude.credential.as_ref().unwrap();
    assert_eq!(credential.header, CredentialHeader::XApiKey);
    assert_eq!(credential.secret.as_str(), "KEY");
    assert_eq!((claude.answer, claude.idle), (ANSWER, IDLE));
    let local = &config.inference["local"];
    assert_eq!(local.transport, Transport::Plain);
    assert_eq!(local.idle, Duration::from_secs(5));
    let sharing = &config.logins.values().next().unwrap().sandbox;
    let access = sharing.inference.as_ref().unwrap();
    let names: Vec<&str> = access.routes.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["local", "claude"]);
    assert_eq!(access.allowance.tokens_per_day, Some(1000));
    assert_eq!(access.allowance.requests_per_minute, None);
    assert_eq!(access.allowance.at_once, AT_ONCE);
}

#[test]
fn what_cannot_be_is_refused_where_it_stands() {
    for (from, to, said) in [
        (
            "[local, claude]",
            "[locale]",
            "9:32: sandboxes.agent.inference.routes[0]: no route is called \"locale\"; there is claude, local",
        ),
        (
            "[local, claude]",
            "[]",
            "sandboxes.agent.inference.routes: name at least one",
        ),
        (
            "https://models",
            "ftp://models",
            "6:24: inference.routes.claude.upstream: give a URL",
        ),
        ("/team/", "/v1/", "ends in /v1"),
        ("/team/", "/team?x", "a plain path"),
        (":8443/", ":0/", "inference.routes.claude.upstream"),
        (
            "https://models.example:8443",
            "https://u:p@models.example",
            "inference.routes.claude.upstream",
        ),
        ("models.example:8443", "inference.local", "this gate itself"),
        ("anthropic", "antropic", "did you mean `anthropic`?"),
        ("{small: s-1}", "{}", "serves no model"),
        ("{small: s-1}", "{small: 's 1'}", "is no name of a model"),
        (
            "provider: paid",
            "provider: pait",
            "inference.routes.claude.credential.provider: no provider is called \"pait\"; there is paid",
        ),
        (
            "secret: KEY",
            "secret: KAY",
            "no secret is called \"KAY\"; there is KEY",
        ),
        (
            "port: 8443",
            "port: 443",
            "its secrets are not for models.example:8443/team/v1/messages; name that in `providers.paid.endpoints`",
        ),
        ("idle: 5", "idle: 0", "out of range"),
        (
            "tokens_per_day: 1000",
            "tokens_per_day: 0",
            "nothing could be asked",
        ),
        (
            "tokens_per_day: 1000",
            "at_once: 0",
            "sandboxes.agent.inference.at_once",
        ),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from}");
        let error = parsed(&text).unwrap_err();
        assert!(error.contains(said), "{to}: {error}");
    }
}
