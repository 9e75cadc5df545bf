//! Walking directories, and seeing that files changed.

use super::*;

#[test]
fn directories_are_walked_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in
        [("b.yaml", "b"), ("a/z.yml", "z"), ("c.json", "c"), ("notes.txt", "no"), (".x.yaml", "no")]
    {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let (sources, faults) = read(&[dir.path().to_owned()]);
    assert!(faults.is_empty());
    let texts: Vec<_> = sources.iter().map(|source| source.text.as_str()).collect();
    assert_eq!(texts, ["z", "b", "c"]);
}

#[test]
fn what_cannot_be_read_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [
        ("missing", dir.path().join("none.yaml"), "No such file"),
        ("empty directory", dir.path().to_owned(), "holds no manifest"),
    ];
    for (row, path, message) in rows {
        let (_, faults) = read(&[path]);
        assert_eq!(faults.len(), 1, "{row}");
        assert!(faults[0].to_string().contains(message), "{row}: {}", faults[0]);
    }
    let binary = dir.path().join("x.yaml");
    fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    let (_, faults) = read(&[binary]);
    assert!(faults[0].to_string().contains("UTF-8"), "{}", faults[0]);
}

#[test]
fn fingerprints_see_edits_new_files_and_link_swaps() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().to_owned()];
    let file = dir.path().join("a.yaml");
    fs::write(&file, "1").unwrap();
    let first = fingerprint(&paths);
    assert_eq!(first, fingerprint(&paths));
    fs::write(&file, "22").unwrap();
    let edited = fingerprint(&paths);
    assert_ne!(first, edited);
    fs::write(dir.path().join("b.yaml"), "").unwrap();
    let added = fingerprint(&paths);
    assert_ne!(edited, added);

    // A ConfigMap mount: a.yaml -> ..data/a.yaml, ..data -> ..1, replaced by rename.
    let mount = tempfile::tempdir().unwrap();
    let paths = [mount.path().to_owned()];
    for version in ["..1", "..2"] {
        fs::create_dir(mount.path().join(version)).unwrap();
        fs::write(mount.path().join(version).join("a.yaml"), "same").unwrap();
    }
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, mount.path().join(name)).unwrap();
    };
    link("..1", "..data");
    link("..data/a.yaml", "a.yaml");
    let before = fingerprint(&paths);
    link("..2", "..tmp");
    fs::rename(mount.path().join("..tmp"), mount.path().join("..data")).unwrap();
    assert_ne!(before, fingerprint(&paths));
}

#[test]
fn knows_what_only_a_privilege_reads() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    let file = home.join("a.yaml");
    fs::write(&file, "").unwrap();
    let own = fs::metadata(&file).unwrap().uid();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(dir.path(), 0o755);
    for (row, home_mode, file_mode, uid, needs) in [
        ("everybody may", 0o755, 0o644, own + 1, false),
        ("a closed file", 0o755, 0o640, own + 1, true),
        ("a closed home", 0o700, 0o644, own + 1, true),
        ("one's own closed home", 0o700, 0o600, own, false),
    ] {
        mode(&home, home_mode);
        mode(&file, file_mode);
        assert_eq!(needs_privilege(std::slice::from_ref(&file), uid), needs, "{row}");
        assert_eq!(needs_privilege(std::slice::from_ref(&home), uid), needs, "{row}, by directory");
    }
}
