//! `gateway-daemon doctor`: whether this machine can run the gateway, and what to do where it
//! cannot. Looks only; changes nothing.

mod interfaces;
mod machine;
mod pins;
mod ports;

use std::fmt;

use serde_json::{Value, json};

use crate::cli::DatapathWord;
use crate::cli::doctor::DoctorArgs;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// As it should be.
    Good,
    /// The gateway runs; something is worth knowing.
    Note,
    /// The gateway will not start, or not do what it was asked.
    Fault,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Fault => "fault",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at.
    pub topic: String,
    /// What was seen.
    pub seen: String,
    /// What to do about it; empty where it is good.
    pub action: String,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of looking.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is in the way.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.level < Level::Fault)
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let finding = |finding: &Finding| {
            let Finding { level, topic, seen, action } = finding;
            json!({"level": level.word(), "topic": topic, "seen": seen, "action": action})
        };
        let findings: Vec<_> = self.findings.iter().map(finding).collect();
        json!({"good": self.is_good(), "findings": findings})
    }

    fn good(&mut self, topic: impl Into<String>, seen: impl Into<String>) {
        self.add(Level::Good, topic, seen, "");
    }

    fn note(
        &mut self,
        topic: impl Into<String>,
        seen: impl Into<String>,
        action: impl Into<String>,
    ) {
        self.add(Level::Note, topic, seen, action);
    }

    fn fault(
        &mut self,
        topic: impl Into<String>,
        seen: impl Into<String>,
        action: impl Into<String>,
    ) {
        self.add(Level::Fault, topic, seen, action);
    }

    fn add(
        &mut self,
        level: Level,
        topic: impl Into<String>,
        seen: impl Into<String>,
        action: impl Into<String>,
    ) {
        let (topic, seen, action) = (topic.into(), seen.into(), action.into());
        self.findings.push(Finding { level, topic, seen, action });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { level, topic, seen, action } in &self.findings {
            writeln!(f, "{:<5}  {topic}: {seen}", level.word())?;
            if !action.is_empty() {
                writeln!(f, "       {action}")?;
            }
        }
        Ok(())
    }
}

/// Looks at everything that `run` with the same words would need.
pub fn examine(arguments: &DoctorArgs) -> Report {
    let mut report = Report::default();
    let kernel_half = arguments.datapath == DatapathWord::Ebpf;
    if kernel_half {
        machine::kernel(&mut report);
        machine::privileges(&mut report);
        pins::look(&mut report, &arguments.pin.pin_directory);
        interfaces::look(&mut report, arguments);
    }
    machine::limits(&mut report, arguments.max_connections);
    ports::look(&mut report, arguments);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_makes_a_report_bad_and_says_what_to_do() {
        let mut report = Report::default();
        report.good("BTF", "there");
        report.note("kernel", "old", "renew it");
        assert!(report.is_good());
        report.fault("bpffs", "not mounted", "mount it");
        assert!(!report.is_good());
        assert_eq!(
            report.to_string(),
            "good   BTF: there\nnote   kernel: old\n       renew it\nfault  bpffs: not mounted\n       \
             mount it\n"
        );
        assert_eq!(report.json()["findings"][2]["level"], "fault");
    }
}
