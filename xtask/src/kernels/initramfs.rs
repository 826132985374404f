//! What an emulated machine runs: busybox, `ip`, xdp-tools, limiter, the lab's tests with their libraries, the modules for its devices, and an init.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::package::Kernel;
use crate::setup;

/// The lab's test programs, and what they run.
pub struct Tests {
    /// The command.
    pub limiter: PathBuf,
    /// Programs against the verifier.
    pub kernels: PathBuf,
    /// Frames, one at a time.
    pub packets: PathBuf,
    /// Limits under floods.
    pub limits: PathBuf,
}

const INIT: &str = include_str!("init.sh");
/// What the machine's devices and the lab need. What they depend on comes with them.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_net", "veth"];
/// Where Debian has the objects of xdp-tools.
const OBJECTS: &str = "/usr/lib/x86_64-linux-gnu/bpf";
/// Directories that something is mounted on, or that tests write to.
const DIRECTORIES: [&str; 7] = ["bin", "dev", "proc", "sys", "run", "tmp", "modules"];

/// Makes the initramfs for a kernel.
///
/// # Errors
/// When something that it needs is missing.
pub fn make(tests: &Tests, kernel: &Kernel, directory: &Path) -> Result<PathBuf> {
    let root = directory.join(format!("root-{}", kernel.release));
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    for name in DIRECTORIES {
        fs::create_dir_all(root.join(name))
            .with_context(|| format!("cannot make {}", root.display()))?;
    }
    for program in ["busybox", "ip", "xdp-loader", "xdp-filter"] {
        let path = setup::find(program).with_context(|| format!("{program} is not installed"))?;
        add_program(&root, program, &path)?;
    }
    add_objects(&root)?;
    for (name, path) in [
        ("limiter", &tests.limiter),
        ("kernels", &tests.kernels),
        ("packets", &tests.packets),
        ("limits", &tests.limits),
    ] {
        add_program(&root, name, path)?;
        // Symbols are two thirds of it.
        run(Command::new("strip").arg(root.join("bin").join(name)))?;
    }
    add_modules(&root, kernel)?;
    let init = root.join("init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let initramfs = directory.join(format!("initramfs-{}", kernel.release));
    pack(&root, &initramfs)?;
    fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    Ok(initramfs)
}

/// Copies a program, and its libraries to where it looks for them.
fn add_program(root: &Path, name: &str, path: &Path) -> Result<()> {
    let copy = |from: &Path, to: PathBuf| {
        fs::create_dir_all(to.parent().unwrap_or(root))?;
        fs::copy(from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
    };
    copy(path, root.join("bin").join(name))?;
    // It fails for a static program, which needs none.
    let output = Command::new("ldd").arg(path).output().context("cannot run ldd")?;
    for library in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        if let Some(relative) = library.strip_prefix('/') {
            copy(Path::new(library), root.join(relative))?;
        }
    }
    Ok(())
}

/// Copies the BPF objects of xdp-tools to where these look for them.
fn add_objects(root: &Path) -> Result<()> {
    let to = root.join(OBJECTS.trim_start_matches('/'));
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(OBJECTS).with_context(|| format!("cannot list {OBJECTS}"))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))
            .with_context(|| format!("cannot copy {}", entry.path().display()))?;
    }
    Ok(())
}

/// Adds the modules and the order to load them in.
fn add_modules(root: &Path, kernel: &Kernel) -> Result<()> {
    let mut files = HashMap::new();
    find_modules(&kernel.modules, &mut files)?;
    let builtin = fs::read_to_string(kernel.modules.join("modules.builtin"))
        .context("cannot read modules.builtin")?;
    let builtin: Vec<String> = builtin.lines().filter_map(|line| module(Path::new(line))).collect();
    let mut order = Vec::new();
    for name in MODULES {
        add_module(root, name, &files, &builtin, &mut order)?;
    }
    fs::write(root.join("modules/order"), order.join("\n") + "\n")
        .context("cannot write the order of the modules")
}

/// Adds one behind those that it depends on. What the kernel has built in needs no loading.
fn add_module(
    root: &Path,
    name: &str,
    files: &HashMap<String, PathBuf>,
    builtin: &[String],
    order: &mut Vec<String>,
) -> Result<()> {
    if order.iter().any(|known| known == name) || builtin.iter().any(|known| known == name) {
        return Ok(());
    }
    let file = files.get(name).with_context(|| format!("the kernel has no module {name}"))?;
    let bytes = unpacked(file)?;
    for dependency in dependencies(&bytes) {
        add_module(root, &dependency, files, builtin, order)?;
    }
    fs::write(root.join("modules").join(name), bytes)
        .with_context(|| format!("cannot write module {name}"))?;
    order.push(name.to_owned());
    Ok(())
}

/// All modules below a directory, by name.
fn find_modules(directory: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?
    {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find_modules(&path, files)?;
        } else if let Some(name) = module(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The name of the module in a file called, for example, `virtio-rng.ko.xz`.
fn module(path: &Path) -> Option<String> {
    let (stem, _) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(stem.replace('-', "_"))
}

fn unpacked(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    let output = Command::new(program)
        .arg("-dc")
        .arg(file)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} cannot unpack {}", file.display());
    Ok(output.stdout)
}

/// What a module says that it depends on: `depends=a,b` among its NUL-terminated pieces of information.
fn dependencies(module: &[u8]) -> Vec<String> {
    let fields = module.split(|byte| *byte == 0);
    let list =
        fields.into_iter().find_map(|field| field.strip_prefix(b"depends=")).unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// Writes everything below `root` as a cpio archive, as the kernel wants it.
fn pack(root: &Path, to: &Path) -> Result<()> {
    let mut names = Vec::new();
    list(root, root, &mut names)?;
    let archive = fs::File::create(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut command = Command::new("cpio");
    command.args(["--create", "--format=newc", "--quiet", "--null"]).current_dir(root);
    let mut child =
        command.stdin(Stdio::piped()).stdout(archive).spawn().context("cannot run cpio")?;
    let mut input = child.stdin.take().context("cpio has no standard input")?;
    input.write_all(names.join("\0").as_bytes()).context("cannot write to cpio")?;
    drop(input);
    ensure!(child.wait()?.success(), "cpio failed");
    Ok(())
}

fn list(root: &Path, directory: &Path, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        names.push(
            path.strip_prefix(root)?.to_str().context("a name that is not UTF-8")?.to_owned(),
        );
        if entry.file_type()?.is_dir() {
            list(root, &path, names)?;
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        let module = b"\x7fELF\0license=GPL\0depends=net-failover,virtio\0name=virtio_net\0";
        assert_eq!(dependencies(module), ["net_failover", "virtio"]);
        assert!(dependencies(b"\0depends=\0name=veth\0").is_empty());
    }

    #[test]
    fn modules_have_names() {
        assert_eq!(module(Path::new("kernel/virtio-rng.ko.xz")).as_deref(), Some("virtio_rng"));
        assert_eq!(module(Path::new("modules.builtin")), None);
    }
}
