//! Files of /proc and /sys below a root, so that tests bring their own.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Files below `root`: `/`, or a directory of a test.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The text of a file, without blanks at its ends; `None` if it is not there or may not be read.
    pub fn text(&self, path: &str) -> Option<String> {
        self.read(path).ok()
    }

    /// The same, with the reason.
    ///
    /// # Errors
    /// When it is not there or may not be read.
    pub fn read(&self, path: &str) -> io::Result<String> {
        Ok(fs::read_to_string(self.path(path))?.trim().to_owned())
    }

    /// The first number in a file.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.split_whitespace().next()?.parse().ok()
    }

    /// Names in a directory, in order.
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten();
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// The last part of where a symbolic link leads.
    pub fn target(&self, path: &str) -> Option<String> {
        Some(fs::read_link(self.path(path)).ok()?.file_name()?.to_str()?.to_owned())
    }

    /// How many CPUs a list such as `0-3,8` names.
    pub fn cpus(&self, path: &str) -> Option<usize> {
        Some(cpu_list(&self.text(path)?).len())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(Path::new(path))
    }
}

/// The CPUs of a list such as `0-3,8`.
pub fn cpu_list(text: &str) -> Vec<usize> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(part).flatten().collect()
}

#[cfg(test)]
impl Tree {
    /// A tree of these files; it lives as long as the directory.
    pub fn of(files: &[(&str, &str)]) -> (Self, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        (Self::at(directory.path()), directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_what_is_not() {
        let (tree, _directory) =
            Tree::of(&[("proc/sys/a", "4096\t1\n"), ("proc/sys/b", "none [integrity]\n")]);
        assert_eq!(tree.number("proc/sys/a"), Some(4096));
        assert_eq!(tree.text("proc/sys/b").as_deref(), Some("none [integrity]"));
        assert_eq!(tree.number("proc/sys/b"), None);
        assert_eq!(tree.text("proc/sys/c"), None);
        assert_eq!(tree.names("proc/sys"), ["a", "b"]);
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpu_list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(cpu_list("0"), [0]);
        assert!(cpu_list("").is_empty());
    }
}
