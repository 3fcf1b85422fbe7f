//! ansible itself, with ControlPersist and each of its ways to move files.

use super::shared;
use super::support::{Daemon, Finished, Setup, World, run, venv};

/// ansible-core's own settings; `transfer` is ssh_transfer_method of its ssh connection plugin.
fn settings(world: &World, transfer: &str) {
    let dir = world.dir.display();
    std::fs::write(
        world.dir.join("ansible.cfg"),
        format!(
            "[defaults]\ninventory = {dir}/inventory\nhost_key_checking = False\n\
             interpreter_python = /usr/bin/python3\nretry_files_enabled = False\n\
             local_tmp = {dir}/ansible\n\
             [ssh_connection]\ntransfer_method = {transfer}\npipelining = False\n\
             control_path_dir = {dir}/cp\n\
             ssh_args = -F none -o ControlMaster=auto -o ControlPersist=20s \
             -o UserKnownHostsFile={dir}/known_hosts -o IdentitiesOnly=yes\n"
        ),
    )
    .expect("ansible.cfg");
    std::fs::write(
        world.dir.join("inventory"),
        format!(
            "box ansible_host=127.0.0.1 ansible_port=2222 ansible_user=sandbox \
             ansible_ssh_private_key_file={dir}/client\n"
        ),
    )
    .expect("inventory");
}

fn ansible(world: &World, program: &str, arguments: &[&str]) -> Finished {
    let mut command = world.on_host(venv().join("bin").join(program).to_str().unwrap());
    command.args(arguments).env("HOME", &world.dir);
    command.env("ANSIBLE_CONFIG", world.dir.join("ansible.cfg"));
    command.env("LC_ALL", "C.UTF-8").env_remove("SSH_AUTH_SOCK");
    run(&mut command, 120)
}

const PLAYBOOK: &str = r#"
- hosts: all
  gather_facts: true
  tasks:
    - name: the host is the sandbox
      ansible.builtin.assert: {that: "ansible_user_id == 'sandbox'"}
    - ansible.builtin.copy: {content: "first\n", dest: ~/kept, mode: "0640"}
      register: written
    - ansible.builtin.lineinfile: {path: ~/kept, line: second}
    - ansible.builtin.command: cat kept
      args: {chdir: "~"}
      register: read
    - ansible.builtin.assert: {that: ["written.changed", "read.stdout == 'first\\nsecond'"]}
    - ansible.builtin.stat: {path: ~/kept}
      register: found
    - ansible.builtin.assert: {that: "found.stat.mode == '0640'"}
    - ansible.builtin.fetch: {src: ~/kept, dest: fetched, flat: true}
    - ansible.builtin.shell: exit 7
      register: failed
      failed_when: failed.rc != 7
"#;

fn plays(transfer: &str) {
    let world = World::new();
    let daemon = Daemon::start(&world, &shared());
    settings(&world, transfer);
    ansible(&world, "ansible", &["all", "-m", "ping"]).expect_code(0);
    std::fs::write(world.dir.join("play.yaml"), PLAYBOOK).expect("play.yaml");
    let play = world.dir.join("play.yaml");
    let played = ansible(&world, "ansible-playbook", &[play.to_str().unwrap()]).expect_code(0);
    let fetched = std::fs::read_to_string(world.dir.join("fetched")).unwrap_or_default();
    assert_eq!(fetched, "first\nsecond\n", "{played}");
    // ControlPersist left one connection behind, and every task came over it.
    assert_eq!(logins(&daemon), 1, "{played}");
}

fn logins(daemon: &Daemon<'_>) -> usize {
    let log = daemon.stderr();
    log.lines()
        .filter(|line| line.contains("logged in"))
        .count()
}

#[test]
fn a_playbook_runs_by_sftp() {
    plays("sftp");
}

#[test]
fn a_playbook_runs_by_scp() {
    plays("scp");
}

#[test]
fn a_playbook_runs_by_dd_on_pipes() {
    plays("piped");
}

/// The control: where connections share nothing, what one call left is not there for the next.
#[test]
fn without_a_shared_sandbox_each_connection_starts_afresh() {
    let world = World::new();
    let _daemon = Daemon::start(&world, &Setup::closed());
    settings(&world, "sftp");
    let config = world.dir.join("ansible.cfg");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.replace("ControlMaster=auto", "ControlMaster=no"),
    )
    .unwrap();
    let failed = ansible(&world, "ansible", &["all", "-m", "ping"]);
    assert_ne!(
        failed.code(),
        0,
        "its module is gone when it is to run: {failed}"
    );
}
