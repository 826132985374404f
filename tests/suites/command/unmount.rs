//! The BPF file system is unmounted while limiter runs. The pins are what keeps it: the kernel lets go of links and maps with them, so
//! that traffic passes as if limiter had been detached, and nothing stays behind that a command would trip over.

use std::path::Path;

use super::Desk;

const ATTACH: &str = "attach web0 web1 --service web=*:80 --source-rate 20/s --enforce";

fn run(command: &str, arguments: &[&str]) {
    let status = std::process::Command::new(command).args(arguments).status().expect("it runs");
    assert!(status.success(), "{command} {arguments:?}");
}

#[test]
fn without_its_pins_limiter_is_detached() {
    let desk = Desk::new();
    // Where the kernel makes cookies now and then, a process waits beside the pins until those from
    // before are over, and the file system is busy for two minutes.
    desk.front.sysctl("ipv4/tcp_syncookies", "0").expect("the namespace's own setting");
    desk.ok(ATTACH);
    let mount = desk.pins().parent().and_then(Path::to_str).expect("a path");
    run("umount", &[mount]);
    // The kernel frees links behind our back.
    let gone = || ["web0", "web1"].iter().all(|name| desk.becomes_free(name));
    assert!(gone(), "a link without its pin is detached");
    for line in
        ["status", "set --budget 5/s", "arm", "ban list", "policy show", "upgrade", "detach web0"]
    {
        desk.fails(line, 1, &["not loaded"]);
    }
    for line in [ATTACH, "detach --all"] {
        desk.fails(line, 1, &["no BPF file system", "mount -t bpf bpf"]);
    }
    let doctor = desk.output("doctor web0");
    assert!(
        String::from_utf8_lossy(&doctor.stdout).contains("is no BPF file system"),
        "{doctor:?}"
    );
    run("mount", &["-t", "bpf", "bpf", mount]);
    desk.fails("status", 1, &["not loaded", "limiter attach"]);
    desk.ok(ATTACH);
    assert!(desk.has_program("web0") && desk.has_program("web1"));
}

/// While something holds the pin directory open, as a command that changes something does, the kernel refuses to unmount: nothing changes.
#[test]
fn a_busy_file_system_stays() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let directory = std::fs::File::open(desk.pins()).expect("the pin directory");
    let status = std::process::Command::new("umount")
        .arg(desk.pins().parent().expect("the mount"))
        .status()
        .expect("it runs");
    assert!(!status.success());
    drop(directory);
    assert!(desk.has_program("web0"));
    desk.ok("status --quick");
}
