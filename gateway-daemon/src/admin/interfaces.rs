//! Where the kernel half is attached now, for observers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::metrics::Page;
use crate::counters::Grid;
use crate::model::attachment::Attachment;

/// The interfaces of a running daemon; none with `--datapath off`.
#[derive(Debug, Default)]
pub struct Interfaces(Mutex<Vec<Attachment>>);

impl Interfaces {
    /// Tells what is attached from now on.
    pub fn set(&self, attachments: &[Attachment]) {
        *self.lock() = attachments.to_vec();
    }

    /// What is attached now.
    pub fn get(&self) -> Vec<Attachment> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Attachment>> {
        // Nothing under this lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metrics.
pub(super) fn families(page: &mut Page, interfaces: &[Attachment]) {
    const NAME: &str = "gateway_interface_attached";
    if interfaces.is_empty() {
        return;
    }
    page.family(NAME, "gauge", "1 where packets of an interface run through the kernel half.");
    for attachment in interfaces {
        let Attachment { interface, xdp, tc, .. } = attachment;
        let labels = [("interface", interface.as_str()), ("xdp", xdp.word()), ("tc", tc.word())];
        page.sample(NAME, &labels, u64::from(attachment.is_there()));
    }
}

/// What an operator should know, a line each: interfaces that packets pass by.
pub(super) fn remarks(interfaces: &[Attachment]) -> impl Iterator<Item = String> + '_ {
    let lost = interfaces.iter().filter(|attachment| !attachment.is_there());
    lost.map(|lost| format!("interface {}: not attached; see the log", lost.interface))
}

/// A table of them.
pub(super) fn table(interfaces: &[Attachment], out: &mut String) {
    if interfaces.is_empty() {
        return;
    }
    let mut grid = Grid::new(&["interface", "xdp", "tc"]);
    for Attachment { interface, xdp, tc, .. } in interfaces {
        grid.row([interface.clone(), xdp.word().to_owned(), tc.word().to_owned()]);
    }
    grid.write(out);
}

/// The same for scripts.
pub(super) fn values(interfaces: &[Attachment]) -> Value {
    let value = |Attachment { interface, index, xdp, tc }: &Attachment| json!({ "interface": interface, "index": index, "xdp": xdp.word(), "tc": tc.word() });
    interfaces.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::attachment::{TcMode, XdpMode};

    #[test]
    fn an_interface_that_is_lost_is_shown_as_such() {
        let interfaces = Interfaces::default();
        let attached = |name: &str, index| Attachment {
            interface: name.to_owned(),
            index,
            xdp: XdpMode::Generic,
            tc: TcMode::Tcx,
        };
        interfaces.set(&[attached("lo", 1), attached("eth0", 0)]);
        let mut page = Page::default();
        families(&mut page, &interfaces.get());
        let line = "gateway_interface_attached{interface=\"eth0\",xdp=\"generic\",tc=\"tcx\"} 0\n";
        assert!(page.text().contains(line), "{}", page.text());
        let remarks: Vec<_> = remarks(&interfaces.get()).collect();
        assert_eq!(remarks, ["interface eth0: not attached; see the log"]);
        assert_eq!(values(&interfaces.get())[1]["index"], 0);
        let mut text = String::new();
        table(&interfaces.get(), &mut text);
        assert_eq!(
            text,
            "interface  xdp      tc\nlo         generic  tcx\neth0       generic  tcx\n"
        );
    }
}
