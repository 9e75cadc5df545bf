//! A decision told rule by rule, for people who ask why.

use std::sync::Arc;

use super::attribute::Facts;
use super::decision::DecidedBy;
use super::{Engine, RuleIndex};
use crate::model::identity::Identity;
use crate::model::policy::Action;
use crate::request::{ConnMeta, RequestView};

/// How one rule met a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleTrace {
    /// Policy and rule.
    pub name: Arc<DecidedBy>,
    /// The policy's action.
    pub action: Action,
    /// An AUDIT policy or one in dry run: never decides.
    pub shadow: bool,
    /// Fields that keep it from matching, below the rule; none: it matches.
    pub obstacles: Vec<String>,
}

impl Engine {
    /// Every rule that decides whom to ask, in order. Tokens play no part in them.
    pub fn trace_custom(&self, view: &RequestView, conn: &ConnMeta) -> Vec<RuleTrace> {
        rules(&self.custom, false, &Facts { view, conn, identity: None })
    }

    /// Every other rule, in the order in which they are asked.
    pub fn trace(
        &self,
        view: &RequestView,
        conn: &ConnMeta,
        identity: Option<&Identity>,
    ) -> Vec<RuleTrace> {
        let facts = Facts { view, conn, identity };
        let mut traces = rules(&self.deny, false, &facts);
        traces.extend(self.allow.iter().flat_map(|allow| rules(allow, false, &facts)));
        traces.extend(rules(&self.shadow.index, true, &facts));
        traces
    }

    /// Whether ALLOW policies exist, so that one of them has to match.
    pub fn allows_by_policy(&self) -> bool {
        self.allow.is_some()
    }
}

fn rules(index: &RuleIndex, shadow: bool, facts: &Facts<'_>) -> Vec<RuleTrace> {
    let trace = |rule: &super::Rule| RuleTrace {
        name: Arc::clone(&rule.name),
        action: rule.action,
        shadow,
        obstacles: rule.obstacles(facts),
    };
    index.rules().iter().map(trace).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Consultation;
    use super::*;
    use crate::model::object::ObjectRef;
    use crate::model::policy::{
        Attribute, Cidr, Condition, ConditionValues, Constraint, Operation, PathPattern, Pattern,
        Policy, Rule, Source,
    };
    use crate::request::Scheme;

    fn values<T>(value: T) -> Constraint<T> {
        Constraint { values: vec![value], not_values: Vec::new() }
    }

    fn not<T>(value: T) -> Constraint<T> {
        Constraint { values: Vec::new(), not_values: vec![value] }
    }

    fn from(source: Source) -> Rule {
        Rule { from: vec![source], ..Rule::default() }
    }

    fn to(operation: Operation) -> Rule {
        Rule { to: vec![operation], ..Rule::default() }
    }

    /// A GET of `http://a.test/x` from 192.0.2.1 at port 80, by `iss/sub`.
    fn obstacles(rule: Rule) -> Vec<String> {
        let object =
            ObjectRef { kind: "AuthorizationPolicy", namespace: "n".into(), name: "p".into() };
        let rules = vec![rule];
        let engine = Engine::compile(vec![Policy {
            object,
            action: Action::Deny,
            dry_run: false,
            rules,
            provider: None,
        }]);
        let conn = ConnMeta {
            peer: ([192, 0, 2, 1], 1000).into(),
            local: ([127, 0, 0, 1], 80).into(),
            scheme: Scheme::Http,
            sni: None,
            proxied: None,
        };
        let request = http::Request::builder().uri("/x").header("host", "a.test").body(());
        let view = RequestView::read(request.unwrap().into_parts().0, &conn).unwrap();
        let identity = Identity {
            issuer: "iss".into(),
            subject: Some("sub".into()),
            claims: Arc::new(crate::model::identity::Claim::Object(Vec::new())),
            space_delimited: Arc::from([]),
        };
        let mut traces = engine.trace(&view, &conn, Some(&identity));
        assert_eq!(traces.len(), 1);
        let Ok(Consultation::Vetted(vetted)) = engine.consult(&view, &conn) else {
            panic!("nobody has to be asked");
        };
        let decision = engine.decide(vetted, &view, &conn, Some(&identity));
        let obstacles = traces.remove(0).obstacles;
        assert_eq!(decision.is_err(), obstacles.is_empty(), "{obstacles:?}");
        obstacles
    }

    #[test]
    fn every_field_is_named_when_it_stands_in_the_way() {
        let text = Pattern::parse;
        let path = |path| PathPattern::Text(text(path));
        let block = |block| Cidr::parse(block).unwrap();
        let source = Source::default;
        let operation = Operation::default;
        let when = Condition {
            attribute: Attribute::Claim(vec!["a".into()]),
            values: ConditionValues::Text(values(text("b"))),
        };
        let two = vec![
            Operation { paths: values(path("/y")), ..operation() },
            Operation { methods: values(text("PUT")), paths: values(path("/z")), ..operation() },
        ];
        let mine = Source { request_principals: values("iss/*".into()), ..source() };
        let principals = |constraint| Source { request_principals: constraint, ..source() };
        let rows: [(Rule, &[&str]); 17] = [
            (Rule::default(), &[]),
            (from(mine), &[]),
            (from(principals(values("x/*".into()))), &["from[0].source.requestPrincipals"]),
            (from(principals(not("*".into()))), &["from[0].source.notRequestPrincipals"]),
            (
                from(Source { namespaces: values(text("a")), ..source() }),
                &["from[0].source.principals, namespaces or serviceAccounts"],
            ),
            (
                from(Source { ip_blocks: values(block("10.0.0.0/8")), ..source() }),
                &["from[0].source.ipBlocks"],
            ),
            (
                from(Source { ip_blocks: not(block("192.0.2.0/24")), ..source() }),
                &["from[0].source.notIpBlocks"],
            ),
            (
                from(Source { remote_ip_blocks: values(block("10.0.0.0/8")), ..source() }),
                &["from[0].source.remoteIpBlocks"],
            ),
            (to(Operation { hosts: values(text("b")), ..operation() }), &["to[0].operation.hosts"]),
            (
                to(Operation { hosts: not(text("A.test")), ..operation() }),
                &["to[0].operation.notHosts"],
            ),
            (to(Operation { ports: values(81), ..operation() }), &["to[0].operation.ports"]),
            (to(Operation { ports: not(80), ..operation() }), &["to[0].operation.notPorts"]),
            (
                to(Operation { methods: not(text("GET")), ..operation() }),
                &["to[0].operation.notMethods"],
            ),
            (
                to(Operation { paths: not(path("/x*")), ..operation() }),
                &["to[0].operation.notPaths"],
            ),
            (to(Operation { paths: values(path("/x")), ..operation() }), &[]),
            (
                Rule { to: two, ..Rule::default() },
                &["to[0].operation.paths", "to[1].operation.methods", "to[1].operation.paths"],
            ),
            (Rule { when: vec![when], ..Rule::default() }, &["when[0]"]),
        ];
        for (at, (rule, expected)) in rows.into_iter().enumerate() {
            assert_eq!(obstacles(rule), expected, "row {at}");
        }
    }
}
