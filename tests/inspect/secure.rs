//! The servers behind TLS, with an authority of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};

use super::support::{Setup, World, policy_with, program, run, wait_until};

/// What is allowed: some of HTTP, some of gRPC, and text on a WebSocket; git may fetch, and push nowhere.
pub(crate) const NETWORK: &str = "\
network_policies:
  secure:
    endpoints:
      - host: secure.example
        port: 8443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /public/**}
          - allow: {method: POST, path: /public/**}
          - allow: {method: GET, path: /repo.git/info/refs, query: {service: git-upload-pack}}
          - allow: {method: POST, path: /repo.git/git-upload-pack}
      - host: secure.example
        port: 50051
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: POST, path: /test.Echo/Once}
          - allow: {method: POST, path: /test.Echo/Each}
      - host: secure.example
        port: 9443
        protocol: websocket
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /chat}
          - allow: {method: WEBSOCKET_TEXT, path: /chat}
    binaries:
      - {path: /**}
";

/// A server and a client of its: programs under tests/programs, and the Python that runs them.
pub(crate) struct Cast {
    pub(crate) server: &'static str,
    pub(crate) client: &'static str,
    pub(crate) venv: PathBuf,
}

/// A server behind TLS, and what is needed to believe it.
pub(crate) struct Secure {
    child: Child,
    /// Python with what clients need.
    pub(crate) venv: PathBuf,
    client: &'static str,
    /// Its authority's certificate.
    pub(crate) root: PathBuf,
}

impl Secure {
    /// `programs/secure.py`.
    pub(crate) fn start(world: &World) -> Self {
        let cast = Cast {
            server: "secure.py",
            client: "secure_client.py",
            venv: venv(),
        };
        Self::start_as(world, cast)
    }

    pub(crate) fn start_as(world: &World, cast: Cast) -> Self {
        let Cast {
            server,
            client,
            venv,
        } = cast;
        let dir = &world.dir;
        let root = certificates(dir);
        let ready = dir.join("secure.ready");
        let repositories = dir.join("repositories");
        repository(&repositories.join("repo.git"));
        let errors = fs::File::create(dir.join("secure.stderr")).expect("a log");
        let child = Command::new("/usr/bin/nsenter")
            .arg(format!("--net=/run/netns/{}u", world.id))
            .args(["/usr/bin/setpriv", "--pdeathsig", "KILL"])
            .arg(venv.join("bin/python3"))
            // Its neighbours must not pass for Python's own modules.
            .arg("-I")
            .arg(program(server))
            .args([
                dir.join("secure.pem"),
                dir.join("secure.key"),
                repositories,
                ready.clone(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("the secure upstream");
        let came = wait_until(Duration::from_secs(30), || ready.exists());
        let said = fs::read_to_string(dir.join("secure.stderr")).unwrap_or_default();
        assert!(came, "the secure upstream did not start: {said}");
        Self {
            child,
            venv,
            client,
            root,
        }
    }

    /// A daemon that believes it, with these network policies.
    pub(crate) fn setup(&self, network: &str) -> Setup {
        let more = [&self.venv, &program(self.client), Path::new("/usr/local")];
        let more: Vec<String> = more.iter().map(|path| path.display().to_string()).collect();
        let policy = policy_with(network).replace(
            "read_only: [",
            &format!("read_only: [{}, ", more.join(", ")),
        );
        Setup {
            policy,
            top: format!(
                "inspection: {{upstream_roots: [{}]}}\n",
                self.root.display()
            ),
            ..Setup::default()
        }
    }

    /// The same, and these paths of the host can be read.
    pub(crate) fn setup_with(&self, network: &str, more: &[&Path]) -> Setup {
        let mut setup = self.setup(network);
        for path in more {
            let listed = format!("read_only: [{}, ", path.display());
            setup.policy = setup.policy.replace("read_only: [", &listed);
        }
        setup
    }

    /// The command line of a part of `programs/secure_client.py`.
    pub(crate) fn client(&self, part: &str) -> String {
        let python = self.venv.join("bin/python3");
        format!(
            "{} -I {} {part}",
            python.display(),
            program(self.client).display()
        )
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An authority, and a certificate of it for secure.example.
pub(crate) fn certificates(dir: &Path) -> PathBuf {
    let name = |text: &str| {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, text);
        name
    };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = name("a test's root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["secure.example".to_owned()]).unwrap();
    leaf.distinguished_name = name("secure.example");
    leaf.use_authority_key_identifier_extension = true;
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    fs::write(dir.join("secure.pem"), leaf.pem()).unwrap();
    fs::write(dir.join("secure.key"), key.serialize_pem()).unwrap();
    fs::write(dir.join("root.pem"), root.pem()).unwrap();
    dir.join("root.pem")
}

/// A bare repository with one commit.
fn repository(path: &Path) {
    let script = r#"set -e
        git init --quiet --bare --initial-branch=main "$1"
        git clone --quiet "$1" "$1.work" 2>/dev/null
        cd "$1.work"
        git checkout --quiet -B main
        echo content > file
        git add file
        git -c user.name=t -c user.email=t@example commit --quiet -m first
        git push --quiet origin main"#;
    let mut command = Command::new("/bin/bash");
    command.args(["-c", script, "bash"]).arg(path);
    run(&mut command, 20).expect_code(0);
}

/// Python with clients and servers that Debian has not or has old: made once, from PyPI.
fn venv() -> PathBuf {
    let packages = [
        "requests==2.32.5",
        "httpx[http2]==0.28.1",
        "grpcio==1.76.0",
        "websockets==15.0.1",
    ];
    super::support::venv_of("venv-inspect", &packages)
}
