//! Conditions: what became of each object, in the words of Gateway API (`Accepted`,
//! `ResolvedRefs`, `Programmed`, `Conflicted`), with the field that is to blame.

use std::fmt;
use std::sync::Arc;

use super::bundle::{IgnoredObject, Loaded, Origin};
use super::fault::Fault;
use super::path::FieldPath;
use crate::model::object::ObjectRef;

/// Type of a condition.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ConditionType {
    /// The object means something, and that has effect.
    Accepted,
    /// Everything it refers to exists and may be referred to.
    ResolvedRefs,
    /// Of a listener: it contradicts another one.
    Conflicted,
    /// The data path serves it (or would, where there is none).
    Programmed,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Reason of a condition, in the spelling of Gateway API where it has one.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => stringify!($name),)+ })
            }
        }
    };
}

reasons! {
    /// All is well.
    Accepted,
    /// All references resolve.
    ResolvedRefs,
    /// Served.
    Programmed,
    /// No other listener contradicts it.
    NoConflicts,
    /// A value has no meaning; the message says which and why.
    Invalid,
    /// A value has a meaning that we do not support yet.
    UnsupportedValue,
    /// An address of a Gateway that is not an IP address.
    UnsupportedAddress,
    /// None of the Gateway's listeners is accepted.
    ListenersNotValid,
    /// Another listener has this port and hostname.
    HostnameConflict,
    /// Another listener speaks another protocol on this port.
    ProtocolConflict,
    /// Another Gateway has this port with other addresses.
    PortUnavailable,
    /// A kind of route that a listener names is not supported.
    InvalidRouteKinds,
    /// A certificate reference does not lead to a usable certificate.
    InvalidCertificateRef,
    /// No ReferenceGrant allows a reference to another namespace.
    RefNotPermitted,
    /// The Gateway or section that a route names is not there.
    NoMatchingParent,
    /// The listener takes no such routes, or none of this namespace.
    NotAllowedByListeners,
    /// No hostname of the route is one of the listener's.
    NoMatchingListenerHostname,
    /// A reference names a kind that it cannot lead to.
    InvalidKind,
    /// The Service or its port is not there.
    BackendNotFound,
    /// The provider that a policy names is not there, or cannot be asked.
    ProviderNotFound,
    /// The Service port speaks something that we do not.
    UnsupportedProtocol,
    /// What a policy targets is not there.
    TargetNotFound,
    /// Another policy says this already, and is older.
    Conflicted,
    /// An EndpointSlice without addresses.
    NoAddresses,
}

/// A condition of an object or of a part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    /// Type.
    pub kind: ConditionType,
    /// Status.
    pub status: bool,
    /// Reason.
    pub reason: Reason,
    /// The field that is to blame, if one is.
    pub path: FieldPath,
    /// Its line.
    pub line: usize,
    /// What is wrong and what to do; empty if nothing is.
    pub message: String,
}

impl Condition {
    /// Whether it says that something is wrong.
    pub fn is_error(&self) -> bool {
        self.status == (self.kind == ConditionType::Conflicted)
    }
}

/// What became of an object, or of a part such as a listener or a parent reference.
#[derive(Clone, Debug)]
pub struct ObjectReport {
    /// The object.
    pub object: ObjectRef,
    /// The part; none: the whole object.
    pub part: Option<Arc<str>>,
    /// File.
    pub file: Arc<str>,
    /// Line of the object.
    pub line: usize,
    /// Conditions in order of type; several of one type if several fields are to blame.
    pub conditions: Vec<Condition>,
    /// Remarks that are no errors, such as a policy that applies to no Gateway.
    pub notes: Vec<String>,
}

