//! Refusals by reason: one named field per reason word, so that a dump explains itself.

macro_rules! reason_counters {
    ($($name:ident,)+) => {
        /// One row of `REASON_COUNTERS`: how often one worker refused or gave up a request, by
        /// reason. `docs/operations.md` has the words; they are those of the access log.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        #[repr(C, align(64))]
        #[expect(missing_docs, reason = "a field is named after its reason, which is documented")]
        pub struct ReasonCounters {
            $(pub $name: u64,)+
            pub reserved: [u64; ReasonCounters::RETIRED - ReasonCounters::NAMES.len()],
            pub retired: u64,
        }

        impl ReasonCounters {
            /// The words, in the order of their fields.
            pub const NAMES: &[&str] = &[$(stringify!($name),)+];
        }
    };
}

reason_counters! {
    token_malformed,
    token_algorithm,
    token_claim_type,
    token_claim_missing,
    token_issuer,
    token_not_yet_valid,
    token_expired,
    token_audience,
    token_key_unknown,
    token_keys_unavailable,
    token_signature,
    token_missing,
    policy_denied,
    policy_not_allowed,
    no_route,
    malformed_request,
    ambiguous_framing,
    host_invalid,
    path_invalid,
    head_too_large,
    head_timeout,
    misdirected,
    not_supported,
    overloaded,
    backend_unresolved,
    no_endpoint,
    upstream_connection,
    upstream_protocol,
    upstream_timeout,
    client_gone,
    ext_authz_denied,
    ext_authz_error,
    body_too_large,
    banned_client,
}

impl ReasonCounters {
    /// Words of a row.
    pub const WORDS: usize = 48;
    /// Word of `retired`: refused requests of paths whose row was given to another name. With it,
    /// the reasons of a worker add up to the requests of its rows that were not allowed.
    pub const RETIRED: usize = Self::WORDS - 1;

    /// Word of a reason; none if no field has its name.
    pub const fn word(reason: &str) -> Option<usize> {
        let mut at = 0;
        while at < Self::NAMES.len() {
            if equal(Self::NAMES[at].as_bytes(), reason.as_bytes()) {
                return Some(at);
            }
            at += 1;
        }
        None
    }
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    a.len() == b.len()
}
