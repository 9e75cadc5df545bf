//! Manifests: any text is read to its end, and what is wrong with it is said, each time in the same
//! words.

use gateway_daemon::control::check;

/// The bytes are the text of a manifest.
pub fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let checked = check::text("fuzz.yaml", text);
    let told = checked.render();
    let errors = told.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(checked.is_good(), errors == 0, "{told}");
    assert_eq!(told, check::text("fuzz.yaml", text).render());
}