/// What became of everything.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What could not be read.
    pub faults: Vec<Fault>,
    /// What could, in order of kind, namespace and name.
    pub objects: Vec<ObjectReport>,
    /// What was not looked at.
    pub ignored: Vec<IgnoredObject>,
    /// What holds for the bundle as a whole, such as that it has no listener.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether anything is wrong.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// Every error as one line: `file.yaml:12: HTTPRoute default/all: spec.hostnames[0]: ...`.
    pub fn errors(&self) -> impl Iterator<Item = String> + '_ {
        let faults = self.faults.iter().map(ToString::to_string);
        let conditions = self.objects.iter().flat_map(|report| {
            let errors = report.conditions.iter().filter(|condition| {
                // Programmed only sums up what the others say.
                condition.is_error() && condition.kind != ConditionType::Programmed
            });
            errors.map(|condition| report.error(condition))
        });
        faults.chain(conditions).chain(self.problems.iter().cloned())
    }
}

impl ObjectReport {
    /// Opens the report of an object or of a part.
    pub(super) fn open<T>(loaded: &Loaded<T>, part: Option<Arc<str>>) -> Draft<'_> {
        Draft {
            origin: &loaded.origin,
            report: Self {
                object: loaded.object.clone(),
                part,
                file: Arc::clone(loaded.origin.file()),
                line: loaded.origin.line(&FieldPath::default()),
                conditions: Vec::new(),
                notes: Vec::new(),
            },
        }
    }

    fn error(&self, condition: &Condition) -> String {
        let fault = Fault {
            file: Arc::clone(&self.file),
            line: Some(condition.line),
            object: Some(self.object.clone()),
            path: condition.path.clone(),
            message: condition.message.clone(),
        };
        let (kind, status, reason) = (condition.kind, condition.status, condition.reason);
        format!("{fault} [{kind:?}={} {reason}]", if status { "True" } else { "False" })
    }
}

/// A report that is being written: problems are added, the rest is well.
pub(super) struct Draft<'o> {
    origin: &'o Origin,
    report: ObjectReport,
}

impl Draft<'_> {
    /// Notes that something is wrong.
    pub(super) fn problem(
        &mut self,
        kind: ConditionType,
        reason: Reason,
        path: FieldPath,
        message: impl Into<String>,
    ) {
        let line = self.origin.line(&path);
        let status = kind == ConditionType::Conflicted;
        self.report.conditions.push(Condition {
            kind,
            status,
            reason,
            path,
            line,
            message: message.into(),
        });
    }

    /// `Accepted=False`.
    pub(super) fn refuse(&mut self, reason: Reason, path: FieldPath, message: impl Into<String>) {
        self.problem(ConditionType::Accepted, reason, path, message);
    }

    /// `ResolvedRefs=False`.
    pub(super) fn unresolved(
        &mut self,
        reason: Reason,
        path: FieldPath,
        message: impl Into<String>,
    ) {
        self.problem(ConditionType::ResolvedRefs, reason, path, message);
    }

    /// A remark that is no error.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.report.notes.push(note.into());
    }

    /// Whether nothing of this type was found wrong.
    pub(super) fn is_good(&self, kind: ConditionType) -> bool {
        self.report.conditions.iter().all(|condition| condition.kind != kind)
    }

    /// Completes the report with what is well, of the given types.
    pub(super) fn finish(mut self, kinds: &[ConditionType]) -> ObjectReport {
        for kind in kinds {
            if self.is_good(*kind) {
                let reason = match kind {
                    ConditionType::Accepted => Reason::Accepted,
                    ConditionType::ResolvedRefs => Reason::ResolvedRefs,
                    ConditionType::Conflicted => Reason::NoConflicts,
                    ConditionType::Programmed => Reason::Programmed,
                };
                self.report.conditions.push(Condition {
                    kind: *kind,
                    status: *kind != ConditionType::Conflicted,
                    reason,
                    path: FieldPath::default(),
                    line: self.report.line,
                    message: String::new(),
                });
            }
        }
        self.report.conditions.sort_by_key(|condition| condition.kind);
        self.report
    }
}
