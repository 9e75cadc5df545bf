//! Files to text: the configured paths, read as one.
//!
//! A directory stands for every `*.yaml`, `*.yml` and `*.json` in it and below, in order of their
//! paths; names that start with a dot are left out, since a mounted ConfigMap keeps its versions
//! under such names. A path that is a file is read whatever its name. Symbolic links are followed.
//! Must not know: YAML, kinds.

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::Fault;

/// Deepest directory below a configured path; a loop of links ends here.
const MAX_DEPTH: usize = 16;

/// A file's text.
pub(super) struct SourceFile {
    /// Its path as messages name it.
    pub(super) name: Arc<str>,
    /// Its text.
    pub(super) text: String,
}

/// Reads every file of `paths`; what cannot be read becomes a fault.
pub(super) fn read(paths: &[PathBuf]) -> (Vec<SourceFile>, Vec<Fault>) {
    let mut sources = Vec::new();
    let mut faults = Vec::new();
    for path in paths {
        let mut found = Vec::new();
        if let Err(fault) = list(path, 0, &mut found) {
            faults.push(*fault);
        } else if found.is_empty() {
            let message = "holds no manifest; expected *.yaml, *.yml or *.json".to_owned();
            faults.push(Fault::of_file(path, message));
        }
        for file in found {
            match fs::read_to_string(&file) {
                Ok(text) => sources.push(SourceFile { name: name(&file), text }),
                Err(error) => faults.push(Fault::of_file(&file, cannot("read", &error))),
            }
        }
    }
    (sources, faults)
}

/// What tells one state of the files from another without reading them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Fingerprint(Vec<FileState>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct FileState {
    path: PathBuf,
    /// Device, inode, size, modification and change time; none: not there.
    state: Option<[i64; 7]>,
}

/// The present state of `paths`.
pub(super) fn fingerprint(paths: &[PathBuf]) -> Fingerprint {
    let mut states = Vec::new();
    for path in paths {
        let mut found = Vec::new();
        if list(path, 0, &mut found).is_err() {
            found.push(path.clone());
        }
        states.extend(found.into_iter().map(|path| {
            let state = fs::metadata(&path).ok().map(|meta| {
                [
                    meta.dev().cast_signed(),
                    meta.ino().cast_signed(),
                    meta.size().cast_signed(),
                    meta.mtime(),
                    meta.mtime_nsec(),
                    meta.ctime(),
                    meta.ctime_nsec(),
                ]
            });
            FileState { path, state }
        }));
    }
    Fingerprint(states)
}

/// Whether some file of `paths`, or a directory on the way to it, opens neither to its owner `uid`
/// nor to everybody: only a privilege reads it then.
pub(super) fn needs_privilege(paths: &[PathBuf], uid: u32) -> bool {
    let mut found = Vec::new();
    for path in paths {
        found.push(path.clone());
        // What cannot be listed is a fault of reading.
        let _listed = list(path, 0, &mut found);
    }
    found.iter().filter_map(|path| path.canonicalize().ok()).any(|path| {
        path.ancestors().any(|part| {
            fs::metadata(part).is_ok_and(|meta| {
                let all = if part == path { 0o004 } else { 0o001 };
                meta.uid() != uid && meta.mode() & all == 0
            })
        })
    })
}

fn list(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Box<Fault>> {
    let fault = |error: io::Error| Box::new(Fault::of_file(path, cannot("read", &error)));
    let meta = fs::metadata(path).map_err(fault)?;
    if !meta.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    if depth > MAX_DEPTH {
        let message = format!("is more than {MAX_DEPTH} directories deep; is it a loop of links?");
        return Err(Box::new(Fault::of_file(path, message)));
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(fault)? {
        entries.push(entry.map_err(fault)?.path());
    }
    entries.sort();
    for entry in entries {
        let hidden =
            entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && (entry.is_dir() || is_manifest(&entry)) {
            list(&entry, depth + 1, found)?;
        }
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"))
}

fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

fn cannot(verb: &str, error: &io::Error) -> String {
    format!("cannot {verb} it: {error}")
}
