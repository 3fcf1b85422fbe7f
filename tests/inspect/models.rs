//! Model endpoints of the test's own, and daemons that lead to them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::secure::certificates;
use super::support::{Daemon, Event, Finished, Setup, World, policy_with, program, wait_until};

/// What the operator pays with; no sandbox may ever see it.
pub(crate) const SECRET: &str = "sk-the-operators-own-and-nobody-elses";

/// Two routes to one upstream, which answers by the name of the model.
const CONFIG: &str = "\
providers:
  paid: {secrets: {KEY: {file: key}}, endpoints: [{host: secure.example, port: 8443}]}
inference:
  routes:
    open:
      upstream: https://secure.example:8443
      protocol: openai
      models: {small: real-small, slow: real-slow, bare: real-bare, wrong: real-401}
      credential: {provider: paid, secret: KEY}
    claude:
      upstream: https://secure.example:8443/team
      protocol: anthropic
      models: {claude: real-claude, claude-wrong: real-401}
      credential: {provider: paid, secret: KEY}
    private: {upstream: 'http://private.example:8081', protocol: openai, models: {mine: real-mine}}
    link: {upstream: 'http://metadata.example:8081', protocol: openai, models: {link: real-link}}
    here: {upstream: 'http://loopback.example:8081', protocol: openai, models: {here: real-here}}
    hasty:
      upstream: https://secure.example:8443
      protocol: openai
      models: {late: real-late, stuck: real-stuck, patient: real-slow}
      timeouts: {answer: 2, idle: 2}
    any: {upstream: 'https://secure.example:8443', protocol: anthropic, default: real-any}
sandboxes:
  agent: {inference: {routes: [open, claude]}}
  local: {inference: {routes: [private, link, here, any, hasty]}}
  bare: {}
";

/// `programs/models.py`.
pub(crate) struct Models {
    child: Child,
    venv: PathBuf,
    root: PathBuf,
    log: PathBuf,
}

impl Models {
    pub(crate) fn start(world: &World) -> Self {
        let venv = super::support::venv_of("venv-models", &["openai==3.54.0", "anthropic==2.12.0"]);
        let dir = &world.dir;
        let root = certificates(dir);
        let (log, ready) = (dir.join("models.log"), dir.join("models.ready"));
        let errors = fs::File::create(dir.join("models.stderr")).expect("a log");
        let child = Command::new("/usr/bin/nsenter")
            .arg(format!("--net=/run/netns/{}u", world.id))
            .args(["/usr/bin/setpriv", "--pdeathsig", "KILL"])
            .args(["/usr/bin/python3", "-I"])
            .arg(program("models.py"))
            .args([
                dir.join("secure.pem"),
                dir.join("secure.key"),
                log.clone(),
                ready.clone(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("the models");
        let came = wait_until(Duration::from_secs(30), || ready.exists());
        let said = fs::read_to_string(dir.join("models.stderr")).unwrap_or_default();
        assert!(came, "the models did not start: {said}");
        pay_with(world, SECRET);
        Self {
            child,
            venv,
            root,
            log,
        }
    }

    /// A daemon by whose definition `agent` sandboxes have both routes; the policy allows nothing.
    pub(crate) fn setup(&self) -> Setup {
        let listed = [
            self.venv.as_path(),
            &program("models_client.py"),
            Path::new("/usr/local"),
        ];
        let listed: Vec<String> = listed
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let policy = policy_with("").replace(
            "read_only: [",
            &format!("read_only: [{}, ", listed.join(", ")),
        );
        let root = self.root.display();
        Setup {
            policy,
            login: "    sandbox: agent\n".to_owned(),
            top: format!("inspection: {{upstream_roots: [{root}]}}\n{CONFIG}"),
            ..Setup::default()
        }
    }

    /// The same with limits on the sandbox's models.
    pub(crate) fn limited(&self, limits: &str) -> Setup {
        let mut setup = self.setup();
        setup.top = setup.top.replace(
            "routes: [open, claude]}",
            &format!("routes: [open, claude], {limits}}}"),
        );
        setup
    }

    /// Runs a part of `programs/models_client.py` in a session.
    pub(crate) fn ask(&self, daemon: &Daemon<'_>, part: &str) -> Finished {
        let python = self.venv.join("bin/python3");
        let line = format!(
            "{} -I {} {part}",
            python.display(),
            program("models_client.py").display()
        );
        daemon.ssh().seconds(60).run(line)
    }

    /// What the upstream has seen.
    pub(crate) fn seen(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Models {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Writes the file that the routes' credential is in.
pub(crate) fn pay_with(world: &World, secret: &str) {
    let path = world.dir.join("key");
    fs::write(&path, format!("{secret}\n")).expect("key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("key");
}

/// The audit's events of requests to models, once there are so many.
#[track_caller]
pub(crate) fn records(daemon: &Daemon<'_>, count: usize) -> Vec<Event> {
    let all = || {
        let mut events = daemon.audit();
        events.retain(|event| event.text("/kind") == "inference");
        events
    };
    wait_until(Duration::from_secs(5), || all().len() >= count);
    let events = all();
    assert_eq!(events.len(), count, "{events:#?}");
    events
}
