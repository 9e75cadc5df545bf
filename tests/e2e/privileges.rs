//! After start the daemon keeps only the capabilities that `docs/operations.md` states: none, where TC is
//! attached by TCX links.

use anyhow::{Context, Result};

use crate::setting::{HTTP, setting};

#[test]
fn keeps_no_capability() -> Result<()> {
    let setting = setting()?;
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200);
    for task in std::fs::read_dir(format!("/proc/{}/task", setting.daemon.pid()))? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        for field in ["CapEff:", "CapPrm:", "CapBnd:"] {
            let line = status.lines().find(|line| line.starts_with(field)).context(field)?;
            let mask = u64::from_str_radix(line[field.len()..].trim(), 16)?;
            assert_eq!(mask, 0, "{line}");
        }
        let line = status.lines().find(|line| line.starts_with("NoNewPrivs:")).context("nnp")?;
        assert!(line.ends_with('1'), "{line}");
    }
    Ok(())
}
