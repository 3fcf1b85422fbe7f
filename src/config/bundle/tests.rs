//! What is said of a bundle.

use super::*;

const GOOD: &str = "host_keys: [k]\nlogins:\n  a: {authorized_keys: [a], policy: bundle:dev}\nbundle: {url: https://policies.example/b.tar.gz, keep: kept, signing: {keys: {k: {algorithm: RS256, file: k.pem}}}}\n";

fn parse(text: &str) -> Result<crate::config::Config, String> {
    crate::config::parse(Path::new("/etc/sandgate.yaml"), text).map_err(|fault| fault.to_string())
}

fn bundle(from: &str, to: &str) -> Result<Bundle, String> {
    assert!(GOOD.contains(from), "{from}");
    Ok(parse(&GOOD.replace(from, to))?.bundle.unwrap())
}

#[test]
fn a_bundle_is_asked_for_as_it_is_written() {
    let config = parse(GOOD).unwrap();
    let login = config.logins.values().next().unwrap();
    assert_eq!(login.policy, Some(PolicySource::Bundle("dev".into())));
    let found = config.bundle.unwrap();
    assert_eq!(found.server.to_string(), "policies.example:443");
    assert_eq!(found.target, "/b.tar.gz");
    assert_eq!(found.keep, Path::new("/etc/kept"));
    let seconds = Duration::from_secs;
    assert_eq!(found.delays, (seconds(60), seconds(120)));
    let polled = |keys: &str| bundle("keep:", &format!("polling: {{{keys}}}, keep:"));
    assert_eq!(
        polled("min_delay_seconds: 5").unwrap().delays,
        (seconds(5), seconds(10))
    );
    assert_eq!(
        polled("max_delay_seconds: 5").unwrap().delays,
        (seconds(3), seconds(5))
    );
    let other = bundle("policies.example/b.tar.gz", "'[::1]:8443/b?x=%20'").unwrap_err();
    assert!(other.contains("4:"), "{other}");
    let other = bundle(
        "https://policies.example/b.tar.gz",
        "'https://[::1]:8443/b?x=%20'",
    );
    let other = other.unwrap();
    assert_eq!(
        (other.server.port, other.target.as_str()),
        (8443, "/b?x=%20")
    );
}

#[test]
fn what_is_less_than_a_signed_bundle_over_https_takes_the_operators_word() {
    let keys = "signing: {keys: {k: {algorithm: RS256, file: k.pem}}}";
    assert_eq!(
        bundle(keys, "unsigned: accept").unwrap().signing,
        Signing::Unsigned
    );
    for (from, to, said) in [
        ("https://", "http://", "anybody's word"),
        ("https://", "https://u:p@", "token_file"),
        ("/b.tar.gz", "", "name the bundle behind the host"),
        (".example/", ".example./", "ends in a dot"),
        (keys, "rules: false", "bundle: says nothing of signatures"),
        (keys, "unsigned: true", "unsigned"),
        (
            "signing:",
            "unsigned: accept, signing:",
            "signed or it is not",
        ),
        ("RS256", "HS256", "shared secret"),
        ("RS256", "none", "known here: RS256"),
        ("k: {", "k: {key: x, ", "give either `file`"),
        ("{keys: {", "{keyid: other, keys: {", "none of `keys`"),
        ("keep:", "timeout: 0, keep:", "0 s is out of range"),
        (
            "keep:",
            "polling: {min_delay_seconds: 9, max_delay_seconds: 8}, keep:",
            "is less than the least",
        ),
        ("bundle:dev", "p.yaml", "no policy comes from it"),
        ("bundle:dev", "bundle:../x", "no name of a policy"),
        ("keep:", "rules: true, keep:", "can't both judge"),
    ] {
        let text = if said == "can't both judge" {
            format!("{GOOD}rules: {{module: r.rego}}\n")
        } else {
            GOOD.to_owned()
        };
        assert!(text.contains(from), "{from}");
        let error = parse(&text.replace(from, to)).unwrap_err();
        assert!(error.contains(said), "{to}: {error}");
        assert!(!error.contains("u:p"), "{error}");
    }
    let without = GOOD.lines().take(3).collect::<Vec<_>>().join("\n");
    let error = parse(&without).unwrap_err();
    assert!(
        error.contains("3:") && error.contains("add `bundle`"),
        "{error}"
    );
}
