//! What this host can enforce, by what, and what keeps a configuration from being served here.

use std::path::Path;

use serde::Serialize;

use super::rootless::Rootless;
use super::{explain, wants};
use crate::config::{Activation, Config, Resource};
use crate::sandbox::{self, Footing, Holder, Holders, Kernel, Needed, Wants};

/// The findings.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the kernel has.
    pub kernel: Vec<Feature>,
    /// What holds each bound.
    pub bounds: Vec<Bound>,
    /// What the monitor needs, and whether it would have it.
    pub capabilities: Vec<Capability>,
    /// What is wrong or weaker, with the mend.
    pub gaps: Vec<Gap>,
}

/// Something that the kernel has, or not.
#[derive(Debug, Serialize)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// Which version or part of it.
    pub state: String,
}

/// A bound.
#[derive(Debug, Serialize)]
pub struct Bound {
    /// Its keys in `bounds`.
    pub keys: &'static str,
    /// What holds it for a sandbox; nothing, if nothing does.
    pub sandbox: Option<String>,
    /// The same for a session.
    pub session: Option<String>,
}

/// A capability.
#[derive(Debug, Serialize)]
pub struct Capability {
    /// As capabilities(7) names it.
    pub name: String,
    /// What for.
    pub purpose: &'static str,
    /// Whether this process has it.
    pub there: bool,
}

/// Something that is wrong or weaker.
#[derive(Debug, Serialize)]
pub struct Gap {
    /// What, and the mend.
    pub text: String,
    /// Whether nothing would be served.
    pub refused: bool,
}

impl Report {
    /// Whether `sandgate serve` would be refused, here and by whoever asks.
    pub fn is_refused(&self) -> bool {
        self.gaps.iter().any(|gap| gap.refused)
    }

    fn refuse(&mut self, why: &dyn std::error::Error) {
        self.gaps.push(Gap {
            text: explain(why),
            refused: true,
        });
    }
}

/// Looks, and changes nothing.
pub fn examine(config: Result<Config, impl std::error::Error>, activation: &Activation) -> Report {
    let mut report = Report {
        kernel: Vec::new(),
        bounds: Vec::new(),
        capabilities: Vec::new(),
        gaps: Vec::new(),
    };
    let (config, footing) = stand(config, activation, &mut report);
    let volumes = volumes(footing);
    report.kernel = kernel(footing, &volumes);
    match Holders::probe(footing) {
        Ok(holders) => report.bounds = bounds(&holders, volumes.is_ok()),
        Err(error) => report.refuse(&super::CheckError::Holders(error)),
    }
    let wants = (config.as_ref()).map_or_else(|_| Wants::default(), |config| wants(config, false));
    match sandbox::missing_capabilities(wants) {
        // A user has them all in the namespace that is theirs.
        Ok(_) if footing != Footing::Root => report.capabilities = capabilities(wants, &[]),
        Ok(missing) => {
            report.capabilities = capabilities(wants, &missing);
            if missing.is_empty() {
                rehearse(&mut report);
            } else {
                report.refuse(&sandbox::CapabilityError::Missing(sandbox::Missing(
                    missing,
                )));
            }
        }
        Err(error) => report.refuse(&error),
    }
    match config.map(|config| super::check_in(&config, footing)) {
        Ok(Ok(checked)) => {
            let gap = |text: &String| Gap {
                text: text.clone(),
                refused: false,
            };
            report.gaps.extend(checked.warnings().iter().map(gap));
        }
        Ok(Err(error)) => report.refuse(&error),
        Err(error) => report.refuse(&error),
    }
    report
}

/// Only with all capabilities: without them everything else is refused as well.
fn rehearse(report: &mut Report) {
    if let Err(error) = sandbox::rehearse() {
        report.refuse(&error);
    }
}

