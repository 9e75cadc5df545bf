//! The last good set of each source, on disk: a daemon that starts while an issuer is down still
//! knows its keys. A file per source, replaced in one step; public keys only, so nothing secret.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::model::keys::{KeyPlace, RemoteKeys};

/// A set as it was kept.
pub(super) struct Kept {
    pub(super) text: Arc<str>,
    /// Seconds since the Unix epoch.
    pub(super) fetched_at: u64,
}

/// A file's content. Issuer and place tell whose it is: a set is never used for another source.
#[derive(Deserialize, Serialize)]
struct Record {
    issuer: String,
    place: String,
    fetched_at: u64,
    jwks: String,
}

/// The set of a source, if one was kept. What cannot be read is as good as none.
pub(super) fn load(directory: Option<&Path>, source: &RemoteKeys) -> Option<Kept> {
    let path = path(directory?, source)?;
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "kept keys cannot be read");
            return None;
        }
    };
    let record: Record = match serde_json::from_str(&text) {
        Ok(record) => record,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "kept keys are broken; delete the file");
            return None;
        }
    };
    let own = *record.issuer == *source.issuer && record.place == source.place.to_string();
    own.then(|| Kept { text: record.jwks.into(), fetched_at: record.fetched_at })
}

/// Keeps the set of a source.
pub(super) fn save(
    directory: Option<&Path>,
    source: &RemoteKeys,
    text: &str,
    fetched_at: u64,
) -> io::Result<()> {
    let Some(path) = directory.and_then(|directory| path(directory, source)) else {
        return Ok(());
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let record = Record {
        issuer: source.issuer.to_string(),
        place: source.place.to_string(),
        fetched_at,
        jwks: text.to_owned(),
    };
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(&record)?)?;
    fs::rename(&new, &path)
}

/// `DIRECTORY/keys/HASH.json`; none for files, which are on disk already.
fn path(directory: &Path, source: &RemoteKeys) -> Option<PathBuf> {
    if matches!(source.place, KeyPlace::File(_)) {
        return None;
    }
    let name = digest(&SHA256, format!("{}\n{}", source.issuer, source.place).as_bytes());
    let hex = name.as_ref().iter().take(16).fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let written = write!(hex, "{byte:02x}");
        debug_assert!(written.is_ok());
        hex
    });
    Some(directory.join("keys").join(format!("{hex}.json")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::keys::{FetchOptions, KeyUrl};

    fn source(issuer: &str, url: &str) -> RemoteKeys {
        RemoteKeys {
            issuer: issuer.into(),
            place: KeyPlace::Url(KeyUrl::parse(url).unwrap()),
            timeout: Duration::from_secs(1),
            options: FetchOptions::default(),
        }
    }

    #[test]
    fn a_set_is_kept_for_its_source_alone() {
        let directory = tempfile::tempdir().unwrap();
        let at = Some(directory.path());
        let own = source("a", "https://a.test/k");
        assert!(load(at, &own).is_none());
        save(at, &own, "{\"keys\":[]}", 7).unwrap();
        let kept = load(at, &own).unwrap();
        assert_eq!((&*kept.text, kept.fetched_at), ("{\"keys\":[]}", 7));
        assert!(load(at, &source("b", "https://a.test/k")).is_none());
        assert!(load(at, &source("a", "https://b.test/k")).is_none());
        assert!(load(None, &own).is_none());
        // Another source's file in this one's place.
        let (mine, other) = (path(directory.path(), &own), source("a", "https://c.test/k"));
        fs::copy(mine.unwrap(), path(directory.path(), &other).unwrap()).unwrap();
        assert!(load(at, &other).is_none());
        fs::write(path(directory.path(), &own).unwrap(), "{").unwrap();
        assert!(load(at, &own).is_none());
    }
}
