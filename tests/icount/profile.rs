//! A profile as callgrind writes it: instructions by function.
//!
//! The format is described in valgrind's manual, "Callgrind Format Specification"; callgrind is told
//! to compress neither names nor positions.

use std::collections::BTreeMap;

/// The program whose instructions are counted.
const PROGRAM: &str = "gateway-daemon";
/// What functions of the allocator begin with. All else that is not Rust is the crypto library, which
/// chooses its functions by what the processor can do.
const ALLOCATOR: [&str; 2] = ["mi_", "_mi_"];
/// What is in the names of functions of Rust that are chosen in the same way: searches for bytes.
const CHOSEN: [&str; 2] = ["memchr::arch", "httparse::simd"];

/// Instructions by object file and function.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    functions: BTreeMap<(String, String), u64>,
}

impl Profile {
    /// Reads a dump.
    pub(crate) fn parse(text: &str) -> Self {
        let mut profile = Self::default();
        let (mut object, mut function) = (String::new(), String::new());
        let mut is_of_callee = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("ob=") {
                name.clone_into(&mut object);
            } else if let Some(name) = line.strip_prefix("fn=") {
                name.clone_into(&mut function);
            } else if line.starts_with("calls=") {
                // The next line has what the callee took, which is counted there already.
                is_of_callee = true;
            } else if let Some(cost) = cost(line) {
                if !is_of_callee {
                    *profile.functions.entry((object.clone(), function.clone())).or_default() +=
                        cost;
                }
                is_of_callee = false;
            }
        }
        profile
    }

    /// The functions of the program itself, without those that are chosen for the processor, most
    /// expensive ones first.
    pub(crate) fn own(&self) -> Vec<(&str, u64)> {
        let mut own: Vec<(&str, u64)> = self
            .functions
            .iter()
            .filter(|((object, function), _)| is_own(object, function))
            .map(|((_, function), cost)| (function.as_str(), *cost))
            .collect();
        own.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        own
    }
}

fn is_own(object: &str, function: &str) -> bool {
    let is_rust = function.contains("::") && !CHOSEN.iter().any(|part| function.contains(part));
    let is_allocator = ALLOCATOR.iter().any(|start| function.starts_with(start));
    object.ends_with(PROGRAM) && (is_rust || is_allocator)
}

/// The cost in a line of position and cost.
fn cost(line: &str) -> Option<u64> {
    let mut words = line.split(' ');
    words.next()?.parse::<u64>().ok()?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "# callgrind format
version: 1
positions: line
events: Ir
summary: 1000

ob=/usr/lib/libc.so.6
fl=???
fn=memcpy
0 5
ob=/x/target/release/gateway-daemon
fl=a.rs
fn=gateway::serve
0 10
cob=/usr/lib/libc.so.6
cfn=memcpy
calls=1 0
0 5
0 7
cfn=aws_lc_0_42_sha256
calls=2 0
0 900

fn=aws_lc_0_42_sha256
0 900
fn=__ecp_nistz256_mul_montq
0 70
fn=mi_free
0 5
fn=<memchr::arch::x86_64::avx2::memchr::One>::find
0 9
fn=gateway::route
0 30
fn=gateway::serve
0 3
";

    #[test]
    fn only_what_a_function_does_itself_is_counted() {
        let profile = Profile::parse(DUMP);
        let expected = [("gateway::route", 30), ("gateway::serve", 20), ("mi_free", 5)];
        assert_eq!(profile.own(), expected);
        assert_eq!(profile.functions.len(), 7);
    }
}