/// On what it would be served, and the configuration with what follows from that.
fn stand<E: std::error::Error>(
    config: Result<Config, E>,
    activation: &Activation,
    report: &mut Report,
) -> (Result<Config, E>, Footing) {
    let Ok(config) = config else {
        return (config, Footing::Root);
    };
    if rustix::process::geteuid().is_root() {
        return (Ok(config), Footing::Root);
    }
    match Rootless::survey(&config, activation) {
        Ok(user) => {
            report
                .gaps
                .extend(user.weaker().into_iter().map(|weaker| Gap {
                    text: format!("rootless: {weaker}"),
                    refused: false,
                }));
            (Ok(user.settle(config)), user.footing())
        }
        Err(error) => {
            report.refuse(&super::ServerError::Rootless(error));
            (Ok(config), Footing::Root)
        }
    }
}

fn kernel(footing: Footing, volumes: &Result<(), String>) -> Vec<Feature> {
    let system = rustix::system::uname();
    let there = |path: &str| Path::new(path).exists();
    let yes = |there| if there { "yes" } else { "no" }.to_owned();
    let namespaces = std::fs::read_to_string("/proc/sys/user/max_user_namespaces");
    let namespaces = namespaces.is_ok_and(|most| most.trim() != "0");
    vec![
        Feature {
            name: "release",
            state: system.release().to_string_lossy().into_owned(),
        },
        Feature {
            name: "Landlock",
            state: Kernel::probe().map_or_else(
                |error| error.to_string(),
                |kernel| format!("ABI {}", kernel.abi()),
            ),
        },
        Feature {
            name: "seccomp filters",
            state: yes(there("/proc/sys/kernel/seccomp/actions_avail")),
        },
        Feature {
            name: "user namespaces",
            state: yes(namespaces),
        },
        Feature {
            name: "vm.memfd_noexec",
            state: yes(there("/proc/sys/vm/memfd_noexec")),
        },
        Feature {
            name: "file systems in images",
            state: volumes.clone().map_or_else(|why| why, |()| yes(true)),
        },
        Feature {
            name: "cgroups",
            state: Holders::probe(footing).map_or_else(
                |error| error.to_string(),
                |holders| holders.controllers.to_string(),
            ),
        },
    ]
}

/// Why nothing bounds here what logins keep, where nothing does.
fn volumes(footing: Footing) -> Result<(), String> {
    match footing {
        Footing::Root => sandbox::probe_volumes(),
        Footing::Subordinate | Footing::OneId => {
            Err("an ordinary user can't mount them; serve as root".into())
        }
    }
}

fn bounds(holders: &Holders, volumes: bool) -> Vec<Bound> {
    let shown = |holder: Option<Holder>| holder.map(|holder| holder.to_string());
    let shared = [
        ("processes", Resource::Processes),
        ("memory", Resource::Memory),
        ("cpu, cpu_weight", Resource::Cpu),
    ];
    let of_group = shared.map(|(keys, resource)| Bound {
        keys,
        sandbox: shown(holders.of_sandbox(resource)),
        session: shown(holders.of_session(resource)),
    });
    let process = || shown(Some(Holder::Process));
    let mut all = Vec::from(of_group);
    all.push(Bound {
        keys: "disk, files",
        sandbox: shown(Some(Holder::FileSystem)),
        session: shown(Some(Holder::Sandbox)),
    });
    all.push(Bound {
        keys: "size, files of what is kept",
        sandbox: shown(volumes.then_some(Holder::Image)),
        session: shown(volumes.then_some(Holder::Sandbox)),
    });
    all.push(Bound {
        keys: "open_files, file_size, core files",
        sandbox: process(),
        session: process(),
    });
    all
}

fn capabilities(wants: Wants, missing: &[Needed]) -> Vec<Capability> {
    sandbox::needed_capabilities(wants)
        .map(|needed| Capability {
            name: format!("CAP_{}", needed.name),
            purpose: needed.purpose,
            there: !missing.contains(&needed),
        })
        .collect()
}
