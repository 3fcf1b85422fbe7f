//! Upstream proxies for the daemon's gate: tinyproxy, and TLS in front of it by socat.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::support::{Running, World, run, wait_until};

/// What the proxy wants to be told. None of it may be found anywhere but in the gate.
pub(crate) const PASSWORD: &str = "hush-4f1c92";

/// A proxy at 20.30.40.10:3128, and in TLS as secure.example:3129, which also reaches 30.31.32.33.
pub(crate) struct Tinyproxy {
    log: std::path::PathBuf,
    _processes: Vec<Running>,
}

impl Tinyproxy {
    /// `hosts` are more lines of the hosts(5) that it reads.
    pub(crate) fn start(world: &World, hosts: &str) -> Self {
        let dir = &world.dir;
        let (config, log) = (dir.join("tinyproxy.conf"), dir.join("tinyproxy.log"));
        let lines = format!(
            "Port 3128\nListen 20.30.40.10\nTimeout 60\nLogLevel Info\nLogFile \"{}\"\nMaxClients 100\nBasicAuth gate {PASSWORD}\n",
            log.display()
        );
        fs::write(&config, lines).unwrap();
        fs::write(dir.join("credentials"), format!("gate:{PASSWORD}\n")).unwrap();
        run(
            Command::new("chmod")
                .arg("600")
                .arg(dir.join("credentials")),
            5,
        )
        .expect_code(0);
        fs::write(
            dir.join("parent.hosts"),
            format!("127.0.0.1 localhost\n{hosts}"),
        )
        .unwrap();
        let namespace = format!("{}u", world.id);
        let mut address = Command::new("/sbin/ip");
        address.args([
            "-n",
            &namespace,
            "addr",
            "replace",
            "30.31.32.33/32",
            "dev",
            "lo",
        ]);
        run(&mut address, 5).expect_code(0);
        let inside = |line: String| {
            let mut command = Command::new("/usr/bin/nsenter");
            command.arg(format!("--net=/run/netns/{namespace}"));
            command.args(["/usr/bin/unshare", "--mount", "--", "/bin/sh", "-c"]);
            command.arg(format!(
                "mount --bind {0}/resolv.conf /etc/resolv.conf; mount --bind {0}/nsswitch.conf /etc/nsswitch.conf; mount --bind {0}/parent.hosts /etc/hosts; {line}",
                dir.display()
            ));
            Running::start(&mut command, Duration::from_secs(120))
        };
        let processes = vec![
            inside(format!(
                "exec /usr/bin/tinyproxy -d -c {}",
                config.display()
            )),
            inside(format!(
                "exec /usr/bin/socat OPENSSL-LISTEN:3129,bind=20.30.40.10,reuseaddr,fork,verify=0,cert={0}/secure.pem,key={0}/secure.key TCP:20.30.40.10:3128",
                dir.display()
            )),
        ];
        let listening = wait_until(Duration::from_secs(10), || {
            let mut command = Command::new("/usr/bin/nsenter");
            command.arg(format!("--net=/run/netns/{namespace}"));
            command.args([
                "/bin/grep",
                "-cE",
                ":(0C38|0C39) 00000000:0000 0A",
                "/proc/net/tcp",
            ]);
            run(&mut command, 5).out().trim() == "2"
        });
        assert!(listening, "{}", processes[0].errors());
        Self {
            log,
            _processes: processes,
        }
    }

    /// What it was asked to connect to, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let asked = text
            .lines()
            .filter_map(|line| line.split_once("): CONNECT ")?.1.split(' ').next());
        asked.map(str::to_owned).collect()
    }
}
