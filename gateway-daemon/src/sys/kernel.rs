//! The kernel's version and this process's limits. No unsafe code here: rustix has it.

use rustix::process::{Resource, getrlimit};

/// Major and minor version of the running kernel; none if its name does not begin with them.
pub fn version() -> Option<(u32, u32)> {
    parse(&release())
}

/// The running kernel's release, such as `6.1.0-21-amd64`.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

/// Files that this process may have open; none: any number.
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(parse("6.1.0-21-amd64"), Some((6, 1)));
        assert_eq!(parse("6.18.44-fc"), Some((6, 18)));
        assert_eq!(parse("6-rc"), None);
        assert!(version() > Some((5, 0)));
    }
}
