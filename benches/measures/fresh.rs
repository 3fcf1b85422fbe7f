//! What a sandbox costs that was not made ahead of need, and one that was, alone and with seven others at the same
//! moment: until the gate has it and its proxy listens, by the gate's own word; and from the request for a connection's
//! first program until that is started.

use std::sync::Arc;
use std::time::Duration;

use russh::client::Handle;
use russh::keys::{PrivateKey, load_secret_key};
use tokio::runtime::Runtime;

use super::sample::{Samples, in_turns};
use super::servers::within;
use super::spawn::{self, Client};
use super::support::{Daemon, Setup, World, policy_with};
use super::table::Row;

/// Connections at once.
const CROWD: usize = 8;
const ROUNDS: usize = 25;
const ALONE: usize = 100;

/// A sandbox with all that its maker can be asked for: bounds of each kind, denied paths in a directory that
/// is listed, whose entries are mounted one by one, a device, a kept home with a skeleton.
fn setup(pool: usize, homes: &str) -> Setup {
    Setup {
        policy: policy_with("").replace("read_only: [", "read_only: [/etc, "),
        login: format!(
            "    sandbox:\n      \
             bounds: {{processes: 256, memory: 512MiB, cpu: 150%, disk: 64MiB, files: 1024}}\n      \
             files:\n        \
             home: {{keep: {homes}, skeleton: /etc/skel}}\n        \
             deny: [/etc/ssh/ssh_host_ed25519_key, /etc/sudoers.d]\n        \
             devices: [/dev/fuse]\n"
        ),
        top: format!("pool: {pool}\n"),
        ..Setup::closed()
    }
}

/// Alone against the pool's, and the crowd against the pool's crowd.
pub(crate) fn measure() -> [Row; 4] {
    let worlds = [World::new(), World::new()];
    let [fresh, pooled] = worlds.each_ref();
    let homes = fresh.dir.join("homes");
    std::fs::create_dir(&homes).expect("a directory for homes");
    let homes = homes.to_str().expect("a UTF-8 path");
    let daemons = [
        Place::start(fresh, &setup(0, homes)),
        Place::start(pooled, &setup(CROWD, homes)),
    ];
    let [fresh, pooled] = &daemons;
    let [alone, from_pool] = in_turns(ALONE, || fresh.once(), || pooled.once());
    let made_alone = daemons.each_ref().map(Place::made);
    let (mut crowd, mut pools_crowd) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // A full pool is refilled between its turns, as it would be between connections.
        std::thread::sleep(Duration::from_millis(400));
        crowd.extend(fresh.at_once());
        std::thread::sleep(Duration::from_millis(400));
        pools_crowd.extend(pooled.at_once());
    }
    let of_crowd = |place: &Place<'_>, alone: usize| place.made().split_off(alone);
    let made_at_once = [
        of_crowd(fresh, made_alone[0].len()),
        of_crowd(pooled, made_alone[1].len()),
    ];
    let [made_alone, made_at_once] = [made_alone, made_at_once].map(|of| of.map(Samples::new));
    let ([made, taken], [all_made, all_taken]) = (made_alone, made_at_once);
    let row = |what, samples, control| Row {
        name: "fresh",
        what,
        samples,
        against: Some(("from the pool", control)),
    };
    [
        row("a sandbox is ready", made, taken),
        row("the same, eight at once", all_made, all_taken),
        row("a program started in its sandbox", alone, from_pool),
        row(
            "the same, eight at once",
            Samples::new(crowd),
            Samples::new(pools_crowd),
        ),
    ]
}

/// A daemon and a client's means.
struct Place<'w> {
    daemon: Daemon<'w>,
    key: Arc<PrivateKey>,
}

impl<'w> Place<'w> {
    fn start(world: &'w World, setup: &Setup) -> Self {
        let daemon = Daemon::start_by(world, setup, |mut command| {
            command.env("RUST_LOG", "info,sandgate::ssh::tenancy=debug");
            command
        });
        let key = load_secret_key(world.dir.join("client"), None).expect("the client's key");
        Self {
            daemon,
            key: Arc::new(key),
        }
    }

    /// How long each sandbox took, as the gate says; the warming up is among them.
    fn made(&self) -> Vec<Duration> {
        let said = self.daemon.stderr();
        let times = said.lines().filter(|line| line.contains("sandbox ready"));
        let times = times.filter_map(|line| line.split_once("microseconds=")?.1.parse().ok());
        times.map(Duration::from_micros).collect()
    }

    fn once(&self) -> Duration {
        self.within(|runtime| {
            runtime.block_on(async {
                let connection = self.connect().await;
                spawn::exec(&connection).await.started
            })
        })
    }

    /// All are logged in before the first asks for its sandbox.
    fn at_once(&self) -> Vec<Duration> {
        self.within(|runtime| {
            runtime.block_on(async {
                let mut connections = Vec::with_capacity(CROWD);
                for _ in 0..CROWD {
                    connections.push(self.connect().await);
                }
                let programs = connections.into_iter().map(|connection| {
                    tokio::spawn(
                        async move { (spawn::exec(&connection).await.started, connection) },
                    )
                });
                let mut times = Vec::with_capacity(CROWD);
                for program in programs.collect::<Vec<_>>() {
                    times.push(program.await.expect("a program's end").0);
                }
                times
            })
        })
    }

    async fn connect(&self) -> Handle<Client> {
        spawn::connect(2222, "sandgate", self.key.clone()).await
    }

    fn within<T: Send>(&self, action: impl FnOnce(&Runtime) -> T + Send) -> T {
        within(&self.daemon.world.gate_namespace(), || {
            action(&spawn::runtime())
        })
    }
}
