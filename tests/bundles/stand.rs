//! A server of bundles, whoever signs them, and a daemon that goes by them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{
    Daemon, Finished, Master, Setup, World, program, run, sandgate, venv_of, wait_until,
};

/// More than two polls and a reload on a busy host.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A server's place and keys, with a bundle to come.
pub(crate) struct Stand<'w> {
    world: &'w World,
    server: Option<Child>,
    python: PathBuf,
    root: PathBuf,
}

impl<'w> Stand<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        let packages = ["cryptography==46.0.3", "PyJWT==2.10.1"];
        let python = venv_of("venv-bundles", &packages).join("bin/python3");
        let stand = Self {
            root: super::secure::certificates(&world.dir),
            world,
            server: None,
            python,
        };
        fs::create_dir_all(stand.dir("served")).unwrap();
        fs::create_dir_all(stand.dir("kept")).unwrap();
        fs::set_permissions(stand.dir("kept"), fs::Permissions::from_mode(0o700)).unwrap();
        let dir = world.dir.display().to_string();
        stand.python(&["keys", &dir]);
        fs::write(world.dir.join("token"), "let-me-in\n").unwrap();
        stand
    }

    /// The same, with a server that hands out this bundle.
    pub(crate) fn serving(world: &'w World, bundle: Value) -> Self {
        let mut stand = Self::new(world);
        stand.pack(bundle);
        stand.serve();
        stand
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.world.dir.join(name)
    }

    pub(crate) fn key(&self, name: &str) -> String {
        self.dir(name).display().to_string()
    }

    fn python(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.python);
        command.arg("-I").arg(program("bundles.py")).args(arguments);
        run(&mut command, 60).expect_code(0);
    }

    /// Hands out another one; signed by `rsa.key` unless it says otherwise.
    pub(crate) fn pack(&self, mut bundle: Value) {
        if bundle.get("key").is_none() {
            bundle["key"] = json!(self.key("rsa.key"));
        }
        let out = self.dir("served/bundle.tar.gz").display().to_string();
        self.python(&["pack", &out, &bundle.to_string()]);
    }

    pub(crate) fn serve(&mut self) {
        drop(fs::remove_file(self.dir("served/ready")));
        let errors = fs::File::create(self.dir("served.stderr")).unwrap();
        let child = Command::new("/usr/bin/nsenter")
            .arg(format!("--net=/run/netns/{}u", self.world.id))
            .args(["/usr/bin/setpriv", "--pdeathsig", "KILL"])
            .arg(&self.python)
            .arg("-I")
            .arg(program("bundles.py"))
            .arg("serve")
            .args(["served", "secure.pem", "secure.key"].map(|name| self.dir(name)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        self.server = Some(child);
        let ready = wait_until(Duration::from_secs(30), || {
            self.dir("served/ready").exists()
        });
        let said = fs::read_to_string(self.dir("served.stderr")).unwrap_or_default();
        assert!(ready, "the server did not start: {said}");
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.server.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Each request: status, path, If-None-Match, Authorization.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir("served/log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// `bundle`, polled each second; `more` are keys, with `rsa` as `k` unless they say something of signing.
    pub(crate) fn setup(&self, more: &str, top: &str) -> Setup {
        let signing = if more.contains("signing:") || more.contains("unsigned:") {
            ""
        } else {
            ", signing: {keys: {k: {algorithm: RS256, file: rsa.pem}}}"
        };
        let more = if more.is_empty() {
            String::new()
        } else {
            format!(", {more}")
        };
        Setup {
            top: format!(
                "bundle: {{url: 'https://secure.example:8443/b/policy.tar.gz', ca: {}, keep: kept, timeout: 8, polling: {{min_delay_seconds: 1, max_delay_seconds: 1}}{more}{signing}}}\n{top}",
                self.root.display()
            ),
            ..Setup::closed()
        }
    }

    /// A daemon whose login has the policy `dev` of the bundle.
    pub(crate) fn start(&self, setup: &Setup) -> Daemon<'w> {
        Daemon::start_by(self.world, setup, |command| {
            self.name_the_bundle();
            command
        })
    }

    fn name_the_bundle(&self) {
        let config = self.dir("sandgate.yaml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(
            &config,
            text.replace("policy: policy.yaml", "policy: bundle:dev"),
        )
        .unwrap();
    }

    /// A command line that is to end by itself.
    pub(crate) fn sandgate(&self, setup: &Setup, command: &str) -> Finished {
        let config = setup.write(self.world);
        self.name_the_bundle();
        let config = config.display().to_string();
        run(
            &mut sandgate(self.world, setup, &[command, "--config", &config]),
            60,
        )
    }
}

impl Drop for Stand<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A bundle with one policy, which lets curl out or nothing.
pub(crate) fn bundle(revision: &str, open: bool) -> Value {
    let manifest = json!({"revision": revision, "roots": ["sandgate"]});
    json!({"files": {
        ".manifest": manifest.to_string(),
        "data.json": json!({"sandgate": {"policies": {"dev": policy(open)}}}).to_string(),
    }})
}

pub(crate) fn policy(open: bool) -> Value {
    let there = [
        "/usr",
        "/bin",
        "/sbin",
        "/lib",
        "/lib64",
        "/etc/ssl",
        "/etc/alternatives",
        "/etc/ld.so.cache",
    ];
    let there: Vec<_> = there
        .iter()
        .filter(|path| Path::new(path).exists())
        .collect();
    let mut policy = json!({
        "version": 1,
        "filesystem_policy": {"include_workdir": true, "read_only": there, "read_write": ["/sandbox", "/tmp"]},
        "landlock": {"compatibility": "hard_requirement"},
    });
    if open {
        policy["network_policies"] = json!({"web": {
            "endpoints": [{"host": "allowed.example", "port": 80}],
            "binaries": [{"path": "/usr/bin/curl"}],
        }});
    }
    policy
}

/// The HTTP status that curl gets in a sandbox; `000` where the proxy lets nothing out.
pub(crate) fn fetch(master: &Master) -> String {
    let line =
        "curl -sS -o /dev/null -w '%{http_code}' http://allowed.example/ 2>/dev/null || true";
    master.ssh().run(line).out()
}

pub(crate) fn comes(master: &Master, code: &str) -> bool {
    wait_until(SOON, || fetch(master) == code)
}

pub(crate) fn status(daemon: &Daemon<'_>) -> (i32, Value) {
    let socket = format!("/run/sandgate/{}.sock", daemon.id());
    let question = ["status", "--json", "--socket", &socket];
    let said = run(&mut sandgate(daemon.world, &Setup::closed(), &question), 20);
    (said.code(), serde_json::from_str(&said.out()).unwrap())
}

/// Whether the bundle's failure comes to say this; empty for none.
pub(crate) fn fails(daemon: &Daemon<'_>, reason: &str) -> bool {
    wait_until(SOON, || {
        let said = status(daemon).1;
        match said["bundle"]["failure"]["reason"].as_str() {
            None => reason.is_empty(),
            Some(said) => !reason.is_empty() && said.contains(reason),
        }
    })
}

/// Reloads as the audit trail has them: taken, and by which generation.
pub(crate) fn reloads(daemon: &Daemon<'_>) -> Vec<(String, String)> {
    let all = daemon.audit();
    let reloads = all.iter().filter(|event| event.text("/kind") == "reload");
    reloads
        .map(|event| (event.text("/taken"), event.text("/generation")))
        .collect()
}
