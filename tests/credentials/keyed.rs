//! A daemon with providers, and what has reached the server that their secrets are for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use super::secure::{Cast, Secure};
use super::support::{Finished, Setup, World, venv_of};

/// What may be done, and where secrets are put into what.
pub(crate) const NETWORK: &str = "\
network_policies:
  keyed:
    endpoints:
      - {host: secure.example, port: 8443, protocol: rest, enforcement: enforce, access: full}
      - {host: secure.example, port: 8443, path: /bound/**, protocol: rest, enforcement: enforce, access: full, credential_binding: {provider: other}}
      - {host: secure.example, port: 8443, path: /body/**, protocol: rest, enforcement: enforce, access: full, request_body_credential_rewrite: true}
      - {host: secure.example, port: 8443, path: /aws/**, protocol: rest, enforcement: enforce, access: full, credential_signing: sigv4, signing_service: s3}
      - {host: secure.example, port: 8443, path: /aws/whole/**, protocol: rest, enforcement: enforce, access: full, credential_signing: 'sigv4:body', signing_service: s3, signing_region: us-east-2}
      - {host: secure.example, port: 8443, path: /aws/none/**, protocol: rest, enforcement: enforce, access: full, credential_signing: 'sigv4:no_body', signing_service: s3}
      - {host: secure.example, port: 8443, path: /aws/tables/**, protocol: rest, enforcement: enforce, access: full, credential_signing: 'sigv4:body', signing_service: dynamodb}
      - {host: secure.example, port: 9443, protocol: websocket, enforcement: enforce, access: full, websocket_credential_rewrite: true}
      - {host: allowed.example, port: 8443, protocol: rest, enforcement: enforce, access: full}
    binaries:
      - {path: /**}
";

/// `token`, from a file, for most of the server; `other` for a part; `aws` for another; `injected` for a third.
const PROVIDERS: &str = "\
providers:
  token:
    secrets: {TOKEN: {file: secrets/TOKEN}, BROKEN: {file: secrets/BROKEN}}
    endpoints:
      - {host: secure.example, port: 8443, path: /plain/**}
      - {host: secure.example, port: 8443, path: /body/**}
      - {host: secure.example, port: 9443}
  other:
    secrets: {OTHER: {file: secrets/OTHER}}
    endpoints: [{host: secure.example, port: 8443, path: /bound/**}]
  aws:
    secrets:
      AWS_ACCESS_KEY_ID: {file: secrets/AWS_ACCESS_KEY_ID}
      AWS_SECRET_ACCESS_KEY: {file: secrets/AWS_SECRET_ACCESS_KEY}
      AWS_SESSION_TOKEN: {file: secrets/AWS_SESSION_TOKEN}
    endpoints: [{host: secure.example, port: 8443, path: /aws/**}]
  injected:
    secrets: {HIDDEN: {file: secrets/HIDDEN}}
    endpoints: [{host: secure.example, port: 8443, path: /injected/**}]
    inject: {header: Authorization, value: 'Bearer {HIDDEN}'}
";

/// The login's definition.
const LOGIN: &str = "    sandbox: {providers: [token, other, aws, injected]}\n";

/// A secret that every encoding has to do something about.
pub(crate) const TOKEN: &str = "t0p&s3cret=\"w+rd\" 100%:x";

/// The servers, with the secrets beside them.
pub(crate) struct Keyed<'w> {
    pub(crate) world: &'w World,
    pub(crate) secure: Secure,
}

impl<'w> Keyed<'w> {
    pub(crate) fn start(world: &'w World) -> Self {
        let packages = ["requests==2.32.5", "websockets==15.0.1", "botocore==1.44.5"];
        let cast = Cast {
            server: "keyed.py",
            client: "keyed_client.py",
            venv: venv_of("venv-credentials", &packages),
        };
        fs::create_dir(world.dir.join("secrets")).unwrap();
        let keyed = Self {
            secure: Secure::start_as(world, cast),
            world,
        };
        for (name, value) in [
            ("TOKEN", TOKEN),
            ("BROKEN", "one\r\nX-Two: yes"),
            ("OTHER", "another-one"),
            ("HIDDEN", "never-named"),
            ("AWS_ACCESS_KEY_ID", "AKIDREALKEY"),
            (
                "AWS_SECRET_ACCESS_KEY",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYREALKEY",
            ),
            ("AWS_SESSION_TOKEN", "session+token/of==ours"),
        ] {
            keyed.write(name, value);
        }
        keyed
    }

    /// Gives a secret a value, with a line's end as editors leave it.
    pub(crate) fn write(&self, name: &str, value: &str) {
        let path = self.secret(name);
        fs::write(&path, format!("{value}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.world.dir.join("secrets").join(name)
    }

    pub(crate) fn setup(&self) -> Setup {
        self.setup_with(PROVIDERS, LOGIN)
    }

    pub(crate) fn setup_with(&self, providers: &str, login: &str) -> Setup {
        let setup = self.secure.setup(NETWORK);
        Setup {
            top: format!("{}{providers}", setup.top),
            login: login.to_owned(),
            ..setup
        }
    }

    /// Everything that has reached the server.
    pub(crate) fn arrived(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.world.dir.join("arrived")).unwrap_or_default();
        let parsed = text.lines().map(|line| serde_json::from_str(line).unwrap());
        parsed.collect()
    }

    /// The last that has.
    pub(crate) fn last(&self) -> Value {
        self.arrived().pop().expect("something has arrived")
    }
}

/// `curl`, which prints what it got and the status.
pub(crate) fn curl(arguments: &str) -> String {
    format!("curl -sS -w '%{{http_code}}' {arguments}")
}

/// Whether an answer is this status with this error.
#[track_caller]
pub(crate) fn refused(session: &Finished, status: u16, error: &str) {
    let out = session.out();
    assert!(out.ends_with(&status.to_string()), "{session}");
    assert!(out.contains(&format!("\"error\":\"{error}\"")), "{session}");
}
